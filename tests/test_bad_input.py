"""Wrong calls: each is refused by name, says what to type, and before the model runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.linear_model import LinearRegression, Ridge, RidgeClassifier

import xrxai
from tests.conftest import skip_or_fail
from xrxai.errors import (
    BandError,
    BaselineError,
    CubeError,
    ModelError,
    OptionError,
    ResultError,
    SegmentError,
    TargetError,
    XrxaiError,
)

WAVELENGTH = [450.0, 500.0, 550.0, 600.0, 650.0, 700.0, 800.0, 850.0]
N_BANDS, N_ROWS, N_COLUMNS = 8, 6, 5


def cube(wavelength: list[float] | None = WAVELENGTH, **coords: Any) -> xr.DataArray:
    """Eight bands over six rows and five columns."""
    values = 1.0 + np.arange(N_BANDS * N_ROWS * N_COLUMNS, dtype=np.float32)
    made = xr.DataArray(
        values.reshape(N_BANDS, N_ROWS, N_COLUMNS), dims=("band", "y", "x"), coords=coords
    )
    if wavelength is not None:
        made = made.assign_coords(wavelength=("band", wavelength, {"units": "nm"}))
    return made


def spectra() -> xr.DataArray:
    """A table of the cube's spectra."""
    table = cube().stack(sample=("y", "x")).reset_index("sample", drop=True)
    return table.drop_vars(["y", "x"], errors="ignore").transpose("sample", "band")


def on_grid(epsg: int = 32633) -> xr.DataArray:
    """The cube on a grid of 10 m in UTM."""
    import rioxarray  # noqa: F401  registers .rio

    y, x = 500.0 - 10 * np.arange(N_ROWS), 100.0 + 10 * np.arange(N_COLUMNS)
    return cube(y=y, x=x).rio.write_crs(epsg)


def squares(epsg: int, x: float = 110.0) -> Any:
    """One square of 20 m, as polygons in that CRS."""
    try:
        import geopandas
        import shapely
    except ImportError as error:
        skip_or_fail(str(error))
    return geopandas.GeoDataFrame(geometry=[shapely.box(x, 460, x + 20, 480)], crs=epsg)


def with_values(value: float, **where: Any) -> xr.DataArray:
    made = cube()
    made[where] = value
    return made


def never(x: Any) -> Any:
    raise AssertionError("the model ran")


def patch(**options: Any) -> xrxai.Model:
    """A model of patches that must not be run."""
    return xrxai.Model(never, **{"takes": "patch", "targets": ["K", "pH"], **options})


def spectrum(**options: Any) -> xrxai.Model:
    """A model of spectra that must not be run."""
    return patch(takes="spectrum", **options)


def mapper(**options: Any) -> xrxai.Model:
    """A segmentation model that must not be run."""
    return patch(gives="map", **options)


class Never(LinearRegression):
    """A fitted estimator that must not be run."""

    def __init__(self) -> None:
        super().__init__()
        self.coef_ = np.ones((1, N_BANDS))
        self.n_features_in_ = N_BANDS

    def predict(self, X: Any) -> Any:
        never(X)


def estimator(n_bands: int = N_BANDS) -> xrxai.Model:
    made = Never()
    made.n_features_in_ = n_bands
    return xrxai.Model(made, targets=["K"])


def answering(answer: Callable[[torch.Tensor], Any], **options: Any) -> xrxai.Model:
    """A model of patches that gives that answer."""
    return xrxai.Model(answer, **{"takes": "patch", "targets": ["K", "pH"], **options})


def mean(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)[:, :2]


def explained() -> xr.Dataset:
    return xrxai.lime_spectral(cube(), answering(mean), bands=["G", "R"], n_samples=20)


def fails(x: torch.Tensor) -> torch.Tensor:
    raise ValueError("weights for 4 bands\nand many more words")


Case = tuple[str, Callable[[], Any], type[Exception], str]

