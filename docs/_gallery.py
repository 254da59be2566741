"""The gallery: every figure, the code that draws it, and how to read it.

A new figure is one entry of FIGURES. The build fails when a member of `.xai.plot` has none.
"""

from __future__ import annotations

import ast
import inspect
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _pages import public_names

from xrxai.accessor import PlotAccessor


@dataclass(frozen=True)
class Entry:
    """A figure: the member of `.xai.plot` that it shows, and code whose last line gives it."""

    member: str
    title: str
    code: str
    read: str


SETUP = '''\
import numpy as np
import rioxarray
import torch
import xarray as xr
import xrxai

# A valley with meadow, a river and rye: 60 bands, 480-1000 nm, 10 m pixels, a corner not measured.
rng = np.random.default_rng(0)
nm = np.linspace(480, 1000, 60)
y, x = np.mgrid[0:56, 0:72] / 72
river = np.abs(y - 0.35 - 0.12 * np.sin(6 * x)) < 0.035
rye = x > 0.55
cover = 0.4 + 0.25 * np.sin(8 * x + 2 * y) * np.cos(7 * y) + 0.3 * rye
plant = 0.04 + 0.07 * np.exp(-(((nm - 555) / 40) ** 2)) + 0.42 / (1 + np.exp((715 - nm) / 14))
soil = 0.08 + 0.27 * (nm - 400) / 600
mixed = cover * plant[:, None, None] + (1 - cover) * soil[:, None, None]
mixed[:, river] = (0.06 * np.exp(-(nm - 480) / 150))[:, None]
mixed = (mixed + 0.004 * rng.normal(size=mixed.shape)).astype("float32")
mixed[:, :8, :10] = np.nan
cube = xr.DataArray(
    mixed,
    dims=("band", "y", "x"),
    coords={
        "wavelength": ("band", nm, {"units": "nm"}),
        "y": 5_550_000.0 - 10 * np.arange(56),
        "x": 500_000.0 + 10 * np.arange(72),
    },
    attrs={"long_name": "reflectance", "units": "1"},
).rio.write_crs(32633)
names = np.where(river, "river", np.where(rye, "rye", "meadow"))
crop = xr.DataArray(names, dims=("y", "x"), name="crop")


def bump(centre, width):
    return np.exp(-(((nm - centre) / width) ** 2)).astype("float32")


weights = np.stack([
    bump(765, 30) - 0.8 * bump(675, 18) + 0.2 * bump(555, 25),
    bump(860, 40) - 1.2 * bump(960, 25) - 0.5 * bump(600, 40),
])


class Planted(torch.nn.Module):
    """Nitrogen is the rise at the red edge; moisture darkens the near infrared around 960 nm."""

    def forward(self, spectra):
        return torch.tanh(0.5 * spectra @ torch.from_numpy(weights).T)


class Mean(torch.nn.Module):
    """The same of a whole field: the mean of its pixels."""

    def forward(self, patches):
        n, bands = patches.shape[:2]
        spectra = patches.movedim(1, -1).reshape(-1, bands)
        return Planted()(spectra).reshape(n, -1, 2).mean(1)


class Kinds(torch.nn.Module):
    """Which of three spectra is most like a pixel's."""

    def forward(self, spectra):
        known = np.stack([0.06 * np.exp(-(nm - 480) / 150), plant, soil]).astype("float32")
        return -torch.cdist(spectra, torch.from_numpy(known))


targets = ["nitrogen", "moisture"]
pixel = xrxai.Model(Planted(), takes="spectrum", targets=targets)
field = xrxai.Model(Mean(), takes="patch", targets=targets)

bare = xr.DataArray(soil.astype("float32"), dims="band")  # what pixels are compared with
why = cube.xai.integrated_gradients(pixel, baseline=bare, n_steps=16)
groups = {"Blue": (480, 520), "Green": (520, 600), "Red": (630, 690),
          "Red edge": (690, 785), "NIR": (785, 1001)}
lime = cube.xai.lime_spectral(field, bands=groups, n_samples=60)
where = cube.xai.lime_spatial(field, segments="slic", n_segments=40, n_samples=200)
# Twelve fields of 14 x 24 pixels, each by itself.
whys = [
    cube.isel(y=slice(i, i + 14), x=slice(j, j + 24))
    .xai.lime_spectral(field, bands=groups, n_samples=60)
    for i in (0, 14, 28, 42)
    for j in (0, 24, 48)
]
many = xrxai.combine(whys)
'''

