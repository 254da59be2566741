"""Nets in files that say all that is needed to build them again, and can run nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from xrxai.errors import ModelError, OptionError
from xrxai.training.nets import SegmentationNet, unet
from xrxai.training.weights import fit_state

_KEY = "xrxai"


def save_weights(net: SegmentationNet, path: str | os.PathLike[str]) -> Path:
    """
    Write a net into a file of safetensors, with what is needed to build it again.

    The file is complete or as it was before: it is written beside and then renamed.

    Parameters
    ----------
    net : SegmentationNet
        Weights, statistics of bands, wavelengths, names of classes and encoder go into the file.
    path : str or path
        Ends in ``.safetensors``.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    ModelError, OptionError
        It is no net of `unet`, or the name ends in something else.
    """
    from safetensors.torch import save

    if not isinstance(net, SegmentationNet):
        raise ModelError(
            f"A {type(net).__name__} does not know how it was built; save it with "
            f"torch.save(net.state_dict(), path), or make it with training.unet."
        )
    file = _named(path)
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_bytes(save(state, metadata={_KEY: json.dumps(net.recipe)}))
        os.replace(beside, file)
    finally:
        beside.unlink(missing_ok=True)
    return file


def load_net(path: str | os.PathLike[str]) -> SegmentationNet:
    """
    Build the net that `save_weights` wrote, from the file alone.

    Parameters
    ----------
    path : str or path
        Of a ``.safetensors`` file. Nothing in it is run.

    Returns
    -------
    SegmentationNet
        In evaluation mode, on the CPU.

    Raises
    ------
    ModelError, OptionError
        The file is missing, damaged, or of something else.
    """
    recipe, state = _read(_named(path))
    classes, bands = recipe.pop("classes"), recipe.pop("bands")
    net = unet(bands, classes, **recipe)
    fit_state(net, state, f"{os.fspath(path)!r}", "the net that it describes")
    return net.eval()


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recipe of a net and its weights."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ModelError(f"{str(file)!r} is no file; type the path that save_weights wrote.")
    try:
        with safe_open(file, framework="pt") as opened:
            told = (opened.metadata() or {}).get(_KEY)
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(
            f"{str(file)!r} is damaged or no safetensors file ({error}); write it again with "
            f"training.save_weights(net, path)."
        ) from None
    if told is None:
        raise ModelError(
            f"{str(file)!r} holds weights and does not say of which net; type "
            f"training.unet(cube, classes, encoder=..., weights=path) to take its encoder."
        )
    return json.loads(told), state


def _named(path: str | os.PathLike[str]) -> Path:
    """A path that ends in .safetensors."""
    file = Path(path)
    if file.suffix != ".safetensors":
        raise OptionError(
            f"{os.fspath(path)!r} does not end in .safetensors, which are files that can hold "
            f"no code and say which net it is; type {file.with_suffix('.safetensors').name!r}."
        )
    return file
