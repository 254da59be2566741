"""Band groups: names and wavelengths become the right positions, on real sensors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from xrxai.errors import BandError, ResultError

HYPERVIEW = np.array(
    files("xrxai.datasets").joinpath("hyperview_wavelengths_nm.txt").read_text().split(","), float
)
SENTINEL2 = {
    "B01": 442.7, "B02": 492.4, "B03": 559.8, "B04": 664.6, "B05": 704.1, "B06": 740.5,
    "B07": 782.8, "B08": 832.8, "B8A": 864.7, "B09": 945.1, "B10": 1373.5, "B11": 1613.7,
    "B12": 2202.4,
}  # fmt: skip


def cube(wavelength: Any, **coords: Any) -> xr.DataArray:
    nm = np.asarray(wavelength, dtype=float)
    return xr.DataArray(
        np.ones((nm.size, 2, 3), dtype=np.float32),
        dims=("band", "y", "x"),
        coords={"wavelength": ("band", nm, {"units": "nm"}), **coords},
    )


def members(groups: xr.Dataset) -> dict[str, list[int]]:
    """Positions of each group; the sizes and ends that are written must agree."""
    ids = groups["group_of_band"].values
    found = {
        str(name): np.flatnonzero(ids == k).tolist()
        for k, name in enumerate(groups["group"].values, start=1)
    }
    assert groups["group_size"].values.tolist() == [len(v) for v in found.values()]
    nm = groups["wavelength"].values
    assert groups["group_wavelength_min"].values.tolist() == [nm[v].min() for v in found.values()]
    assert groups["group_wavelength_max"].values.tolist() == [nm[v].max() for v in found.values()]
    return found


def grouped(made: xr.DataArray, bands: Any, **options: Any) -> dict[str, list[int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return members(xrxai.band_groups(made, bands, **options))


def run(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


# ---------------------------------------------------------------------------- HYPERVIEW


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("B", 0, 21),
        ("G", 15, 43),
        ("G1", 15, 27),
        ("Y", 39, 50),
        ("R", 50, 71),
        ("RE1", 73, 79),
        ("RE2", 84, 90),
        ("RE3", 95, 104),
        ("N", 94, 136),
        ("N2", 122, 130),
        ("WV", 147, 149),
    ],
)
def test_bands_of_spyndex_on_hyperview(name: str, first: int, last: int) -> None:
    assert grouped(cube(HYPERVIEW), [name]) == {name: run(first, last)}


def test_sizes_on_hyperview_are_those_of_the_catalogue() -> None:
    names = ["A", "B", "G", "G1", "Y", "R", "RE1", "RE2", "RE3", "N", "N2", "WV", "S1", "S2", "T"]
    table = xrxai.coverage(cube(HYPERVIEW), names)
    assert table["n_bands"].tolist() == [0, 22, 29, 13, 12, 22, 7, 7, 10, 43, 9, 3, 0, 0, 0]


def test_bands_that_hyperview_does_not_have() -> None:
    for name in ("A", "S1", "S2", "T"):
        with pytest.raises(BandError, match=f"^Group '{name}' is empty: this sensor of 462"):
            xrxai.band_groups(cube(HYPERVIEW), [name])


BOTH = (
    "Groups {!r} and {!r} share 7 bands (510.03-529.2 nm); they go to {!r}, listed first. "
    "Type overlap='split' to make them a group of their own."
)
PARTLY = (
    "Group 'BI' is only partly on this sensor: it has no band for S1. "
    "Its answer speaks of the rest alone."
)


@pytest.mark.parametrize(
    ("bands", "left_out", "expected", "notes"),
    [
        (
            ["R", "G", "B"],
            84,
            {"R": run(50, 71), "G": run(15, 43), "B": run(0, 14)},
            [BOTH.format("G", "B", "G")],
        ),
        (["R", ["G", "B"]], 84, {"R": run(50, 71), "G+B": run(0, 43)}, []),
        (
            ["G", "BI"],
            41,
            {"G": run(15, 43), "BI": run(0, 14) + run(50, 71) + run(94, 136)},
            [PARTLY, BOTH.format("G", "BI", "G")],
        ),
        (["B", "G"], 106, {"B": run(0, 21), "G": run(22, 43)}, [BOTH.format("B", "G", "B")]),
    ],
    ids=["rgb", "merged", "index", "order"],
)
def test_masks_on_hyperview(
    bands: list[Any], left_out: int, expected: dict[str, list[int]], notes: list[str]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        groups = xrxai.band_groups(cube(HYPERVIEW), bands)
    assert members(groups) == expected
    assert int((groups["group_of_band"] == 0).sum()) == left_out
    assert [str(w.message) for w in caught] == notes
    assert {w.filename for w in caught} <= {__file__}  # the line to mend is the caller's


def test_what_is_missing_or_taken_is_written_down() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = xrxai.band_groups(cube(HYPERVIEW), ["G", "BI"])
    assert groups["group_missing"].values.tolist() == ["", "S1"]
    assert groups["group_shared"].values.tolist() == ["", "7 to G"]


def test_potassium_by_the_nearest_bands() -> None:
    experts = [462.0, 465.0, 475.0, 494.0, 600.0, 609.0, 612.0]  # not exactly on the grid
    bands = {"potassium": experts, "other": range(20, 30)}
    assert grouped(cube(HYPERVIEW), bands) == {
        "potassium": [0, 1, 4, 10, 43, 46, 47],
        "other": run(20, 29),
    }


def test_coverage_of_all_indices_on_hyperview() -> None:
    table = xrxai.coverage(cube(HYPERVIEW))
    assert len(table) == 280
    domains = table["domain"].value_counts().to_dict()
    assert domains == {
        "vegetation": 159, "water": 32, "burn": 19, "urban": 19, "soil": 17, "radar": 13,
        "snow": 9, "clouds": 7, "kernel": 5,
    }  # fmt: skip
    count = {column: table[column].str.len() for column in ("found", "missing", "constants")}
    no_band = table["unsupported"].str.len() > 0
    # A peer raises for whatever is no band, constants such as the L of SAVI included.
    refused = no_band | (count["constants"] > 0)
    assert int(refused.sum()) == 62
    assert int((refused & ~no_band).sum()) == 44
    assert table[no_band]["domain"].value_counts().to_dict() == {"radar": 13, "kernel": 5}
    served = table[~refused]
    found, missing = count["found"][~refused] > 0, count["missing"][~refused] > 0
    assert [len(served[found & ~missing]), len(served[found & missing])] == [115, 93]
    assert len(served[~found]) == 10
    # The status says the same, and constants do not stand in the way.
    assert (table["status"][no_band] == "unsupported").all()
    assert served["status"].value_counts().to_dict() == {"complete": 115, "partial": 93, "none": 10}
    status = table["status"].value_counts().to_dict()
    assert status == {"complete": 144, "partial": 107, "unsupported": 18, "none": 11}


@pytest.mark.parametrize(("name", "letters"), [("SAVI", ["N", "R"]), ("EVI", ["B", "R", "N"])])
def test_constants_of_an_index_are_no_bands(name: str, letters: list[str]) -> None:
    parts = grouped(cube(HYPERVIEW), letters, overlap="first")
    assert grouped(cube(HYPERVIEW), [name])[name] == sorted(
        k for part in parts.values() for k in part
    )
    row = xrxai.coverage(cube(HYPERVIEW), name).loc[name]
    assert row["status"] == "complete"
    assert set(row["found"]) == set(letters)
    assert "L" in row["constants"]


def test_every_served_index_makes_a_group_of_its_bands() -> None:
    made = cube(HYPERVIEW)
    table = xrxai.coverage(made)
    for name in table.index[table["status"] == "complete"][::12]:
        assert len(members(xrxai.band_groups(made, [name]))[name]) == table["n_bands"][name]


# ---------------------------------------------------------------------------- Sentinel-2


def test_sentinel_2() -> None:
    made = cube(list(SENTINEL2.values()), band=list(SENTINEL2))
    position = {name: k for k, name in enumerate(SENTINEL2)}
    import spyndex

    holds: dict[str, list[str]] = {name: [] for name in SENTINEL2}
    for letter in spyndex.bands:
        if xrxai.coverage(made, [letter])["n_bands"].item():
            for k in grouped(made, [letter])[letter]:
                holds[list(SENTINEL2)[k]].append(letter)
    assert holds["B10"] == []  # cirrus, 1373.5 nm
    assert set(holds["B07"]) == {"N", "RE3"}
    assert set(holds["B8A"]) == {"N", "N2"}
    assert grouped(made, ["N"])["N"] == [position[b] for b in ("B07", "B08", "B8A")]
    # A label of the cube is a name too, and so is a list of labels.
    assert grouped(made, ["B8A", "B10"]) == {"B8A": [8], "B10": [10]}
    assert grouped(made, {"red edge": ["B05", "B06", "B07"]}) == {"red edge": [4, 5, 6]}
    assert grouped(made, {"expert": {"label": ["B04", "B02"]}}) == {"expert": [1, 3]}


# ---------------------------------------------------------------------------- order and gaps


ORDERS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "descending": lambda rng: np.arange(150)[::-1],
    "unsorted": lambda rng: rng.permutation(150),
    "twice": lambda rng: np.repeat(np.arange(150), 2),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "bands", [["R", "G", "B"], {"a": (500, 560), "b": (700.0, 720.0)}, 50.0, ["NDVI"]]
)
def test_wavelengths_may_stand_in_any_order(
    order: str, bands: Any, rng: np.random.Generator
) -> None:
    at = ORDERS[order](rng)
    straight = xr.Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        straight = xrxai.band_groups(cube(HYPERVIEW), bands)
        turned = xrxai.band_groups(cube(HYPERVIEW[at]), bands)
    assert turned["group"].values.tolist() == straight["group"].values.tolist()
    members(turned)
    np.testing.assert_array_equal(
        turned["group_of_band"].values, straight["group_of_band"].values[at]
    )


def test_bad_bands_join_no_group() -> None:
    good = np.ones(150, dtype=bool)
    good[[0, 20, 60]] = False
    made = cube(HYPERVIEW, good_band=("band", good))
    expected = {"R": [k for k in run(50, 71) if k != 60], "B": [k for k in run(0, 21) if good[k]]}
    assert grouped(made, ["R", "B"]) == expected
    everything = xrxai.band_groups(made, 50.0)["group_of_band"].values
    assert (everything == 0).tolist() == (~good).tolist()
    rest = xrxai.band_groups(made, ["R"], ungrouped="group")["group_of_band"].values
    assert (rest == 0).tolist() == (~good).tolist()


def test_ends_of_an_interval_are_inside() -> None:
    made = cube([500.0, 510.0, 520.0, 530.0])
    assert grouped(made, [(510, 520)]) == {"510-520 nm": [1, 2]}
    assert grouped(made, [slice(510, 520)]) == {"510-520 nm": [1, 2]}


# ---------------------------------------------------------------------------- ways to write


SEVEN = [450.0, 500.0, 550.0, 600.0, 650.0, 700.0, 800.0]


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ("R", {"R": [4]}),
        (["R", "NDVI"], {"R": [4], "NDVI": [6]}),
        ([["R", "B"], "N"], {"R+B": [0, 1, 4], "N": [6]}),
        ([(540, 610)], {"540-610 nm": [2, 3]}),
        ([(540.5, 610)], {"540.5-610 nm": [2, 3]}),
        ([551, 652.0], {"551 nm": [2], "652 nm": [4]}),
        ([range(2, 4)], {"bands 2-3": [2, 3]}),
        ({"a": "R", "b": 701}, {"a": [4], "b": [5]}),
        ({"a": ["R", (440, 460)]}, {"a": [0, 4]}),
        ({"a": [451, 801.0]}, {"a": [0, 6]}),
        ({"a": np.array([451, 801.0])}, {"a": [0, 6]}),
        ({"a": {"index": [0, -1]}}, {"a": [0, 6]}),
        ({"a": {"index": 3}}, {"a": [3]}),
        ({"a": {"index": np.array([3, 1])}}, {"a": [1, 3]}),
        ({"a": {"label": "g"}}, {"a": [6]}),
        ({"a": {"label": ["g", "b"]}}, {"a": [1, 6]}),
        (["a", "g"], {"a": [0], "g": [6]}),
        (np.array([0, 2, 2, 0, 7, 7, 0]), {"2": [1, 2], "7": [4, 5]}),
        (np.array(["", "x", "x", "", "w", "w", ""]), {"x": [1, 2], "w": [4, 5]}),
        (100, {"400-500 nm": [0], "500-600 nm": [1, 2], "600-700 nm": [3, 4],
               "700-800 nm": [5], "800-900 nm": [6]}),
    ],
)  # fmt: skip
def test_every_way_to_write_groups(bands: Any, expected: dict[str, list[int]]) -> None:
    made = cube(SEVEN, band=list("abcdefg"))
    assert grouped(made, bands) == expected


def test_labels_may_be_numbers() -> None:
    made = cube(SEVEN, band=np.arange(1, 8))
    assert grouped(made, {"a": {"label": [7, 1]}}) == {"a": [0, 6]}


def test_groups_come_back_as_given() -> None:
    made = cube(HYPERVIEW)
    groups = xrxai.band_groups(made, ["R", ["G", "B"]], ungrouped="group")
    again = made.xai.band_groups(groups)
    xr.testing.assert_identical(again, groups)


def test_tolerance_of_the_nearest_band() -> None:
    made = cube(SEVEN)
    assert grouped(made, [525], tolerance=25.0) == {"525 nm": [1]}
    with pytest.raises(BandError, match="No band lies within 10 nm of 525 nm: the nearest is at"):
        xrxai.band_groups(made, [525])


# ---------------------------------------------------------------------------- overlap and rest


def test_overlap_first() -> None:
    bands = {"a": (440, 610), "b": (540, 660), "c": (590, 710)}
    text = r"^Groups '(a|b)' and '(b|c)' share [12] bands? \("
    with pytest.warns(UserWarning, match=text) as caught:
        groups = xrxai.band_groups(cube(SEVEN), bands)
    assert len(caught) == 3
    assert members(groups) == {"a": [0, 1, 2, 3], "b": [4], "c": [5]}
    assert groups["group_shared"].values.tolist() == ["", "2 to a", "1 to a, 2 to b"]


def test_overlap_split_makes_a_partition() -> None:
    bands = {"a": (440, 610), "b": (540, 660), "c": (590, 710)}
    groups = xrxai.band_groups(cube(SEVEN), bands, overlap="split")
    assert members(groups) == {"a": [0, 1], "c": [5], "a & b": [2], "a & b & c": [3], "b & c": [4]}


def test_overlap_split_of_a_group_inside_another() -> None:
    groups = xrxai.band_groups(cube(HYPERVIEW), ["G", "G1"], overlap="split")
    assert members(groups) == {"G": run(28, 43), "G & G1": run(15, 27)}


def test_overlap_error() -> None:
    message = (
        "Groups 'G' and 'B' share 7 bands (510.03-529.2 nm); a band can be in one group only. "
        "Change the groups, or type overlap='first' or overlap='split'."
    )
    with pytest.raises(BandError, match=f"^{re.escape(message)}$"):
        xrxai.band_groups(cube(HYPERVIEW), ["G", "B"], overlap="error")


def test_what_nobody_asked_for_may_be_a_group() -> None:
    found = grouped(cube(HYPERVIEW), ["R", "N"], ungrouped="group")
    assert found == {
        "R": run(50, 71),
        "N": run(94, 136),
        "not_included": run(0, 49) + run(72, 93) + run(137, 149),
    }
    # Nothing is left: no empty group.
    assert list(grouped(cube(SEVEN), 100.0, ungrouped="group"))[-1] == "800-900 nm"


# ---------------------------------------------------------------------------- on results


def _linear(weights: torch.Tensor) -> xrxai.Model:
    return xrxai.Model(
        lambda x: (x.mean((2, 3)) * weights).sum(1, keepdim=True), takes="patch", targets=["K"]
    )


def _varied(seed: int = 0, **sizes: int) -> xr.DataArray:
    shape = {"band": len(SEVEN), "y": 3, "x": 4, **sizes}
    values = np.random.default_rng(seed).uniform(0.2, 1, tuple(shape.values()))
    coords = {"wavelength": ("band", SEVEN, {"units": "nm"}), "band": list("abcdefg")}
    return xr.DataArray(values.astype(np.float32), dims=tuple(shape), coords=coords)


WEIGHTS = torch.arange(1.0, 8.0)


def test_to_groups_sums_the_bands_of_a_group() -> None:
    made = _varied()
    why = xrxai.integrated_gradients(made, _linear(WEIGHTS))
    bands = {"low": (440, 560), "high": (690, 810)}
    summed = why.xai.to_groups(bands)
    assert summed.dims == ("target", "y", "x", "group")
    each = why["attribution"]
    np.testing.assert_allclose(
        summed.sel(group="low"), each.isel(band=[0, 1, 2]).sum("band"), rtol=1e-6
    )
    np.testing.assert_allclose(
        summed.sel(group="high"), each.isel(band=[5, 6]).sum("band"), rtol=1e-6
    )
    assert summed["group_size"].values.tolist() == [3, 2]


def test_to_groups_of_a_partition_keeps_the_total() -> None:
    why = xrxai.integrated_gradients(_varied(), _linear(WEIGHTS))
    total = why.xai.to_groups(["R"], ungrouped="group").sum(["group", "y", "x"])
    score = (why["prediction"] - why["baseline_prediction"]).values
    np.testing.assert_allclose(total, score, rtol=1e-5)


def test_to_groups_keeps_what_is_not_there_apart_from_zero() -> None:
    made = _varied()
    made[:, 0, 0] = np.nan
    summed = xrxai.saliency(made, _linear(WEIGHTS)).xai.to_groups(["R"])
    assert np.isnan(summed.isel(y=0, x=0)).all()
    assert int(np.isnan(summed).sum()) == 1


def test_on_cube_spreads_groups_over_their_bands() -> None:
    why = xrxai.lime_spectral(_varied(), _linear(WEIGHTS), bands=["R", "N"], n_samples=20)
    spread = why.xai.on_cube()
    value = dict(zip(why["group"].values, why["attribution"].values[0], strict=True))
    nan = np.nan
    expected = [nan, nan, nan, nan, value["R"], nan, value["N"]]
    np.testing.assert_array_equal(spread["attribution"].values[0], expected)
    assert spread["attribution"].dims == ("target", "band")
    assert "group" not in spread.dims
    assert spread["band"].values.tolist() == list("abcdefg")
    assert spread["standard_error"].dims == ("target", "band")


def test_on_cube_spreads_segments_over_their_pixels() -> None:
    ids = np.array([[0, 1, 1, 2], [0, 1, 2, 2], [0, 3, 3, 3]])
    why = xrxai.lime_spatial(_varied(), _linear(WEIGHTS), segments=ids, n_samples=20)
    spread = why.xai.on_cube()["attribution"]
    assert spread.dims == ("target", "y", "x")
    expected = np.append(np.nan, why["attribution"].values[0])[ids]
    np.testing.assert_array_equal(spread.values[0], expected)


def test_on_cube_of_samples_with_segments_of_their_own() -> None:
    both = xr.concat([_varied(1), _varied(2)], dim="sample")
    ids = np.stack([np.repeat([[1, 1, 2, 2]], 3, 0), np.repeat([[1, 2, 2, 3]], 3, 0)])
    why = xrxai.lime_spatial(both, _linear(WEIGHTS), segments=ids, n_samples=20)
    assert why["attribution"].dims == ("target", "sample", "segment")
    spread = why.xai.on_cube()["attribution"].transpose("sample", "target", "y", "x").values
    for s in range(2):
        np.testing.assert_array_equal(spread[s, 0], why["attribution"].values[0, s][ids[s] - 1])


def test_combine_puts_images_of_different_size_side_by_side() -> None:
    model = _linear(WEIGHTS)
    each = [
        xrxai.lime_spectral(_varied(k, y=2 + k), model, bands=["G", "R", "N"], n_samples=20)
        for k in range(3)
    ]
    made = xrxai.combine(each)
    assert made["attribution"].dims == ("target", "sample", "group")
    assert "rgb" not in made
    for k, one in enumerate(each):
        np.testing.assert_array_equal(made["attribution"].isel(sample=k), one["attribution"])
        np.testing.assert_array_equal(made["prediction"].isel(sample=k), one["prediction"])
    np.testing.assert_array_equal(made["group_of_band"], each[0]["group_of_band"])
    assert made["group_of_band"].dims == ("band",)


def test_combine_keeps_pixels_that_all_share() -> None:
    each = [xrxai.saliency(_varied(k), _linear(WEIGHTS)) for k in range(2)]
    made = xrxai.combine(each, dim="time")
    assert made["attribution"].dims == ("target", "time", "band", "y", "x")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: xrxai.saliency(_varied(), _linear(WEIGHTS)), "Explanations by lime_spectral and"),
        (
            lambda: xrxai.lime_spectral(_varied(), _linear(WEIGHTS), bands=["G"], n_samples=20),
            "The explanations differ in targets, bands or groups",
        ),
    ],
)
def test_combine_refuses_what_does_not_belong_together(
    other: Callable[[], xr.Dataset], message: str
) -> None:
    one = xrxai.lime_spectral(_varied(), _linear(WEIGHTS), bands=["R", "N"], n_samples=20)
    with pytest.raises(ResultError, match=f"^{message}"):
        xrxai.combine([one, other()])