FIGURES = [
    Entry(
        "overview",
        "Overview",
        'why.xai.plot(cube, target="nitrogen")',
        "Where, at which wavelengths, how sure: every panel that applies, on one page. With the "
        "cube, pixels that were measured but not explained are pale.",
    ),
    Entry(
        "rgb",
        "True colour",
        "why.xai.plot.rgb()",
        "The scene that was explained; grey is missing. Three other bands: "
        "`plot.rgb(cube, wavelengths=(850, 660, 550))`.",
    ),
    Entry(
        "spatial",
        "Map of values per pixel",
        'why.xai.plot.spatial(target="nitrogen")',
        "Red raises the answer above that of bare soil, blue lowers it. Limits are the "
        "98th percentile; an arrow of the colour bar says that some pixels lie beyond.",
    ),
    Entry(
        "spatial",
        "Map of segments",
        'where.xai.plot.spatial(target="nitrogen")',
        "A value per segment, outlined along the edges of pixels; the ten strongest have bold "
        "numbers.",
    ),
    Entry(
        "spatial",
        "Grey, as in papers on saliency",
        'why.xai.plot.spatial(target="nitrogen", kind="grey")',
        "The size of the attribution without its sign, divided by its 99th percentile; "
        '`kind="heat"` has colours instead.',
    ),
    Entry(
        "bands",
        "Maps at wavelengths",
        'why.xai.plot.bands(wavelengths=[675, 765, 960], target="nitrogen")',
        "The nearest good bands, in one colour scale: a pale map matters little, whatever its "
        "pattern.",
    ),
    Entry(
        "overlay",
        "Over the scene",
        'why.xai.plot.overlay(cube, target="moisture")',
        "Grey where nothing matters, so that the scene stays readable; the colour bar shows the "
        "colours as they look over it.",
    ),
    Entry(
        "top",
        "What matters most",
        'why.xai.plot.top(cube, q=0.7, target="moisture")',
        'The strongest 30 % of the pixels in colour, the others pale (`background="black"` for '
        "the look of XRAI).",
    ),
    Entry(
        "targets",
        "Targets side by side",
        "why.xai.plot.targets(cube)",
        "One colour scale for all targets: what is pale here may still be strong on a scale of "
        "its own.",
    ),
    Entry(
        "targets",
        "Targets along the spectrum",
        "lime.xai.plot.targets()",
        "A strip per target with the same y axis.",
    ),
    Entry(
        "classes",
        "Classes and their areas",
        'kinds = xrxai.Model(Kinds(), takes="spectrum", targets=["water", "plants", "soil"])\n'
        "predicted = cube.xai.predict(kinds, classes=True)\n"
        "predicted.xai.plot.classes(cube)",
        "What `predict` says. A class that wins no pixel is listed with the word absent.",
    ),
    Entry(
        "spectral",
        "Along the spectrum, per pixel and band",
        'why.xai.plot.spectral(target="nitrogen")',
        "The line is the mean over pixels, the grey band is where the middle half of them lies: "
        "how pixels differ, not how sure the mean is.",
    ),
    Entry(
        "spectral",
        "Along the spectrum, per band group",
        'lime.xai.plot.spectral(target="nitrogen")',
        "A step over the wavelengths of each group; the bar is the confidence interval of the "
        "surrogate's coefficient.",
    ),
    Entry(
        "spectral",
        "Classes of an aggregate",
        'mean = why.xai.aggregate(("y", "x"), by=crop)\nmean.xai.plot.spectral(target="nitrogen")',
        "A line for each class with the interval of its mean, from blocks of pixels because "
        "neighbours are alike.",
    ),
    Entry(
        "spectral",
        "Many samples",
        'many.xai.plot.spectral(target="nitrogen")',
        "A thin line per sample under their mean; the interval is Student's t.",
    ),
    Entry(
        "bars",
        "Band groups",
        'lime.xai.plot.bars(target="moisture")',
        "Colour is the sign. A bar whose interval holds zero may as well not be there.",
    ),
    Entry(
        "bars",
        "Band groups of many samples",
        'many.xai.plot.bars(target="nitrogen", sort="value")',
        "The bar is the mean, each dot is a sample: a wide cloud is disagreement, not noise of the "
        "method.",
    ),
    Entry(
        "bars",
        "Band groups of classes",
        'many = many.assign_coords(side=("sample", ["west", "middle", "east"] * 4))\n'
        'many.xai.aggregate("sample", by="side").xai.plot.bars(target="nitrogen")',
        "A bar per class in each group, with the interval that the aggregate holds.",
    ),
    Entry(
        "beeswarm",
        "Beeswarm",
        'many.xai.plot.beeswarm(target="nitrogen")',
        "A dot per sample, at its attribution, in the colour of its reflectance in these bands: "
        "yellow dots to the right mean that bright samples are raised.",
    ),
    Entry(
        "agreement",
        "Do methods agree?",
        "table = xrxai.agreement(\n"
        '    {"IG": why, "input × gradient": cube.xai.input_x_gradient(pixel),\n'
        '     "saliency": cube.xai.saliency(pixel)}, k=2000\n'
        ")\n"
        'table.xai.plot.agreement(target="nitrogen")',
        "1 is full agreement. Two methods may rank alike and yet disagree about signs.",
    ),
]

