"""How a scene is cut for a model: into tiles with a halo, chips, or windows around regions."""

from __future__ import annotations

from typing import Any

import numpy as np

from xrxai import tensors
from xrxai.errors import ModelError, note
from xrxai.labelled import areas
from xrxai.labelled.chips import Chips
from xrxai.labelled.cube import Cube
from xrxai.model import Model
from xrxai.spec import Spec
from xrxai.tiles import Grid

# Below that many bytes nobody notices that chunks are cut and joined.
_WORTH_A_WORD = 64 * 2**20
# A window around a region may be that much larger than it, to be exact.
_WIDE = 512


def in_tiles(scene: Cube, model: Model) -> bool:
    """Whether a map is to be made of a scene that comes in pieces."""
    if model.takes != "patch" or model.gives != "map" or not scene.lazy:
        return False
    return _pieces(scene)


def _pieces(scene: Cube) -> bool:
    return any(len(scene.data.chunksizes[d]) > 1 for d in (scene.y, scene.x))


def into_chips(scene: Cube, model: Model, spec: Spec) -> Chips | None:
    """How the scene is cut into samples, if it is."""
    if model.takes != "patch":
        return None
    if model.patch is not None:
        return Chips(scene, model.patch)
    if in_tiles(scene, model):
        # A method that needs all pixels at once takes every tile for an image of its own.
        return Chips(scene, _side(scene)) if spec.tiles == "alone" else None
    if scene.lazy and _pieces(scene):
        size = scene.data.nbytes / max(1, int(np.prod([scene.data.sizes[d] for d in scene.lead])))
        if size > _WORTH_A_WORD:
            note(
                f"The cube comes in {scene.data.data.npartitions} pieces, but {model.label} takes "
                f"all rows and columns as one sample, so the pieces are joined to "
                f"{size / 2**20:.0f} MiB each; for a grid of chips type Model(..., patch=(height, "
                f"width)) with the size that the model was trained on, or "
                f"cube.chunk({scene.y}=-1, {scene.x}=-1) if it is meant."
            )
    return None


def around_regions(
    scene: Cube, model: Model, per: areas.Per, valid: Any
) -> tuple[areas.Areas, Model]:
    """Windows around regions, with what the model needs to see around them."""
    if model.takes == "spectrum":
        return areas.settle(scene, per, valid, 0, 1), tensors.pixels.by_pixel(model)
    if model.gives == "vector":
        raise ModelError(
            "per= asks of regions of a scene, but the model answers one value per target for a "
            "whole chip; drop per=, or switch regions of the chip with lime_spatial(segments=...)."
        )
    bands = scene.data.sizes[scene.band]
    halo = tensors.field.choose(model, tile=_WIDE, reach=1, extent=0, cube_bands=bands)
    return areas.settle(scene, per, valid, halo.pixels, halo.stride), model


def into_tiles(scene: Cube, model: Model, spec: Spec, extent: int) -> tuple[Grid, dict[str, Any]]:
    """Tiles with the halo that the method needs, and what the result says of it.

    `extent` is the width of windows that reach over the core of a tile.
    """
    side = _side(scene)
    bands = scene.data.sizes[scene.band]
    halo = tensors.field.choose(
        model,
        tile=min(side),
        reach=1 if spec.tiles == "score" else 2,
        extent=extent if spec.tiles == "window" else 0,
        cube_bands=bands,
    )
    size = (scene.data.sizes[scene.y], scene.data.sizes[scene.x])
    grid = Grid.regular(size, side, halo.pixels, halo.stride)
    _tell_rechunk(scene, grid)
    even = not any(n % halo.stride for n in size)
    exact = halo.exact and (even or tensors.field.measure(model, n_bands=bands).ragged)
    if halo.exact and not exact:
        note(
            f"{model.label} answers every {halo.stride}th pixel, and {halo.stride} does not divide "
            f"the {size[0]} rows and {size[1]} columns: its map of the whole scene is stretched, "
            f"and that of tiles is not; type Model(..., pad={halo.stride}) to have both alike."
        )
    about: dict[str, Any] = {"halo": halo.pixels, "halo_exact": int(exact)}
    if not halo.exact:
        about["halo_error"] = float(halo.error)
    return grid, about


def _side(scene: Cube) -> tuple[int, int]:
    """Side of a tile: what the user chose by the chunks."""
    down, right = (max(scene.data.chunksizes[d]) for d in (scene.y, scene.x))
    return down, right


def _tell_rechunk(scene: Cube, grid: Grid) -> None:
    chunks = scene.data.chunksizes
    wanted = {scene.y: grid.chunks[0], scene.x: grid.chunks[1]}
    odd = [str(d) for d, sizes in wanted.items() if tuple(chunks[d]) != sizes]
    if len(chunks[scene.band]) > 1:
        odd.append(scene.band)
    if not odd or scene.data.nbytes < _WORTH_A_WORD:
        return
    before = int(np.prod([len(c) for c in chunks.values()]))
    rows, columns = grid.chunks
    piece = scene.data.sizes[scene.band] * max(rows) * max(columns) * scene.data.dtype.itemsize
    note(
        f"The chunks of the cube along {', '.join(odd)} are not those of tiles, so {before} chunks "
        f"are cut and joined into {grid.shape[0]} x {grid.shape[1]} tiles of up to {max(rows)} x "
        f"{max(columns)} pixels and {piece / 2**20:.0f} MiB, which reads some of them more than "
        f"once; to avoid that type cube.chunk({scene.band}=-1, {scene.y}={rows[0]}, "
        f"{scene.x}={columns[0]}), or read the file with such chunks."
    )
