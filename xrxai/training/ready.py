"""What must fit together before the first step: tiles, classes, net."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xrxai.errors import LabelError, ModelError, OptionError
from xrxai.labelled.cube import locate
from xrxai.training.classes import Classes
from xrxai.training.losses import check_logits

# The bands of sensors of one kind lie this close, in nm.
NEAR = 10.0


def counts_of(tiles: Any, classes: Classes) -> np.ndarray:
    """Labelled pixels of each class in tiles, which teach nothing unless two are there.

    Of `Tiles` the map of labels is asked, and no band is read; of another data set each item.
    """
    count = len(classes)
    made = np.zeros(count, np.int64)
    for label in _labels(tiles):
        known = label[label != -1]
        wrong = known[(known < 0) | (known >= count)]
        if wrong.size:
            found = ", ".join(map(str, np.unique(wrong)[:12].tolist()))
            raise LabelError(
                f"The labels hold {found}, and the {count} classes have the numbers 0 to "
                f"{count - 1}; make them with training.labels_of(labels, cube, classes), which "
                f"says what each becomes."
            )
        made += np.bincount(known.ravel().astype(np.int64), minlength=count)
    return made


def check_tiles(tiles: Any, name: str) -> Classes:
    """Refuse what is no set of tiles, or is empty; returns its classes."""
    classes = getattr(tiles, "classes", None)
    if not isinstance(classes, Classes) or not hasattr(tiles, "__getitem__"):
        raise OptionError(
            f"{name}= is a {type(tiles).__name__}, which is no set of tiles with classes; type "
            f"{name}=training.Tiles(cube, labels, windows)."
        )
    if len(tiles) == 0:
        raise OptionError(f"{name}= has no tile; pass windows that lie within the cube.")
    return classes


def check_two_classes(counts: np.ndarray, classes: Classes) -> None:
    """Refuse training data from which nothing can be told apart."""
    there = [name for name, n in zip(classes.names, counts, strict=True) if n]
    if len(there) < 2:
        held = f"only {there[0]!r}" if there else "no labelled pixel at all"
        raise LabelError(
            f"The training tiles hold {held}, and telling apart takes two classes; add tiles of "
            f"another class, or say what was looked at and not drawn "
            f"(training.rasterise(..., annotated=...), Classes(..., background=...))."
        )


def check_validation(train: Any, validation: Any) -> None:
    """Refuse validation tiles of other classes, and those that are augmented."""
    theirs = check_tiles(validation, "validation")
    if theirs.names != train.classes.names:
        raise LabelError(
            f"The validation tiles have the classes {list(theirs.names)} and the training tiles "
            f"{list(train.classes.names)}; make both labels with the same Classes."
        )
    if getattr(validation, "augmentation", None) is not None:
        raise OptionError(
            "validation= is augmented, so its scores would be those of scenes that are not "
            "there; type training.Tiles(cube, labels, windows) without augmentation=."
        )


def check_item(tiles: Any, name: str) -> Tensor:
    """The image of the first item, or what is wrong with it."""
    image, label = tiles[0][:2]
    if image.ndim != 3 or label.shape != image.shape[1:]:
        raise LabelError(
            f"The image of the first tile of {name}= has shape {tuple(image.shape)} and its label "
            f"{tuple(label.shape)}; an image is (band, y, x), a label (y, x): one class number "
            f"per pixel, not one-hot."
        )
    checked: Tensor = image
    return checked


@torch.no_grad()
def check_net(net: nn.Module, image: Tensor, tiles: Any) -> nn.Module:
    """A copy of the net beside the image, which has answered for it as it must."""
    classes = tiles.classes
    if not isinstance(net, nn.Module):
        raise ModelError(
            f"net= is a {type(net).__name__}, and fit trains a torch.nn.Module; type "
            f"training.unet(cube, classes)."
        )
    if not any(p.requires_grad for p in net.parameters()):
        raise ModelError(
            "Nothing of the net can be trained: it has no parameter, or all are frozen; type "
            "net.requires_grad_(True), or freeze fewer stages."
        )
    named = getattr(net, "class_names", None)
    if named is not None and tuple(named) != classes.names:
        raise ModelError(
            f"The net tells apart {list(named)} and the tiles have the classes "
            f"{list(classes.names)}; type training.transfer(net, cube, classes=classes)."
        )
    _check_wavelengths(net, tiles)
    own = copy.deepcopy(net).to(image.device).eval()
    try:
        answer = own(image[None])
    except RuntimeError as error:
        first = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
        takes = "" if first is None else f", and its first convolution takes {first.in_channels}"
        raise ModelError(
            f"The net does not take tiles of {image.shape[0]} bands and {image.shape[1]} x "
            f"{image.shape[2]} pixels{takes}; type training.unet(cube, classes) for these bands, "
            f"or training.transfer(net, cube) to keep what it has learnt. It says: "
            f"{str(error).splitlines()[0]}"
        ) from error
    want = (1, len(classes), *image.shape[1:])
    if not isinstance(answer, Tensor) or tuple(answer.shape) != want:
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ModelError(
            f"The net answers {shape} for one tile, and {want} is needed: (n, class, y, x) with a "
            f"value for each of the {len(classes)} classes, rows and columns; type "
            f"training.unet(cube, classes)."
        )
    check_logits(answer)
    return own


def _check_wavelengths(net: nn.Module, tiles: Any) -> None:
    """Refuse bands of another sensor, where both say which they are."""
    pair = getattr(net, "wavelength", None), getattr(tiles, "wavelength", None)
    if pair[0] is None or pair[1] is None:
        return
    ours, theirs = (np.asarray(w, dtype=np.float64) for w in pair)
    if ours.shape != theirs.shape:
        what = f"{len(ours)} bands and the tiles have {len(theirs)}"
    elif np.abs(ours - theirs).max() > NEAR:
        at = int(np.abs(ours - theirs).argmax())
        what = f"bands at other wavelengths (band {at}: {ours[at]:g} nm, tiles {theirs[at]:g} nm)"
    else:
        return
    raise ModelError(
        f"The net was made for {what}; type training.transfer(net, cube) to keep what it "
        f"has learnt, or training.unet(cube, classes)."
    )


def identity(tiles: Any, counts: np.ndarray) -> str:
    """What tells one set of tiles from another, in a word."""
    digest = hashlib.blake2b(repr((len(tiles), counts.tolist())).encode(), digest_size=8)
    windows = getattr(tiles, "windows", None)
    for name in ("row", "column"):
        if windows is not None and name in windows:
            digest.update(np.ascontiguousarray(windows[name].values, np.int64).tobytes())
    augmented = repr(getattr(tiles, "augmentation", None))
    if " at 0x" not in augmented:  # an address differs between two runs
        digest.update(augmented.encode())
    return f"{len(tiles)} tiles ({digest.hexdigest()})"


def _labels(tiles: Any) -> Any:
    """Each tile's label as an array."""
    labels, windows = getattr(tiles, "labels", None), getattr(tiles, "windows", None)
    size = getattr(windows, "attrs", {}).get("tile_size")
    if labels is None or windows is None or size is None:
        for i in range(len(tiles)):
            yield np.asarray(tiles[i][1])
        return
    place = locate(tiles.cube)
    values = labels.transpose(place.y, place.x).to_numpy()
    for row, column in zip(
        *(np.ravel(windows[name].values) for name in ("row", "column")), strict=True
    ):
        yield values[row : row + size, column : column + size]