HEAD = """\
# Gallery

Every figure of `.xai.plot`, each with the code that draws it. All show one small scene, in which is
known what matters: nitrogen is read at the red edge, moisture in the near infrared (the code that
makes it is [below](#the-scene)). Each call opens a figure, or draws on your own with `ax=` and
`axes=`; titles, limits and sizes can be changed as of any figure of matplotlib.
"""


def missing() -> list[str]:
    """Return the members of `.xai.plot` that the gallery does not show."""
    shown = {entry.member for entry in FIGURES}
    members = [n for n in public_names(PlotAccessor) if callable(getattr(PlotAccessor, n))]
    return [name for name in members if name not in shown]


def run(code: str, names: dict[str, Any]) -> Any:
    """Run code and return the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), "the last line of an entry is the figure"
    exec(compile(tree, "gallery", "exec"), names)
    return eval(compile(ast.Expression(last.value), "gallery", "eval"), names)


def draw(folder: Path) -> list[Path]:
    """Draw all figures into a folder, in order."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(SETUP, "gallery", "exec"), names)
        paths = []
        for number, entry in enumerate(FIGURES):
            made = run(entry.code, names)
            figure = getattr(made, "figure", made)
            paths.append(folder / f"{number:02d}-{entry.member}.png")
            figure.savefig(paths[-1], dpi=130)
            plt.close("all")
    return paths


def write_gallery(page: Path, folder: Path) -> None:
    """Write the page and its pictures."""
    if missing():
        raise RuntimeError(
            f"The gallery does not show .xai.plot.{missing()[0]}; add an Entry to docs/_gallery.py."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts = [HEAD]
    for entry, path in zip(FIGURES, draw(folder), strict=True):
        summary = (inspect.getdoc(getattr(PlotAccessor, entry.member)) or "").splitlines()[0]
        parts += [
            f"## {entry.title}",
            f"`.xai.plot.{entry.member}`: {summary}",
            f"```python\n{entry.code}\n```",
            f"![{entry.title}]({folder.name}/{path.name})",
            entry.read,
        ]
    parts += ["## The scene", f"```python\n{SETUP}```"]
    text = "\n\n".join(parts) + "\n"
    if not page.exists() or page.read_text() != text:
        page.write_text(text)
