"""Where a model decides for other reasons than it does where it was trained."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.attribution.integrated import integrated_gradients
from xrxai.errors import ModelError, OptionError, at_least
from xrxai.labelled import bands as band_groups
from xrxai.labelled import statistics
from xrxai.model import Model
from xrxai.prediction import predict
from xrxai.training.margins import winner_of
from xrxai.training.places import scene, trained_mask


def explanation_shift(
    cube: xr.DataArray,
    model: Model,
    trained: xr.DataArray | np.ndarray,
    *,
    bands: band_groups.Bands = 50.0,
    n_steps: int = 8,
    max_pixels: int = 20_000,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.DataArray:
    """
    Map where what speaks for the winning class is unusual.

    Each pixel's winning score is shared out over band groups, by integrated gradients from the
    mean training spectrum. Where the shares are unlike those of training pixels that were given
    the same class, the model is right or wrong for reasons that nobody has checked.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        The scene.
    model : Model
        A network that gives a map of logits.
    trained : DataArray or array of bool, (y, x)
        True where pixels were trained on.
    bands : optional
        Band groups; see `xrxai.band_groups`. Default: 50 nm wide.
    n_steps : int, default: 8
        Of integrated gradients; each costs a forward and a backward pass.
    max_pixels : int, default: 20000
        Of the training pixels, from which the usual shares are learned.
    seed : int, default: 0
        Of that draw.
    device : str, optional
        Overrides ``model.device``.
    batch_size : int, optional
        Overrides ``model.batch_size``; changes memory and speed, not the result.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    DataArray, (y, x)
        Mahalanobis distance of the shares to those of training pixels of the same class, over
        the root of the number of groups: about 1 where nothing is unusual. NaN without data.

    Raises
    ------
    ModelError
        The model gives no map, or has no gradient.
    OptionError
        `trained` is no mask of the scene, or holds too few pixels.

    References
    ----------
    .. [1] C. Mougan, K. Broelemann, D. Masip, G. Kasneci, T. Thiropanis, S. Staab (2023).
       Explanation shift: how did the distribution shift impact the model?
       https://arxiv.org/abs/2303.08081 (shares as the space in which to compare; here per pixel
       and class)
    """
    from sklearn.covariance import LedoitWolf

    model = Model.ensure(model)
    at_least(n_steps, 1, "n_steps")
    at_least(max_pixels, 10, "max_pixels")
    if model.gives != "map" or model.arrays != "torch":
        raise ModelError(
            f"Shares of the winning score need gradients of a map, and {model.label} gives none; "
            f"leave explanation_shift out for it."
        )
    place = scene(cube)
    y, x = str(place.y), str(place.x)
    known = trained_mask(trained, place)
    count = int((known & place.valid().transpose(y, x).values).sum())
    if count < 10:
        raise OptionError(
            f"trained holds {count} pixels with data, too few to tell what is usual; check that it "
            f"is True where pixels were trained on."
        )
    mean = place.data.where(xr.DataArray(known, dims=(y, x)) & place.valid())
    start = mean.mean(statistics.pixels(place)).compute().reset_coords(drop=True)
    why = integrated_gradients(
        cube,
        winner_of(model),
        baseline=start.rename("mean of training pixels"),
        n_steps=n_steps,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    groups = band_groups.settle(place, bands, "first", "fixed")
    member = groups["group_of_band"].values
    flat = why["attribution"].isel(target=0, drop=True).transpose(y, x, place.band).values
    shares = np.stack(
        [np.nansum(flat[..., member == g], -1) for g in range(1, groups.sizes["group"] + 1)], -1
    )
    chosen = _chosen(cube, model, progress)
    whole = np.isfinite(flat[..., member > 0]).all(-1) & (chosen >= 0)
    found = np.full(whole.shape, np.nan, np.float32)
    rng = np.random.default_rng(seed)
    usual = shares[known & whole]
    least = max(20, 2 * shares.shape[-1])
    for k in np.unique(chosen[whole]):
        here = whole & (chosen == k)
        own = shares[known & here]
        some = own if len(own) >= least else usual  # a class that was hardly trained on
        fit = LedoitWolf().fit(rng.permutation(some)[:max_pixels])
        found[here] = np.sqrt(fit.mahalanobis(shares[here]) / shares.shape[-1])
    made = xr.DataArray(found, dims=(y, x), name="explanation_shift")
    made = made.assign_coords({n: c for n, c in cube.coords.items() if set(c.dims) <= {y, x}})
    return made.assign_attrs(
        long_name="distance of the shares of band groups to those of training pixels", units="1"
    )


def _chosen(cube: xr.DataArray, model: Model, progress: bool) -> np.ndarray:
    place = scene(cube)
    made = predict(cube, model, classes=True, progress=progress)["class_map"]
    numbers: np.ndarray = made.transpose(place.y, place.x).values
    return numbers
