"""The world of names: labelled arrays in, labelled arrays out; no torch, no dask."""
