"""Must-show line 9: what `import xrxai` and Tab cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = [
    "torch",
    "captum",
    "hvplot",
    "holoviews",
    "panel",
    "bokeh",
    "param",
    "sklearn",
    "skimage",
    "matplotlib",
    "rioxarray",
    "rasterio",
    "pooch",
    "shap",
    "spyndex",
    "tqdm",
]


@pytest.mark.parametrize(
    "use",
    [
        "",
        "import numpy, xarray; "
        "da = xarray.DataArray(numpy.ones((3, 2, 2)), dims=('band', 'y', 'x')); "
        "dir(da.xai); repr(da.xai); [getattr(da.xai, n).__doc__ for n in dir(da.xai)]",
        "import xarray; ds = xarray.Dataset(); dir(ds.xai); dir(ds.xai.plot); dir(ds.xai.hvplot)",
    ],
    ids=["import", "cube", "explanation"],
)
def test_nothing_heavy_is_loaded(use):
    code = f"import sys, xrxai; {use}\nprint(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(HEAVY) & set(ran.stdout.split()) == set()