REFUSED: list[Case] = [
    # the cube
    (
        "numpy_for_cube",
        lambda: xrxai.saliency(cube().values, patch()),
        CubeError,
        "A numpy array came where a DataArray is needed; type xrxai.to_cube(...) to make one.",
    ),
    (
        "no_band_dim",
        lambda: xrxai.saliency(cube(None).rename(band="a"), patch()),
        CubeError,
        "No dim of ('a', 'y', 'x') is known as the spectral one (names such as 'band' or "
        "'wavelength', or a coordinate of wavelengths); name it: "
        "xrxai.to_cube(cube, band_dim='a').",
    ),
    (
        "two_band_dims",
        lambda: xrxai.saliency(cube(None).rename(band="a", y="band", x="channel"), spectrum()),
        CubeError,
        "The dims ('band', 'channel') could both be the spectral one; say which holds the bands: "
        "xrxai.to_cube(cube, band_dim='band').",
    ),
    (
        "no_rows_for_patch",
        lambda: xrxai.saliency(spectra(), patch()),
        CubeError,
        "The model takes a patch, but the cube has dims ('sample', 'band') and no rows and "
        "columns among them; name them with xrxai.to_cube(cube, y_dim=..., x_dim=...), or "
        "type Model(..., takes='spectrum').",
    ),
    (
        "unknown_rows_for_patch",
        lambda: xrxai.saliency(cube().rename(y="a", x="b"), patch()),
        CubeError,
        "The model takes a patch, but the cube has dims ('band', 'a', 'b') and no rows and "
        "columns among them; name them with xrxai.to_cube(cube, y_dim=..., x_dim=...), or "
        "type Model(..., takes='spectrum').",
    ),
    (
        "complex",
        lambda: xrxai.saliency(cube().astype(complex), patch()),
        CubeError,
        "The cube has dtype complex128, and a model needs real numbers; type "
        "abs(cube).astype('float32').",
    ),
    (
        "object",
        lambda: xrxai.saliency(cube().astype(object), patch()),
        CubeError,
        "The cube has dtype object, and a model needs real numbers; type cube.astype('float32').",
    ),
    (
        "bool",
        lambda: xrxai.saliency(cube() > 3, patch()),
        CubeError,
        "The cube has dtype bool, and a model needs real numbers; type cube.astype('float32').",
    ),
    (
        "all_nan",
        lambda: xrxai.saliency(cube() * np.nan, patch()),
        CubeError,
        "The cube has no valid pixel: every one holds a NaN or the fill value, or its "
        "coordinate valid is False; check the nodata value in cube.attrs, and type good_band="
        " in xrxai.to_cube(...) for bands that were never measured.",
    ),
    (
        "band_of_nan",
        lambda: xrxai.saliency(with_values(np.nan, band=3), patch()),
        CubeError,
        "The cube has no valid pixel because 1 of its 8 good bands hold NaN only (the first "
        "at position 3); mark them bad: type "
        "cube.assign_coords(good_band=cube.notnull().any(['y', 'x'])).",
    ),
    (
        "all_nodata",
        lambda: xrxai.saliency((cube() * 0 - 9999).assign_attrs(nodata=-9999), patch()),
        CubeError,
        "The cube has no valid pixel: every one holds a NaN or the fill value, or its "
        "coordinate valid is False; check the nodata value in cube.attrs, and type good_band="
        " in xrxai.to_cube(...) for bands that were never measured.",
    ),
    (
        "no_band",
        lambda: xrxai.saliency(cube().isel(band=[]), patch()),
        CubeError,
        "The cube has no band along 'band'; select at least one.",
    ),
    (
        "no_row",
        lambda: xrxai.saliency(cube().isel(y=[]), patch()),
        CubeError,
        "The cube is empty: its sizes are {'band': 8, 'y': 0, 'x': 5}; select some pixels.",
    ),
    (
        "bad_wavelength_units",
        lambda: xrxai.saliency(
            cube(None).assign_coords(wavelength=("band", WAVELENGTH, {"units": "kHz"})), patch()
        ),
        BandError,
        "The wavelengths have units 'kHz', which are no length that is known; type "
        "wavelength= in nanometres, or units='nm', 'um' or 'm'.",
    ),
    # mask
    (
        "mask_shape",
        lambda: xrxai.saliency(cube(), patch(), mask=np.ones((5, 6), bool)),
        CubeError,
        "The mask has shape (5, 6) and the cube {'y': 6, 'x': 5}; type a mask of shape (6, 5)"
        " over ('y', 'x').",
    ),
    (
        "mask_dtype",
        lambda: xrxai.saliency(cube(), patch(), mask=np.ones((6, 5))),
        CubeError,
        "The mask has dtype float64, and it must say True (keep) or False; type "
        "mask=mask.astype(bool) or a comparison such as mask > 0.",
    ),
    (
        "mask_dims",
        lambda: xrxai.saliency(
            cube(), patch(), mask=xr.DataArray(np.ones((6, 5), bool), dims=("row", "col"))
        ),
        CubeError,
        "The mask has the dims {'row': 6, 'col': 5} and the cube {'y': 6, 'x': 5}; type a "
        "mask over dims of the cube other than the spectral one, of the same sizes.",
    ),
    (
        "mask_coords",
        lambda: xrxai.saliency(
            on_grid(),
            patch(),
            mask=xr.ones_like(on_grid()[0], bool).assign_coords(x=np.arange(5.0)),
        ),
        CubeError,
        "The mask and the cube differ in the values of 'x'; type mask.reindex_like(cube, "
        "method='nearest') or drop the coordinate with mask.drop_vars('x').",
    ),
    (
        "mask_false",
        lambda: xrxai.saliency(cube(), patch(), mask=np.zeros((6, 5), bool)),
        CubeError,
        "The mask keeps none of the valid pixels; True means keep: type mask=~mask if yours "
        "is True where pixels are dropped.",
    ),
    # the model
    (
        "bare_network",
        lambda: xrxai.saliency(cube(), torch.nn.Linear(8, 2)),
        ModelError,
        "The model Linear says neither what it takes nor what its outputs are called; type "
        "xrxai.Model(model, takes='patch', targets=['K', ...]), or takes='spectrum'.",
    ),
    (
        "bare_function",
        lambda: xrxai.saliency(cube(), never),
        ModelError,
        "The model never says neither what it takes nor what its outputs are called; type "
        "xrxai.Model(model, takes='patch', targets=['K', ...]), or takes='spectrum'.",
    ),
    (
        "no_takes",
        lambda: xrxai.Model(never, targets=["K"]),
        ModelError,
        "takes= is missing: does the model read one pixel or a patch? Type Model(..., "
        "takes='spectrum') for (n, band), or takes='patch' for (n, band, y, x).",
    ),
    (
        "unknown_takes",
        lambda: xrxai.Model(never, takes="pixel", targets=["K"]),
        OptionError,
        "takes='pixel' is not known; choose one of 'spectrum', 'patch'.",
    ),
    (
        "unknown_gives",
        lambda: patch(gives="mask"),
        OptionError,
        "gives='mask' is not known; choose one of 'vector', 'map'.",
    ),
    (
        "unknown_reduction",
        lambda: mapper(reduction="mean"),
        OptionError,
        "reduction='mean' is not known; choose one of 'frozen_argmax', 'argmax', 'area'.",
    ),
    (
        "reduction_of_one_class",
        lambda: patch(targets=["cloud"], gives="map"),
        ModelError,
        "With the one target 'cloud' every pixel is its own winner, so reduction='frozen_argmax' "
        "would say nothing; type reduction='area', and activation='sigmoid' if the map holds "
        "logits.",
    ),
    (
        "unknown_activation",
        lambda: mapper(activation="relu"),
        OptionError,
        "activation='relu' is not known; choose one of 'softmax', 'sigmoid'.",
    ),
    (
        "unknown_dtype",
        lambda: patch(dtype="float16"),
        OptionError,
        "dtype='float16' is not known; choose one of 'float32', 'float64'.",
    ),
    (
        "unknown_arrays",
        lambda: patch(arrays="jax"),
        OptionError,
        "arrays='jax' is not known; choose one of 'torch', 'numpy'.",
    ),
    # predict
    (
        "predict_unknown_classes",
        lambda: xrxai.predict(cube(), mapper(), classes="all"),  # type: ignore[arg-type]
        OptionError,
        "classes='all' is not known; type classes=True, False or 'auto'.",
    ),
    (
        "predict_classes_of_patches",
        lambda: xrxai.predict(cube(), patch(), classes=True),
        OptionError,
        "classes=True maps pixels, but never answers once for a whole patch; leave it out, and "
        "type predicted.prediction.idxmax('target') for the class of each.",
    ),
    (
        "predict_classes_of_one_target",
        lambda: xrxai.predict(cube(), spectrum(targets=["K"]), classes=True),
        OptionError,
        "classes=True chooses between targets, but the model has only 'K'; leave it out, and "
        "compare predicted.prediction with a threshold.",
    ),
    (
        "predict_bare_network",
        lambda: xrxai.predict(cube(), never),  # type: ignore[arg-type]
        ModelError,
        "The model never says neither what it takes nor what its outputs are called; type "
        "xrxai.Model(model, takes='patch', targets=['K', ...]), or takes='spectrum'.",
    ),
    (
        "predict_no_rows",
        lambda: xrxai.predict(spectra(), mapper()),
        CubeError,
        "The model takes a patch, but the cube has dims ('sample', 'band') and no rows and "
        "columns among them; name them with xrxai.to_cube(cube, y_dim=..., x_dim=...), or "
        "type Model(..., takes='spectrum').",
    ),
    (
        "predict_mask",
        lambda: xrxai.predict(cube(), mapper(), mask=np.zeros((6, 5), bool)),
        CubeError,
        "The mask keeps none of the valid pixels; True means keep: type mask=~mask if yours "
        "is True where pixels are dropped.",
    ),
    (
        "no_targets",
        lambda: xrxai.Model(never, takes="patch"),
        TargetError,
        "targets= is missing: what are the model's outputs called? Type Model(..., "
        "targets=['P', 'K', ...]), one name per output, in order.",
    ),
    (
        "targets_string",
        lambda: xrxai.Model(never, takes="patch", targets="K"),
        TargetError,
        "targets='K' is one string; type targets=['K'].",
    ),
    (
        "targets_twice",
        lambda: xrxai.Model(never, takes="patch", targets=["K", "pH", "K"]),
        TargetError,
        "Target 'K' is listed twice; give every output a name of its own.",
    ),
    (
        "class_for_model",
        lambda: xrxai.Model(torch.nn.Flatten, takes="patch", targets=["K"]),
        ModelError,
        "Flatten is a class, and a model made of it is needed; type Model(Flatten(...), ...).",
    ),
    (
        "number_for_model",
        lambda: xrxai.Model(3.0, takes="patch", targets=["K"]),
        ModelError,
        "A float cannot be called; give a torch.nn.Module, a TorchScript or torch.export "
        "program, a function or a scikit-learn estimator.",
    ),
    (
        "unfitted",
        lambda: xrxai.Model(Ridge(), targets=["K"]),
        ModelError,
        "This Ridge is not fitted; call .fit(X, y) before explaining it.",
    ),
    (
        "unfitted_bare",
        lambda: xrxai.lime_spectral(cube(), Ridge()),
        ModelError,
        "This Ridge is not fitted; call .fit(X, y) before explaining it.",
    ),
    (
        "estimator_without_targets",
        lambda: xrxai.lime_spectral(cube(), Never()),
        TargetError,
        "targets= is missing: what are the model's outputs called? Type Model(..., "
        "targets=['P', 'K', ...]), one name per output, in order.",
    ),
    (
        "estimator_takes_patch",
        lambda: xrxai.Model(Never(), takes="patch", targets=["K"]),
        ModelError,
        "The estimator Never takes a table of spectra, not takes='patch'; type takes='spectrum'.",
    ),
    (
        "pad_spectrum",
        lambda: spectrum(pad="square"),
        ModelError,
        "pad='square' needs a patch, but takes='spectrum' sees one pixel; drop pad= or type "
        "takes='patch'.",
    ),
    (
        "resize_spectrum",
        lambda: spectrum(resize=(8, 8)),
        ModelError,
        "resize=(8, 8) needs a patch, but takes='spectrum' sees one pixel; drop resize= or "
        "type takes='patch'.",
    ),
    (
        "map_spectrum",
        lambda: spectrum(gives="map"),
        ModelError,
        "gives='map' needs a patch, but takes='spectrum' sees one pixel; drop gives= or type "
        "takes='patch'.",
    ),
    (
        "pad_word",
        lambda: patch(pad="same"),
        OptionError,
        "pad='same' is not known; type pad='square' or pad=32.",
    ),
    (
        "pad_zero",
        lambda: patch(pad=0),
        OptionError,
        "pad=0 is not known; type pad='square' or pad=32.",
    ),
    (
        "resize_number",
        lambda: patch(resize=8),
        OptionError,
        "resize=8 is not a height and a width; type resize=(224, 224).",
    ),
    (
        "resize_zero",
        lambda: patch(resize=(0, 8)),
        OptionError,
        "resize=0 is too small; type resize=1 or more.",
    ),
    (
        "scale_zero",
        lambda: patch(scale=0.0),
        OptionError,
        "scale=0.0 is not a positive number; type for example scale=0.0001.",
    ),
    (
        "fill_nan",
        lambda: patch(fill=np.nan),
        OptionError,
        "fill=nan is not a finite number, and the model sees it where the cube has no value; "
        "type fill=0.0.",
    ),
    (
        "batch_size_model",
        lambda: patch(batch_size=0),
        OptionError,
        "batch_size=0 is too small; type batch_size=1 or more.",
    ),
    (
        "batch_size_call",
        lambda: xrxai.saliency(cube(), patch(), batch_size=0),
        OptionError,
        "batch_size=0 is too small; type batch_size=1 or more.",
    ),
    (
        "device_model",
        lambda: xrxai.saliency(cube(), patch(device="gpu")),
        OptionError,
        "device='gpu' is not on this machine; choose one of 'auto', 'cpu'.",
    ),
    (
        "device_call",
        lambda: xrxai.saliency(cube(), patch(), device="gpu"),
        OptionError,
        "device='gpu' is not on this machine; choose one of 'auto', 'cpu'.",
    ),
    (
        "device_absent",
        lambda: xrxai.saliency(cube(), patch(), device="cuda:99"),
        OptionError,
        "device='cuda:99' is not on this machine; choose one of 'auto', 'cpu'.",
    ),
    (
        "n_bands",
        lambda: xrxai.saliency(cube(), patch(n_bands=150)),
        ModelError,
        "The model expects 150 bands, the cube has 8 along 'band'; select the bands the model"
        " was trained on.",
    ),
    (
        "n_bands_estimator",
        lambda: xrxai.lime_spectral(cube(), estimator(4)),
        ModelError,
        "The model expects 4 bands, the cube has 8 along 'band'; select the bands the model "
        "was trained on.",
    ),
    (
        "n_bands_zero",
        lambda: patch(n_bands=0),
        OptionError,
        "n_bands=0 is too small; type n_bands=1 or more.",
    ),
    # method and model
    (
        "gradient_of_estimator",
        lambda: xrxai.saliency(cube(), estimator()),
        ModelError,
        "The method saliency needs gradients, which Never (arrays='numpy') cannot give; use "
        "lime_spectral or occlusion_spectral.",
    ),
    (
        "trees_of_a_linear_model",
        lambda: xrxai.tree_shap_spectral(cube(), estimator()),
        ModelError,
        "The method tree_shap_spectral reads the trees of scikit-learn's DecisionTree, "
        "RandomForest, ExtraTrees, GradientBoosting and HistGradientBoosting, and the model Never "
        "is none of these; give it such an estimator, or use kernel_shap_spectral, which takes "
        "any model.",
    ),
    (
        "trees_of_a_patch",
        lambda: xrxai.tree_shap_spectral(cube(), patch()),
        ModelError,
        "The method tree_shap_spectral reads the trees of scikit-learn's DecisionTree, "
        "RandomForest, ExtraTrees, GradientBoosting and HistGradientBoosting, and the model never "
        "is none of these; give it such an estimator, or use kernel_shap_spectral, which takes "
        "any model.",
    ),
    (
        "gradient_of_numpy",
        lambda: xrxai.integrated_gradients(cube(), patch(arrays="numpy")),
        ModelError,
        "The method integrated_gradients needs gradients, which never (arrays='numpy') cannot"
        " give; use lime_spectral or occlusion_spectral.",
    ),
    (
        "spatial_of_spectrum",
        lambda: xrxai.lime_spatial(cube(), spectrum()),
        ModelError,
        "The method lime_spatial switches regions, but the model takes='spectrum' sees one "
        "pixel at a time; its answer for a pixel cannot depend on others. Use lime_spectral.",
    ),
    (
        "occlusion_spatial_of_spectrum",
        lambda: xrxai.occlusion_spatial(cube(), spectrum()),
        ModelError,
        "The method occlusion_spatial switches regions, but the model takes='spectrum' sees "
        "one pixel at a time; its answer for a pixel cannot depend on others. Use "
        "occlusion_spectral.",
    ),
    # target and region
    (
        "target_unknown",
        lambda: xrxai.saliency(cube(), patch(), target="Mg"),
        TargetError,
        "The model has no target 'Mg'; choose one of 'K', 'pH'.",
    ),
    (
        "target_close",
        lambda: xrxai.saliency(cube(), patch(), target="PH"),
        TargetError,
        "The model has no target 'PH'; choose one of 'K', 'pH'.",
    ),
    (
        "target_empty",
        lambda: xrxai.saliency(cube(), patch(), target=[]),
        TargetError,
        "target=[] is empty; name at least one, or leave it out for all.",
    ),
    (
        "target_twice",
        lambda: xrxai.saliency(cube(), patch(), target=["K", "K"]),
        TargetError,
        "target=['K', 'K'] names an output twice; name each once.",
    ),
    (
        "target_number",
        lambda: xrxai.saliency(cube(), patch(), target=1),
        TargetError,
        "The model has no target 1; choose one of 'K', 'pH'.",
    ),
    (
        "target_kind",
        lambda: xrxai.saliency(cube(), patch(), target=1.5),
        TargetError,
        "The model has no target 1.5; choose one of 'K', 'pH'.",
    ),
    (
        "region_vector",
        lambda: xrxai.saliency(cube(), patch(), region=np.ones((6, 5), bool)),
        TargetError,
        "region= sums a map inside a region, but the model gives one value per target; drop "
        "region=, or wrap a segmentation network with Model(..., gives='map').",
    ),
    (
        "region_spectrum",
        lambda: xrxai.saliency(cube(), spectrum(), region=np.ones((6, 5), bool)),
        TargetError,
        "region= sums a map inside a region, but the model takes one pixel at a time; type "
        "mask= to choose pixels.",
    ),
    (
        "region_shape",
        lambda: xrxai.saliency(cube(), mapper(), region=np.ones((3, 5), bool)),
        TargetError,
        "The region has shape (3, 5) and the cube {'y': 6, 'x': 5}; type a region of shape "
        "(6, 5) over ('y', 'x').",
    ),
    (
        "region_dtype",
        lambda: xrxai.saliency(cube(), mapper(), region=np.ones((6, 5))),
        TargetError,
        "The region has dtype float64, and it must say True where pixels count; type a "
        "comparison such as region=ndvi > 0.5, or polygons (a GeoDataFrame).",
    ),
    (
        "region_empty",
        lambda: xrxai.saliency(cube(), mapper(), region=np.zeros((6, 5), bool)),
        TargetError,
        "The region holds no valid pixel, so no score can be made of it; check that it is "
        "True where it counts and lies on the cube.",
    ),
    (
        "region_outside",
        lambda: xrxai.saliency(on_grid(), mapper(), region=squares(32633, 9e5)),
        TargetError,
        "The region holds no valid pixel, so no score can be made of it; check that it is "
        "True where it counts and lies on the cube.",
    ),
    (
        "region_crs",
        lambda: xrxai.saliency(on_grid(), mapper(), region=squares(4326)),
        TargetError,
        "The polygons are in EPSG:4326, the cube in EPSG:32633; type "
        "polygons.to_crs(cube.rio.crs).",
    ),
    (
        "region_no_polygon",
        lambda: xrxai.saliency(on_grid(), mapper(), region=squares(32633).iloc[:0]),
        TargetError,
        "There is no polygon to put on the cube; give at least one.",
    ),
    (
        "region_word",
        lambda: xrxai.saliency(cube(), mapper(), region="left"),
        TargetError,
        "The region has dtype <U4, and it must say True where pixels count; type a comparison"
        " such as region=ndvi > 0.5, or polygons (a GeoDataFrame).",
    ),
    # band groups
    (
        "no_wavelength",
        lambda: xrxai.lime_spectral(cube(None), patch()),
        BandError,
        "The cube has no wavelengths along 'band' (8 bands), and they are needed here; type "
        "cube = xrxai.to_cube(cube, wavelength=[...]) with nanometres in band order.",
    ),
    (
        "no_wavelength_names",
        lambda: xrxai.lime_spectral(cube(None), patch(), bands=["R"]),
        BandError,
        "The cube has no wavelengths along 'band' (8 bands), and they are needed here; type "
        "cube = xrxai.to_cube(cube, wavelength=[...]) with nanometres in band order.",
    ),
    (
        "no_wavelength_occlusion",
        lambda: xrxai.occlusion_spectral(cube(None), patch()),
        BandError,
        "The cube has no wavelengths along 'band' (8 bands), and they are needed here; type "
        "cube = xrxai.to_cube(cube, wavelength=[...]) with nanometres in band order.",
    ),
    (
        "bands_empty",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=[]),
        BandError,
        "The list of bands is empty; type at least one group, for example bands=['R'].",
    ),
    (
        "bands_none",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=None),
        BandError,
        "bands=None is not a way to group bands; type a list of names such as ['R', 'G', "
        "'B'], a mapping such as {'red': (620, 690)} in nm, or a width in nm.",
    ),
    (
        "bands_zero",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=0),
        BandError,
        "bands=0 is no width; type a positive width in nm such as 50.",
    ),
    (
        "bands_negative",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=-50.0),
        BandError,
        "bands=-50 is no width; type a positive width in nm such as 50.",
    ),
    (
        "bands_nan",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=np.nan),
        BandError,
        "bands=nan is no width; type a positive width in nm such as 50.",
    ),
    (
        "bands_true",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=True),
        BandError,
        "bands=True is not a way to group bands; type a list of names such as ['R', 'G', "
        "'B'], a mapping such as {'red': (620, 690)} in nm, or a width in nm.",
    ),
    (
        "group_unknown",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["NVDI"]),
        BandError,
        "'NVDI' is no spectral index, no band of spyndex and no band label; the nearest are "
        "'NDVI', 'NDBI', 'NDCI'.",
    ),
    (
        "group_unknown_far",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["??"]),
        BandError,
        "'??' is no spectral index, no band of spyndex and no band label; type for example "
        "'NDVI' or (620, 690).",
    ),
    (
        "group_radar",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["RVI", "VHVVR"]),
        BandError,
        "'VHVVR' needs VH, VV, which are no spectral bands; name an optical index or band, "
        "for example 'NDVI' or 'R'.",
    ),
    (
        "group_kernel",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["kNDVI"]),
        BandError,
        "'kNDVI' needs kNN, kNR, which are no spectral bands; name an optical index or band, "
        "for example 'NDVI' or 'R'.",
    ),
    (
        "group_absent",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["S1", "R"]),
        BandError,
        "Group 'S1' is empty: this sensor of 450-850 nm has no band there; drop the group or "
        "name one that xrxai.coverage(cube) lists.",
    ),
    (
        "group_twice",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["R", "R"]),
        BandError,
        "Group 'R' is listed twice; list it once.",
    ),
    (
        "group_all_taken",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["G", "G1"]),
        BandError,
        "Group 'G1' is empty: all its bands belong to groups listed before it. List it first,"
        " or type overlap='split'.",
    ),
    (
        "groups_overlap",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["B", "GARI"], overlap="error"),
        BandError,
        "Groups 'B' and 'GARI' share 2 bands (450-500 nm); a band can be in one group only. "
        "Change the groups, or type overlap='first' or overlap='split'.",
    ),
    (
        "groups_overlap_nm",
        lambda: xrxai.lime_spectral(
            cube(), patch(), bands={"a": (400, 560), "b": (540, 700)}, overlap="error"
        ),
        BandError,
        "Groups 'a' and 'b' share 1 band (550 nm); a band can be in one group only. Change "
        "the groups, or type overlap='first' or overlap='split'.",
    ),
    (
        "group_bad_bands",
        lambda: xrxai.lime_spectral(
            cube(good_band=("band", np.array(WAVELENGTH) < 760)), patch(), bands=["N"]
        ),
        BandError,
        "Group 'N' is empty: its 2 bands (800-850 nm) are all bad (good_band is False); "
        "choose other bands.",
    ),
    (
        "nm_far",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=[2200.0]),
        BandError,
        "No band lies within 10 nm of 2200 nm: the nearest is at 850 nm. Name a wavelength of"
        " the sensor, or raise tolerance= in xrxai.band_groups(...).",
    ),
    (
        "nm_interval_empty",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=[(710, 790)]),
        BandError,
        "Group '710-790 nm' is empty: this sensor of 450-850 nm has no band there; drop the "
        "group or name one that xrxai.coverage(cube) lists.",
    ),
    (
        "nm_interval_reversed",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=[(700, 600)]),
        BandError,
        "(700, 600) is no interval in nm; type (low, high), low first.",
    ),
    (
        "nm_slice_open",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=[slice(700, None)]),
        BandError,
        "slice(700, None, None) is no interval in nm; type slice(low, high) with both ends.",
    ),
    (
        "position",
        lambda: xrxai.lime_spectral(cube(), patch(), bands={"a": {"index": [2, 8]}}),
        BandError,
        "Group 'a' asks for band position 8, and the cube has 8 bands; type positions from 0 to 7.",
    ),
    (
        "position_range",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=[range(6, 12)]),
        BandError,
        "Group 'bands 6-11' asks for band position 8, and the cube has 8 bands; type "
        "positions from 0 to 7.",
    ),
    (
        "position_fraction",
        lambda: xrxai.lime_spectral(cube(), patch(), bands={"a": {"index": [1.5]}}),
        BandError,
        "Group 'a' asks for band position 1.5, which is no whole number; type positions from "
        "0 to 7.",
    ),
    (
        "position_empty",
        lambda: xrxai.lime_spectral(cube(), patch(), bands={"a": {"index": []}}),
        BandError,
        "Group 'a' lists no band position; type at least one.",
    ),
    (
        "label",
        lambda: xrxai.lime_spectral(
            cube(band=[f"b{i}" for i in range(8)]), patch(), bands={"a": {"label": ["b9"]}}
        ),
        BandError,
        "No band is labelled 'b9'; choose from 'b0', 'b1', 'b2', 'b3', 'b4', ..., 'b7'.",
    ),
    (
        "label_absent",
        lambda: xrxai.lime_spectral(cube(), patch(), bands={"a": {"label": ["b9"]}}),
        BandError,
        "No band is labelled 'b9', as the cube has no coordinate 'band'; type positions, "
        "{'index': [...]}, or wavelengths in nm.",
    ),
    (
        "group_array_length",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=np.array([1, 1, 2])),
        BandError,
        "The array of bands has shape (3,), the cube has 8 bands; give one group id (0 = "
        "none) or name ('' = none) per band.",
    ),
    (
        "group_array_zero",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=np.zeros(8, int)),
        BandError,
        "The array of bands puts no band into a group; give at least one id other than 0.",
    ),
    (
        "group_entry_kind",
        lambda: xrxai.lime_spectral(cube(), patch(), bands={"a": None}),
        BandError,
        "Group 'a' is None, which names no bands; type names, (low, high) in nm, a list of "
        "nm, {'index': [...]} or {'label': [...]}.",
    ),
    (
        "group_entry_kind_list",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["R", None]),
        BandError,
        "The list of bands holds None, which names no bands; type a name such as 'R', a pair "
        "(low, high) in nm, or a mapping {name: entry}.",
    ),
    (
        "group_mapping_key",
        lambda: xrxai.lime_spectral(cube(), patch(), bands={"a": {"idx": [1]}}),
        BandError,
        "Group 'a' is {'idx': [1]}, which names no bands; type names, (low, high) in nm, a "
        "list of nm, {'index': [...]} or {'label': [...]}.",
    ),
    (
        "groups_other_cube",
        lambda: xrxai.lime_spectral(
            cube().isel(band=slice(4)), patch(), bands=xrxai.band_groups(cube(), ["G"])
        ),
        BandError,
        "The bands are a Dataset with 8 bands, the cube has 4 bands; make it with "
        "xrxai.band_groups(cube, ...) from this cube.",
    ),
    (
        "groups_other_nm",
        lambda: xrxai.lime_spectral(
            cube([w + 30 for w in WAVELENGTH]), patch(), bands=xrxai.band_groups(cube(), ["G", "R"])
        ),
        BandError,
        "The bands are a Dataset made for 450-850 nm, the cube has 480-880 nm and other "
        "bands; make it with xrxai.band_groups(cube, ...) from this cube.",
    ),
    (
        "groups_not_groups",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=cube().to_dataset(name="a")),
        BandError,
        "The bands are a Dataset with no groups, the cube has 8 bands; make it with "
        "xrxai.band_groups(cube, ...) from this cube.",
    ),
    (
        "overlap_word",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["R"], overlap="last"),
        OptionError,
        "overlap='last' is not known; choose one of 'first', 'error', 'split'.",
    ),
    (
        "ungrouped_word",
        lambda: xrxai.lime_spectral(cube(), patch(), bands=["R"], ungrouped="drop"),
        OptionError,
        "ungrouped='drop' is not known; choose one of 'fixed', 'group'.",
    ),
    (
        "coverage_unknown",
        lambda: xrxai.coverage(cube(), ["NDWY"]),
        BandError,
        "'NDWY' is no spectral index, no band of spyndex and no band label; the nearest are "
        "'NDWI', 'NDYI', 'ANDWI'.",
    ),
    (
        "coverage_no_wavelength",
        lambda: xrxai.coverage(cube(None)),
        BandError,
        "The cube has no wavelengths along 'band' (8 bands), and they are needed here; type "
        "cube = xrxai.to_cube(cube, wavelength=[...]) with nanometres in band order.",
    ),
    # LIME
    (
        "n_samples_zero",
        lambda: xrxai.lime_spectral(cube(), patch(), n_samples=0),
        OptionError,
        "n_samples=0 is too small; type n_samples=3 or more.",
    ),
    (
        "n_samples_negative",
        lambda: xrxai.lime_spectral(cube(), patch(), n_samples=-5),
        OptionError,
        "n_samples=-5 is too small; type n_samples=3 or more.",
    ),
    (
        "n_samples_float",
        lambda: xrxai.lime_spectral(cube(), patch(), n_samples=200.0),
        OptionError,
        "n_samples=200.0 is not a whole number; type n_samples=200.",
    ),
    (
        "seed_negative",
        lambda: xrxai.lime_spectral(cube(), patch(), seed=-1),
        OptionError,
        "seed=-1 is too small; type seed=0 or more.",
    ),
    (
        "seed_none",
        lambda: xrxai.lime_spectral(cube(), patch(), seed=None),
        OptionError,
        "seed=None is not a whole number; type seed=0 or more.",
    ),
    (
        "surrogate_word",
        lambda: xrxai.lime_spectral(cube(), patch(), surrogate="tree"),
        OptionError,
        "surrogate='tree' is not known; choose one of 'ridge', 'lasso', 'kriging'.",
    ),
    (
        "kriging_alpha",
        lambda: xrxai.lime_spectral(cube(), patch(), surrogate="kriging", alpha=0.1),
        OptionError,
        "alpha=0.1 is a penalty, and kriging has none; leave it out, or type surrogate='ridge'.",
    ),
    (
        "kriging_few",
        lambda: xrxai.lime_spatial(
            cube(), patch(), segments="patch", patch=1, n_samples=5, surrogate="kriging"
        ),
        OptionError,
        "n_samples=5 for 30 segments leaves nothing to tell what they do together; type "
        "n_samples=32 or more, or surrogate='ridge'.",
    ),
    (
        "alpha_negative",
        lambda: xrxai.lime_spectral(cube(), patch(), alpha=-1.0),
        OptionError,
        "alpha=-1.0 is not a number of 0 or more; type for example alpha=1e-06.",
    ),
    (
        "alpha_word",
        lambda: xrxai.lime_spectral(cube(), patch(), alpha="auto"),
        OptionError,
        "alpha='auto' is not a number of 0 or more; type for example alpha=1e-06.",
    ),
    (
        "kernel_width_zero",
        lambda: xrxai.lime_spectral(cube(), patch(), kernel_width=0.0),
        OptionError,
        "kernel_width=0.0 is not a positive number; type for example kernel_width=0.25.",
    ),
    (
        "kernel_width_word",
        lambda: xrxai.lime_spectral(cube(), patch(), kernel_width="auto"),
        OptionError,
        "kernel_width='auto' is not a positive number; type for example kernel_width=0.25.",
    ),
    # integrated gradients
    (
        "n_steps_zero",
        lambda: xrxai.integrated_gradients(cube(), patch(), n_steps=0),
        OptionError,
        "n_steps=0 is too small; type n_steps=1 or more.",
    ),
    (
        "n_steps_float",
        lambda: xrxai.integrated_gradients(cube(), patch(), n_steps=2.5),
        OptionError,
        "n_steps=2.5 is not a whole number; type n_steps=1 or more.",
    ),
    (
        "rule_word",
        lambda: xrxai.integrated_gradients(cube(), patch(), rule="simpson"),
        OptionError,
        "rule='simpson' is not known; choose one of 'gauss_legendre', 'riemann_left', "
        "'riemann_right', 'riemann_middle', 'riemann_trapezoid'.",
    ),
    # occlusion
    (
        "window_nm_zero",
        lambda: xrxai.occlusion_spectral(cube(), patch(), window=0),
        OptionError,
        "window=0 is not a positive number; type for example window=50.",
    ),
    (
        "stride_nm_negative",
        lambda: xrxai.occlusion_spectral(cube(), patch(), stride=-25.0),
        OptionError,
        "stride=-25.0 is not a positive number; type for example stride=25.",
    ),
    (
        "stride_nm_nan",
        lambda: xrxai.occlusion_spectral(cube(), patch(), stride=np.nan),
        OptionError,
        "stride=nan is not a positive number; type for example stride=25.",
    ),
    (
        "window_band_zero",
        lambda: xrxai.occlusion_spectral(cube(), patch(), window=0, unit="band"),
        OptionError,
        "window=0 is too small; type window=1 or more.",
    ),
    (
        "window_band_float",
        lambda: xrxai.occlusion_spectral(cube(), patch(), window=2.5, unit="band"),
        OptionError,
        "window=2.5 is not a whole number; type window=1 or more.",
    ),
    (
        "window_band_wide",
        lambda: xrxai.occlusion_spectral(cube(), patch(), window=9, unit="band"),
        BandError,
        "window=9 bands is wider than the cube, which has 8; type window=8 or less.",
    ),
    (
        "window_word",
        lambda: xrxai.occlusion_spectral(cube(), patch(), window="50 nm"),
        OptionError,
        "window='50 nm' is not a positive number; type for example window=50.",
    ),
    (
        "unit_word",
        lambda: xrxai.occlusion_spectral(cube(), patch(), unit="um"),
        OptionError,
        "unit='um' is not known; choose one of 'nm', 'band'.",
    ),
    (
        "window_pixels_wide",
        lambda: xrxai.occlusion_spatial(cube(), patch(), window=16),
        SegmentError,
        "window=(16, 16) is larger than the cube of 6 x 5 pixels; type window=(6, 5) or less.",
    ),
    (
        "window_pixels_zero",
        lambda: xrxai.occlusion_spatial(cube(), patch(), window=0),
        OptionError,
        "window=0 is too small; type window=1 or more.",
    ),
    (
        "window_pixels_three",
        lambda: xrxai.occlusion_spatial(cube(), patch(), window=(2, 2, 2)),
        OptionError,
        "window=(2, 2, 2) is no size; type window=16 or window=(16, 16).",
    ),
    (
        "stride_pixels_negative",
        lambda: xrxai.occlusion_spatial(cube(), patch(), window=2, stride=-1),
        OptionError,
        "stride=-1 is too small; type stride=1 or more.",
    ),
    # baseline
    (
        "baseline_word",
        lambda: xrxai.integrated_gradients(cube(), patch(), baseline="zero"),
        BaselineError,
        "baseline='zero' is not known; type 'mean', 'median', a percentile such as 'p05', "
        "'blur', a number or an array.",
    ),
    (
        "baseline_none",
        lambda: xrxai.integrated_gradients(cube(), patch(), baseline=None),
        BaselineError,
        "The baseline has dtype object, and real numbers are needed; type a number, 'mean', "
        "'blur' or an array of numbers.",
    ),
    (
        "baseline_bool",
        lambda: xrxai.integrated_gradients(cube(), patch(), baseline=True),
        BaselineError,
        "baseline=True is no value; type a number such as 0.0.",
    ),
    (
        "baseline_nan",
        lambda: xrxai.integrated_gradients(cube(), patch(), baseline=np.nan),
        BaselineError,
        "baseline=nan is not finite; type a number such as 0.0.",
    ),
    (
        "baseline_nan_band",
        lambda: xrxai.integrated_gradients(
            cube(), patch(), baseline=np.where(np.arange(8) == 3, np.nan, 0)
        ),
        BaselineError,
        "The baseline is not finite everywhere; fill its gaps: type baseline.fillna(0), or "
        "np.nan_to_num(baseline) for a plain array.",
    ),
    (
        "baseline_length",
        lambda: xrxai.integrated_gradients(cube(), patch(), baseline=np.zeros(5)),
        BaselineError,
        "The baseline has shape (5,); give one value per band (8,) or the shape of the cube "
        "(8, 6, 5).",
    ),
    (
        "baseline_shape",
        lambda: xrxai.integrated_gradients(cube(), patch(), baseline=np.zeros((8, 5, 6))),
        BaselineError,
        "The baseline has shape (8, 5, 6); give one value per band (8,) or the shape of the "
        "cube (8, 6, 5).",
    ),
    (
        "baseline_dims",
        lambda: xrxai.integrated_gradients(cube(), patch(), baseline=cube().rename(x="col")),
        BaselineError,
        "The baseline has dims {'band': 8, 'y': 6, 'col': 5}, the cube {'band': 8, 'y': 6, "
        "'x': 5}; give a DataArray over dims of the cube, for example cube.mean(['y', 'x']).",
    ),
    (
        "baseline_coords",
        lambda: xrxai.integrated_gradients(
            on_grid(), patch(), baseline=on_grid().assign_coords(x=np.arange(5.0))
        ),
        BaselineError,
        "The baseline and the cube differ in the values of 'x'; type baseline.drop_vars('x') "
        "if they mean the same.",
    ),
    (
        "baseline_complex",
        lambda: xrxai.integrated_gradients(cube(), patch(), baseline=cube().astype(complex)),
        BaselineError,
        "The baseline has dtype complex128, and real numbers are needed; type a number, "
        "'mean', 'blur' or an array of numbers.",
    ),
    (
        "baseline_single_mean",
        lambda: xrxai.integrated_gradients(
            cube(), patch(), baseline="mean", mask=np.arange(30).reshape(6, 5) == 7
        ),
        BaselineError,
        "baseline='mean' of a single valid pixel is that pixel: nothing would be removed. "
        "Give the mean spectrum of other pixels: baseline=cubes.mean(['sample', 'y', 'x']).",
    ),
    (
        "baseline_blur_spectra",
        lambda: xrxai.integrated_gradients(spectra(), spectrum(), baseline="blur"),
        BaselineError,
        "baseline='blur' needs rows and columns, the cube is a table of spectra; type "
        "baseline='mean'.",
    ),
    (
        "baseline_sigma",
        lambda: xrxai.baseline(cube(), "blur", sigma=0),
        BaselineError,
        "sigma=0 does not blur; type a width in pixels such as 5.0.",
    ),
    # segments
    (
        "segments_word",
        lambda: xrxai.lime_spatial(cube(), patch(), segments="felzenszwalb"),
        SegmentError,
        "segments='felzenszwalb' is not known; type 'slic', 'patch', a map of ids or polygons.",
    ),
    (
        "segments_shape",
        lambda: xrxai.lime_spatial(cube(), patch(), segments=np.ones((5, 6), int)),
        SegmentError,
        "The segment map has shape (5, 6) and the cube {'y': 6, 'x': 5}; type a map of shape "
        "(6, 5) over ('y', 'x').",
    ),
    (
        "segments_dims",
        lambda: xrxai.lime_spatial(
            cube(), patch(), segments=xr.DataArray(np.ones((6, 5), int), dims=("row", "col"))
        ),
        SegmentError,
        "The segment map has the dims {'row': 6, 'col': 5} and the cube {'y': 6, 'x': 5}; "
        "type a map over dims of the cube other than the spectral one, of the same sizes.",
    ),
    (
        "segments_fractions",
        lambda: xrxai.lime_spatial(cube(), patch(), segments=np.full((6, 5), 1.5)),
        SegmentError,
        "The segment map holds fractions, so it was resampled or is no map of ids; type one "
        "resampled by nearest neighbour, such as ids.reindex_like(cube, method='nearest').",
    ),
    (
        "segments_none",
        lambda: xrxai.lime_spatial(cube(), patch(), segments=None),
        SegmentError,
        "segments=None is no map; type 'slic', 'patch', a map of ids or polygons.",
    ),
    (
        "segments_zero",
        lambda: xrxai.lime_spatial(cube(), patch(), segments=np.zeros((6, 5), int)),
        SegmentError,
        "No pixel is in a segment: the segments lie outside the valid pixels; check the ids "
        "(0 = excluded), the CRS of polygons and mask= (True = keep).",
    ),
    (
        "segments_masked",
        lambda: xrxai.lime_spatial(
            cube(), patch(), segments=np.eye(6, 5, dtype=int), mask=~np.eye(6, 5, dtype=bool)
        ),
        SegmentError,
        "No pixel is in a segment: the segments lie outside the valid pixels; check the ids "
        "(0 = excluded), the CRS of polygons and mask= (True = keep).",
    ),
    (
        "segments_outside",
        lambda: xrxai.lime_spatial(on_grid(), patch(), segments=squares(32633, 9e5)),
        SegmentError,
        "No pixel is in a segment: the segments lie outside the valid pixels; check the ids "
        "(0 = excluded), the CRS of polygons and mask= (True = keep).",
    ),
    (
        "segments_crs",
        lambda: xrxai.lime_spatial(on_grid(), patch(), segments=squares(4326)),
        SegmentError,
        "The polygons are in EPSG:4326, the cube in EPSG:32633; type "
        "polygons.to_crs(cube.rio.crs).",
    ),
    (
        "segments_no_grid",
        lambda: xrxai.lime_spatial(cube(), patch(), segments=squares(32633)),
        SegmentError,
        "The cube has no coordinates along 'y' and 'x', so polygons have no place on it; type"
        " cube.assign_coords(y=..., x=...) with the centres of its pixels.",
    ),
    (
        "segments_lazy",
        lambda: xrxai.lime_spatial(cube().chunk(), patch()),
        SegmentError,
        "Superpixels must see the pixels, and the cube is lazy (dask); type "
        "segments=xrxai.segments(cube.compute()), segments='patch' or give a map.",
    ),
    (
        "segments_spectra",
        lambda: xrxai.segments(spectra()),
        CubeError,
        "The cube has no rows and columns to cut into segments; explain its bands instead: "
        "lime_spectral(...).",
    ),
    (
        "n_segments_zero",
        lambda: xrxai.lime_spatial(cube(), patch(), n_segments=0),
        OptionError,
        "n_segments=0 is too small; type n_segments=1 or more.",
    ),
    (
        "compactness_negative",
        lambda: xrxai.lime_spatial(cube(), patch(), compactness=-1.0),
        OptionError,
        "compactness=-1.0 is not a positive number; type for example compactness=1.",
    ),
    (
        "patch_zero",
        lambda: xrxai.lime_spatial(cube(), patch(), segments="patch", patch=0),
        OptionError,
        "patch=0 is too small; type patch=1 or more.",
    ),
    # results
    (
        "not_an_explanation",
        lambda: xrxai.on_cube(cube().to_dataset(name="a")),
        ResultError,
        "This Dataset with variables ['a'] is no explanation; make one with "
        "cube.xai.saliency(model) or another method.",
    ),
    (
        "to_groups_of_groups",
        lambda: explained().xai.to_groups(["R"]),
        ResultError,
        "This explanation answers over ('target', 'group'), not per band, so its bands cannot"
        " be summed; use integrated_gradients, input_x_gradient, saliency or "
        "occlusion_spectral.",
    ),
    (
        "combine_nothing",
        lambda: xrxai.combine([]),
        ResultError,
        "There is nothing to combine; give at least one explanation.",
    ),
    (
        "combine_methods",
        lambda: xrxai.combine([explained(), xrxai.saliency(cube(), answering(mean))]),
        ResultError,
        "Explanations by lime_spectral and saliency answer different questions; combine those"
        " of one method.",
    ),
]
ANSWERED: list[Case] = [
    (
        "vector_shape",
        lambda: xrxai.saliency(cube(), answering(lambda x: x.flatten(1)[:, :3])),
        ModelError,
        "The model answered shape (1, 3) to 1 sample; with gives='vector' and 2 targets (K, "
        "pH) it must be (1, 2). Name every output in targets=.",
    ),
    (
        "vector_gave_map",
        lambda: xrxai.saliency(cube(), answering(lambda x: x[:, :2])),
        ModelError,
        "The model answered shape (1, 2, 6, 5) to 1 sample; with gives='vector' and 2 targets"
        " (K, pH) it must be (1, 2). Type gives='map'.",
    ),
    (
        "map_shape",
        lambda: xrxai.saliency(cube(), answering(lambda x: x[:, :3], gives="map")),
        ModelError,
        "The model answered shape (1, 3, 6, 5) to 1 sample; with gives='map' and 2 targets "
        "(K, pH) it must be (1, 2, y, x). Name every output in targets=.",
    ),
    (
        "map_gave_vector",
        lambda: xrxai.saliency(cube(), answering(mean, gives="map")),
        ModelError,
        "The model answered shape (1, 2) to 1 sample; with gives='map' and 2 targets (K, pH) "
        "it must be (1, 2, y, x). Type gives='vector'.",
    ),
    (
        "nan",
        lambda: xrxai.saliency(cube(), answering(lambda x: mean(x) * np.nan)),
        ModelError,
        "The model answered NaN for a finite input; mend the model, or choose a baseline that"
        " it can bear (log(0) and 0/0, for example, are not finite).",
    ),
    (
        "infinite",
        lambda: xrxai.lime_spectral(
            cube(), answering(lambda x: 1 / mean(x)), bands=["B"], n_samples=9
        ),
        ModelError,
        "The model answered infinite values for a finite input; mend the model, or choose a "
        "baseline that it can bear (log(0) and 0/0, for example, are not finite).",
    ),
    (
        "tuple",
        lambda: xrxai.saliency(cube(), answering(lambda x: (mean(x), x))),
        ModelError,
        "The model answered a tuple, not one tensor; wrap it in a torch.nn.Module whose "
        "forward returns net(x)[0].",
    ),
    (
        "numpy",
        lambda: xrxai.lime_spectral(cube(), answering(lambda x: mean(x).numpy()), n_samples=30),
        ModelError,
        "The model answered an ndarray, not one tensor; type Model(..., arrays='numpy').",
    ),
    (
        "argmax",
        lambda: xrxai.saliency(
            cube(), answering(lambda x: mean(x).argmax(1)[:, None].expand(-1, 2))
        ),
        ModelError,
        "The model <lambda> gives no gradient: its answer is cut off from its input (argmax, "
        "rounding, numpy or torch.no_grad inside). Let gradients through, or use "
        "lime_spectral, lime_spatial or an occlusion method.",
    ),
    (
        "detached",
        lambda: xrxai.integrated_gradients(cube(), answering(lambda x: mean(x.detach()))),
        ModelError,
        "The model <lambda> gives no gradient: its answer is cut off from its input (argmax, "
        "rounding, numpy or torch.no_grad inside). Let gradients through, or use "
        "lime_spectral, lime_spatial or an occlusion method.",
    ),
    (
        "gradient_nan",
        lambda: xrxai.saliency(cube(), answering(lambda x: (mean(x) - mean(x).detach()).sqrt())),
        ModelError,
        "The gradient of <lambda> is not finite; a square root, norm or log of zero inside "
        "the model does this: add a small constant there.",
    ),
    (
        "fails_inside",
        lambda: xrxai.saliency(cube(), answering(fails)),
        ModelError,
        "The model failed on an input of shape (1, 8, 6, 5): ValueError: weights for 4 bands."
        " Check takes='patch', the number of bands (8), pad= and resize=.",
    ),
    (
        "fails_by_itself",
        lambda: xrxai.saliency(cube(), answering(lambda x: {}["weights"])),
        ModelError,
        "The model failed on an input of shape (1, 8, 6, 5): KeyError: 'weights'. Check "
        "takes='patch', the number of bands (8), pad= and resize=.",
    ),
    (
        "prepare_fails",
        lambda: xrxai.saliency(cube(), answering(mean, prepare=fails)),
        ModelError,
        "prepare= failed on an input of shape (1, 8, 6, 5): ValueError: weights for 4 bands. "
        "Mend it, or leave it out.",
    ),
    (
        "no_predict_proba",
        lambda: xrxai.Model(RidgeClassifier().fit(np.eye(8), np.arange(8) % 2)),
        ModelError,
        "The classifier RidgeClassifier has no predict_proba, and labels alone cannot be "
        "explained; type Model(classifier.decision_function, arrays='numpy', "
        "takes='spectrum', targets=[...]), or calibrate it first.",
    ),
    (
        "dict",
        lambda: xrxai.saliency(cube(), answering(lambda x: {"out": mean(x)})),
        ModelError,
        "The model answered a dict, not one tensor; wrap it in a torch.nn.Module whose "
        "forward returns net(x)['out'].",
    ),
    (
        "prepare_numpy",
        lambda: xrxai.lime_spectral(
            cube(), answering(mean, prepare=lambda x: x.numpy()), n_samples=30
        ),
        ModelError,
        "prepare= answered an ndarray, not a tensor; make it return one tensor of shape (n, "
        "band, y, x).",
    ),
    (
        "estimator_classes",
        lambda: xrxai.lime_spectral(
            cube(),
            xrxai.Model(LinearRegression().fit(np.eye(8), np.eye(8)[:, :3]), targets=["K"]),
            n_samples=30,
        ),
        ModelError,
        "The model answered shape (30, 3) to 30 samples; with gives='vector' and 1 target (K)"
        " it must be (30, 1). Name every output in targets=.",
    ),
]


def _table(cases: list[Case]) -> Any:
    return pytest.mark.parametrize(
        ("call", "error", "message"), [case[1:] for case in cases], ids=[case[0] for case in cases]
    )


@pytest.fixture(autouse=True)
def one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without accelerators: the messages list the devices."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@_table(REFUSED)
def test_refused_before_the_model_runs(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(XrxaiError) as caught:
        call()
    assert str(caught.value) == message
    assert type(caught.value) is error


@_table(ANSWERED)
def test_answers_that_cannot_be_used(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(XrxaiError) as caught:
        call()
    assert str(caught.value) == message
    assert type(caught.value) is error


def test_messages_are_sentences() -> None:
    code = r"\w+=|'|\(|slice\("
    for name, _, _, message in REFUSED + ANSWERED:
        assert re.match(rf"[A-Z]|{code}", message), name
        assert message.endswith("."), name
