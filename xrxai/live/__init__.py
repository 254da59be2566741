"""Interactive figures with hvPlot: what `plot` draws, lazily and linked."""
