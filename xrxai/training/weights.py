"""Weights of an encoder from the network or a file, for any number of bands."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from xrxai.errors import ModelError, OptionError, choice
from xrxai.training.kernels import RGB_NM, cyclic, first_convolution, shared

Adapt = Literal["cyclic", "wavelength"]


def smp() -> Any:
    """segmentation_models_pytorch, or how to install it."""
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise ImportError(
            f"Nets need segmentation_models_pytorch, which cannot be imported ({error}); type "
            'pip install "xrxai[training]", or give fit a torch.nn.Module of your own.'
        ) from None
    return segmentation_models_pytorch


def load_encoder(
    encoder: nn.Module,
    name: str,
    weights: str | os.PathLike[str],
    depth: int,
    bands: int,
    wavelength: np.ndarray | None,
    adapt: Adapt,
) -> None:
    """Put weights into an encoder for `bands`, its first convolution made for them."""
    choice(adapt, ("cyclic", "wavelength"), "adapt")
    state = imagenet(name, depth) if weights == "imagenet" else encoder_state(weights)
    first, _ = first_convolution(encoder)
    key = f"{first}.weight"
    if key not in state:
        raise ModelError(
            f"weights={os.fspath(weights)!r} has no {key!r}, so it is not of the encoder {name!r}; "
            f"type the encoder that it is of, or weights=None."
        )
    kernel = state[key]
    if kernel.shape[1] != bands:
        if kernel.shape[1] != 3:
            raise ModelError(
                f"The first layer in weights={os.fspath(weights)!r} takes {kernel.shape[1]} bands, "
                f"and the net is for {bands}; weights of 3 bands (red, green, blue) or of {bands} "
                f"can be taken. A net that save_weights wrote knows its wavelengths: type "
                f"training.transfer(path, cube)."
            )
        if adapt == "wavelength":
            if wavelength is None:
                raise OptionError(
                    "adapt='wavelength' needs the wavelengths of the bands; type "
                    "wavelength=[...] in nanometres, or adapt='cyclic'."
                )
            state[key] = shared(kernel, RGB_NM, wavelength)
        else:
            state[key] = cyclic(kernel, bands)
    fit_state(encoder, state, f"weights={os.fspath(weights)!r}", f"the encoder {name!r}")


def imagenet(name: str, depth: int) -> dict[str, torch.Tensor]:
    """Weights for photographs, from where segmentation_models_pytorch keeps them."""
    encoders = smp().encoders
    kind = True if name.startswith("tu-") else "imagenet"  # timm has its choice in the name
    try:
        with torch.random.fork_rng(devices=[]):  # it begins at random
            made = encoders.get_encoder(name, in_channels=3, depth=depth, weights=kind)
    except KeyError:
        raise OptionError(
            f"There are no weights 'imagenet' for encoder={name!r}; type weights=None or a file."
        ) from None
    except OSError as error:
        place = encoders.encoders.get(name, {}).get("pretrained_settings", {}).get("imagenet", {})
        where = f"https://huggingface.co/{place['repo_id']}" if "repo_id" in place else "its home"
        raise ModelError(
            f"The weights 'imagenet' of {name!r} are neither here nor can be fetched "
            f"({type(error).__name__}); take model.safetensors from {where} to this machine and "
            f"type weights='path/to/model.safetensors', or weights=None."
        ) from error
    return dict(made.state_dict())


def encoder_state(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Weights by name from a .safetensors, .pt or .pth file; nothing in it is run."""
    file = Path(path)
    if not file.is_file():
        raise ModelError(
            f"weights={os.fspath(path)!r} is no file; type the path of a .safetensors or .pth "
            f"file, weights='imagenet' or weights=None."
        )
    state: Any
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(file)
    else:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            # torch's own message offers to run the file.
            raise ModelError(
                f"weights={os.fspath(path)!r} holds more than tensors, which is code that would "
                f"run on loading; ask for a .safetensors file, or for one of "
                f"torch.save(net.state_dict(), path)."
            ) from None
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(state, dict) and isinstance(state.get(key), dict):
                state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(
            f"weights={os.fspath(path)!r} holds no table of tensors by name; save one with "
            f"torch.save(net.state_dict(), path)."
        )
    for prefix in ("body.encoder.", "encoder."):  # of a whole net
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if inner:
            return inner
    return dict(state)


def fit_state(module: nn.Module, state: dict[str, torch.Tensor], source: str, sink: str) -> None:
    """Load all weights, or say how many are missing, left over or of another shape."""
    own = module.state_dict()
    missing = sorted(k for k in own if k not in state and not k.endswith("num_batches_tracked"))
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or shapes:
        said = []
        if missing:
            said.append(f"{len(missing)} of its weights are missing, such as {missing[0]!r}")
        if shapes:
            said.append(
                f"{len(shapes)} have another shape, such as {shapes[0]!r} "
                f"{tuple(state[shapes[0]].shape)} in place of {tuple(own[shapes[0]].shape)}"
            )
        raise ModelError(
            f"{source} does not fit {sink}: {'; '.join(said)}. Type the encoder that "
            f"the file is of."
        )
    # What a classifier of photographs has on top is left over and not needed.
    nn.Module.load_state_dict(module, {k: state.get(k, v) for k, v in own.items()})
