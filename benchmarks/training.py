"""What planning, transfer and diagnosis bring: ``python -m benchmarks.training``.

Each experiment is run on scenes of crops that differ by their seed, and pairs what is compared:
the same scene, the same net, as many labels. The table goes into docs/limited-data.md. Ten seeds
of all take an hour on one core; ``--only plan --seeds 3`` is a part of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy import stats
from torch import nn

import xrxai
from benchmarks.page import table, write
from tests import operators  # noqa: F401  so that torchvision can be imported
from xrxai import training
from xrxai.datasets.synthetic import Mosaic, crops

SIDE, TILE = 256, 32
BUDGET, MORE = 8, 6  # tiles of the first and of the second round
DRAWS = 3  # random choices that a choice is compared with
STEPS = 320  # of training
GROUPS = ("green", "red edge", "NIR", "SWIR 1", "SWIR 2")
# A spectrometer with 40 bands, without the wavelengths that vapour hides.
OTHER = np.r_[np.linspace(430, 990, 24), np.linspace(1510, 1770, 8), np.linspace(2030, 2370, 8)]
TITLE = """\
## What it brings

Means over {seeds} scenes of crops (`xrxai.datasets.synthetic.crops`), with 95 % intervals of the
mean (Student's t), paired by scene. Splits are judged with extremely randomised trees, plans with a
net that sees one pixel at a time, on fields of another place, against the mean of three random
choices (from eight tiles a U-Net learns where rather than what); transfer and reasons are of
U-Nets. The guess of the plan is a map in which a fifth of the fields is wrong. Made by
`python -m benchmarks.training`.

"""
HEAD = ["question", "this", "against", "difference"]
Row = dict[str, Any]


def labelled(scene: Mosaic, given: bool = False) -> xr.DataArray:
    """Give the labels of a scene, as they are or as they were drawn."""
    classes = training.Classes(list(scene.truth.targets))
    return training.labels_of(scene.given if given else scene.truth.labels, scene.cube, classes)


def by_pixel(bands: int, classes: int, known: xr.Dataset, seed: int) -> nn.Module:
    """Make a net that sees a pixel at a time: of eight tiles a U-Net learns where, not what."""
    mean, std = (torch.as_tensor(known[k].values[:, None, None]).float() for k in ("mean", "std"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(bands, 64, 1),
            nn.GELU(),
            nn.Conv2d(64, 64, 1),
            nn.GELU(),
            nn.Conv2d(64, classes, 1),
        )
    with torch.no_grad():  # the first layer standardises
        first = net[0].weight / std[:, 0, 0][None, :, None, None]
        net[0].bias -= (first[:, :, 0, 0] * mean[:, 0, 0]).sum(1)
        net[0].weight.copy_(first)
    return net


def learned(
    cube: xr.DataArray,
    labels: xr.DataArray,
    windows: xr.Dataset,
    seed: int,
    steps: float = 1.0,
    start: Any = None,
) -> xrxai.Model:
    """Train on tiles: a U-Net, one that begins with another net, or a net of pixels."""
    known = training.band_statistics(cube, windows)
    about = {"mean": known["mean"], "std": known["std"], "seed": seed}
    if start == "pixels":
        net = by_pixel(cube.sizes["band"], len(training.classes_of(labels)), known, seed)
    elif start is None:
        net = training.unet(cube, training.classes_of(labels), depth=3, **about)
    else:
        net = training.transfer(start, cube, **about)
    # Turns and flips tell a net of pixels nothing new.
    changed = None if start == "pixels" else training.Augmentation(rotate=0.0, seed=seed)
    tiles = training.Tiles(cube, labels, windows, augmentation=changed)
    epochs = max(1, round(steps * STEPS) // -(-len(tiles) // 8))
    made = training.fit(
        net,
        tiles,
        loss="cross_entropy",
        epochs=epochs,
        lr=3e-3,
        schedule="cosine",
        seed=seed,
        progress=False,
    )
    return made.model


def mean_iou(model: xrxai.Model, cube: xr.DataArray, labels: xr.DataArray, where: Any) -> float:
    """Mean intersection over union of the classes that are there."""
    made = training.evaluate(cube, labels, model, where=where, n_boot=1, progress=False)
    return float(made["mean_iou"])


def covered(windows: xr.Dataset, like: xr.DataArray) -> np.ndarray:
    """Tell which pixels lie in a tile."""
    found = np.zeros(like.shape, dtype=bool)
    size = int(windows.attrs["tile_size"])
    for row, column in zip(windows["row"].values, windows["column"].values, strict=True):
        found[row : row + size, column : column + size] = True
    return found


def within(labels: xr.DataArray, where: np.ndarray) -> xr.DataArray:
    """Keep the labels of some pixels."""
    return labels.copy(data=np.where(where, labels.values, training.UNLABELLED).astype(np.int16))


def at_random(labels: xr.DataArray, taken: np.ndarray, n: int, seed: int) -> xr.Dataset:
    """Draw tiles that are not taken."""
    every = training.grid(labels, TILE)
    free = [
        i
        for i in range(every.sizes["tile"])
        if not (covered(every.isel(tile=[i]), labels) & taken).any()
    ]
    return every.isel(tile=np.sort(np.random.default_rng(seed).permutation(free)[:n]))


def split(seed: int) -> Row:
    """How good trees on spectra seem, by random tiles and by blocks, and how good they are."""
    from sklearn.ensemble import ExtraTreesClassifier

    scene = crops(seed, size=(SIDE, SIDE + 144), field=24.0)
    labels = labelled(scene)
    near, far = {"x": slice(0, SIDE)}, {"x": slice(SIDE + 16, None)}
    cube, told = scene.cube.isel(near), labels.isel(near)
    shares = {"train": 0.6, "validation": 0.1, "test": 0.3}
    made = {
        "random": training.random_split(told, 16, fractions=shares, seed=seed),
        "blocks": training.split_blocks(told, block=64, buffer=8, fractions=shares, seed=seed),
    }
    found: Row = {}
    for name, parts in made.items():
        seen = training.part_labels(told, parts, "train").values
        spectra = cube.transpose("y", "x", "band").values[seen >= 0]
        trees = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
        names = np.array(scene.truth.targets)[seen[seen >= 0]]
        model = xrxai.Model(trees.fit(spectra, names))
        test = training.part_labels(told, parts, "test")
        found[name] = mean_iou(model, cube, test, None)
        found[f"{name} beyond"] = mean_iou(model, scene.cube.isel(far), labels.isel(far), None)
    return found


def plan(seed: int) -> Row:
    """Round one: a plan by last year's map against tiles at random. Round two: `next_tiles`."""
    scene = crops(seed, size=(SIDE, 2 * SIDE))
    last_year = labelled(crops(seed, size=(SIDE, 2 * SIDE), label_errors=0.2), given=True)
    here, there = {"x": slice(0, SIDE)}, {"x": slice(SIDE, None)}
    every = labelled(scene)
    cube, labels, last_year = scene.cube.isel(here), every.isel(here), last_year.isel(here)
    # Tiles are taken here and fields judged there, which are the same for whatever is compared.
    other, judges = scene.cube.isel(there), every.isel(there)
    planned = training.plan_tiles(last_year, tile=TILE, budget=BUDGET, seed=seed)
    first = covered(planned, labels)

    def reached(windows: xr.Dataset, number: int, last: xr.Dataset | None = None) -> Row:
        """Train on tiles, with those of the first round if there was one; score the others."""
        every = windows if last is None else joined(last, windows)
        inside = covered(every, labels)
        # Each tile is seen as often, however many there are.
        steps = -(-every.sizes["tile"] // 8)
        model = learned(cube, within(labels, inside), every, seed + 1000 * number, steps, "pixels")
        return {"iou": mean_iou(model, other, judges, None), "model": model}

    one = reached(planned, 0)
    nothing = np.zeros(labels.shape, bool)
    simple = [at_random(labels, nothing, BUDGET, seed + 1000 * n) for n in range(DRAWS)]
    found = {"plan": one["iou"]}
    found["random"] = np.mean([reached(s, n)["iou"] for n, s in enumerate(simple)])
    # The second round goes on from the plan.
    diagnosis = training.diagnose(
        cube,
        within(labels, first),
        one["model"],
        trained=xr.DataArray(first, dims=labels.dims),
        bands=scene.truth.groups,
        progress=False,
    )
    chosen = training.next_tiles(diagnosis, tile=TILE, budget=MORE, seed=seed)
    drawn = [at_random(labels, first, MORE, seed + 1000 * n + 1) for n in range(DRAWS)]
    found["next"] = reached(chosen, 0, planned)["iou"]
    found["next random"] = np.mean([reached(d, n, planned)["iou"] for n, d in enumerate(drawn)])
    return {name: float(value) for name, value in found.items()}


def joined(*parts: xr.Dataset) -> xr.Dataset:
    """Tiles of several sets as one."""
    places = [p[["row", "column"]].drop_vars(["y", "x"], errors="ignore") for p in parts]
    return xr.concat(places, "tile").assign_attrs(tile_size=TILE)


def transfer(seed: int) -> Row:
    """Labels of a twentieth of a scene: from another sensor's net, and from nothing."""
    source = crops(seed + 500, size=(SIDE, SIDE))
    told = labelled(source)
    every = training.grid(told, TILE)
    first = learned(source.cube, told, every, seed, 1.25)
    scene = crops(seed, size=(SIDE, SIDE), wavelength=OTHER)
    labels = labelled(scene)
    few = at_random(labels, np.zeros(labels.shape, bool), max(1, every.sizes["tile"] // 20), seed)
    seen = covered(few, labels)
    found = {"share": float(seen.mean())}
    for name, start in (("scratch", None), ("transfer", first.forward)):
        model = learned(scene.cube, within(labels, seen), few, seed, 0.75, start)
        found[name] = mean_iou(model, scene.cube, labels, ~seen)
    return found


def doubt(seed: int) -> Row:
    """Wrong labels of one field in twenty, and how many are found."""
    scene = crops(seed, size=(SIDE, SIDE), label_errors=0.05)
    labels = labelled(scene, given=True)
    p = training.cross_predict(scene.cube, labels, objects=scene.fields, seed=seed, progress=False)
    suspect = training.label_errors(labels, p, objects=scene.fields)["suspect"].values
    wrong = scene.wrong.values
    fields = scene.fields.values
    named, false = np.unique(fields[suspect]), np.unique(fields[wrong])
    both = len(np.intersect1d(named, false))
    return {
        "hit": float((suspect & wrong).sum()),
        "suspect": float(suspect.sum()),
        "wrong": float(wrong.sum()),
        "hit fields": both,
        "suspect fields": len(named),
        "wrong fields": len(false),
    }


def reasons(seed: int) -> Row:
    """Whether the group that misleads a net is named as what speaks most for its error."""
    group = GROUPS[seed % len(GROUPS)]
    scene = crops(seed, size=(SIDE, SIDE), confused_by=group)
    model = learned(scene.cube, labelled(scene), training.grid(scene.cube, TILE), seed)
    other = crops(seed + 100, size=(SIDE, SIDE), confused_by=group, stressed=0.5)
    why = training.explain_errors(
        other.cube,
        labelled(other),
        model,
        confusions=[("Wheat", "Rye")],
        bands=other.truth.groups,
        n_objects=5,
        progress=False,
    )
    shares = why["attribution"].isel(target=0).to_series().sort_values(ascending=False)
    return {
        "named": float(shares.index[0] == group),
        "part": float(shares.iloc[0] / shares[shares > 0].sum()),
        "pixels": float(why["error_pixels"][0]),
    }


EXPERIMENTS: dict[str, Callable[[int], Row]] = {
    "split": split,
    "plan": plan,
    "transfer": transfer,
    "doubt": doubt,
    "reasons": reasons,
}


def interval(values: np.ndarray) -> str:
    """Mean and 95 % interval."""
    mean = values.mean()
    if len(values) < 2:
        return f"{mean:.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})"


def lines(results: dict[str, list[Row]]) -> list[list[str]]:
    """Rows of the table."""
    made = []

    def column(name: str, key: str) -> np.ndarray:
        return np.array([row[key] for row in results[name]])

    def against(name: str, question: str, ours: str, other: str, words: tuple[str, str]) -> None:
        a, b = column(name, ours), column(name, other)
        made.append(
            [
                question,
                f"{words[0]}: {a.mean():.3f}",
                f"{words[1]}: {b.mean():.3f}",
                interval(a - b),
            ]
        )

    if "split" in results:
        question = "mean IoU promised by the test part, less that on new fields"
        a = column("split", "random") - column("split", "random beyond")
        b = column("split", "blocks") - column("split", "blocks beyond")
        made.append([question, f"random: {interval(a)}", f"blocks: {interval(b)}", interval(a - b)])
    if "plan" in results:
        question = f"mean IoU after {BUDGET} tiles"
        against("plan", question, "plan", "random", ("`plan_tiles`", "random"))
        question = f"mean IoU after {MORE} more"
        against("plan", question, "next", "next random", ("`next_tiles`", "random"))
    if "transfer" in results:
        share = f"{100 * column('transfer', 'share').mean():.1f} %"
        question = f"mean IoU with {share} of the labels, 40 bands"
        against("transfer", question, "transfer", "scratch", ("from 12 bands", "from nothing"))
    if "doubt" in results:
        hit, named, wrong = (column("doubt", k).sum() for k in ("hit", "suspect", "wrong"))
        f_hit, f_named, f_wrong = (
            column("doubt", f"{k} fields").sum() for k in ("hit", "suspect", "wrong")
        )
        made.append(
            [
                "wrong labels of 5 % of the fields",
                f"precision {hit / named:.2f} of pixels, {f_hit / f_named:.2f} of fields",
                f"recall {hit / wrong:.2f} of pixels, {f_hit / f_wrong:.2f} of fields",
                f"{f_wrong:.0f} fields",
            ]
        )
    if "reasons" in results:
        n = column("reasons", "named")
        part = column("reasons", "part")
        made.append(
            [
                "the planted band group is named",
                f"{n.sum():.0f} of {len(n)} scenes",
                "",
                f"{100 * part.min():.0f} to {100 * part.max():.0f} % of what speaks for the error",
            ]
        )
    return made


def main(argv: list[str] | None = None) -> int:
    """Run what is asked for, keep each result, write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--keep", type=Path, default=Path("build/training.json"))
    parser.add_argument("--out", type=Path, default=Path("docs/limited-data.md"))
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    kept: dict[str, list[Row]] = {}
    if given.keep.exists():
        kept = json.loads(given.keep.read_text())
    for name in given.only:
        kept[name] = []
        for seed in range(given.seeds):
            began = time.process_time()
            kept[name].append(EXPERIMENTS[name](seed))
            told = ", ".join(f"{k} {v:.3g}" for k, v in kept[name][-1].items())
            print(f"{name} {seed}: {told} ({time.process_time() - began:.0f} CPU s)", flush=True)
        given.keep.parent.mkdir(parents=True, exist_ok=True)
        given.keep.write_text(json.dumps(kept, indent=1))
    seeds = max(len(rows) for rows in kept.values())
    block = TITLE.format(seeds=seeds) + table(HEAD, lines(kept))
    write("training", block, given.out, title="Limited data")
    print(block)
    return 0


if __name__ == "__main__":
    sys.exit(main())
