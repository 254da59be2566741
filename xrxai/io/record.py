"""What a store knows of its tiles: which are done, and how many bytes they took."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xrxai.io import overview
from xrxai.io.layout import Layout, Position
from xrxai.io.overview import Copy

GROUP = "xrxai_tiles"
_HEAD = "zarr.json"


class Unreadable(Exception):
    """A store that cannot be read; its text says why."""


class NotWritten(OSError):
    """A tile that could not be written, as opposed to one that could not be computed."""


@dataclass(frozen=True)
class Record:
    """The record of a store that was written tile by tile."""

    path: Path
    stamp: str
    run: Mapping[str, str]
    layout: Layout
    complete: bool
    copies: tuple[Copy, ...] = ()

    @property
    def done_shape(self) -> tuple[int, ...]:
        """Of the array of done tiles."""
        return self.layout.shape or (1,)

    def done(self) -> np.ndarray:
        """Bytes of each tile plus one; 0 = not done."""
        out = np.zeros(self.done_shape, np.uint64)
        folder = self.path / GROUP / "done" / "c"
        # Read as files: zarr takes 20 times as long for as many chunks of one number.
        for at in np.ndindex(out.shape):
            try:
                raw = (folder / "/".join(map(str, at))).read_bytes()
            except FileNotFoundError:
                continue
            if len(raw) == 8:
                out[at] = int.from_bytes(raw, "little")
        return out

    def damaged(self, done: np.ndarray) -> list[Position]:
        """Done tiles whose files do not have the size that they had."""
        _, _, arrays = _opened(str(self.path), self.stamp)
        return [
            at
            for at, number in zip(self.layout.positions(), done.ravel().tolist(), strict=True)
            if number and number != 1 + _weight(str(self.path), self.layout, arrays, at)
        ]


def create(path: Path, run: Mapping[str, str], layout: Layout, copies: Sequence[Copy]) -> None:
    """Add an empty record to a store."""
    import zarr

    about = {
        "stamp": uuid.uuid4().hex,
        "run": dict(run),
        "layout": layout.to_json(),
        "copies": overview.to_json(copies),
    }
    group = zarr.open_group(path, mode="r+").create_group(GROUP, attributes=about)
    shape = layout.shape or (1,)
    group.create_array(
        "done", shape=shape, chunks=(1,) * len(shape), dtype="<u8", fill_value=0, compressors=None
    )


def read(path: Path) -> Record | None:
    """Record of the store at `path`; None where it has none."""
    if not (path / GROUP / _HEAD).is_file():
        return None
    try:
        about = json.loads((path / GROUP / _HEAD).read_text())["attributes"]
        attrs = json.loads((path / _HEAD).read_text())["attributes"]
        record = Record(
            path,
            about["stamp"],
            about["run"],
            Layout.from_json(about["layout"]),
            attrs.get("complete") == 1,
            tuple(overview.from_json(about.get("copies", []))),
        )
        # Not from the cache: what was right a while ago may be damaged now.
        _, _, arrays = _open(str(path), record.stamp)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    shapes = {name: tuple(array.shape) for name, array in arrays.items() if name != "done"}
    if shapes != dict(record.layout.shapes) or arrays["done"].shape != record.done_shape:
        raise Unreadable(f"its arrays have the shapes {shapes}")
    return record


def mark(path: Path, complete: int) -> None:
    """Say in the attributes of the store whether all is there."""
    head = path / _HEAD
    about = json.loads(head.read_text())
    about["attributes"]["complete"] = complete
    part = head.with_suffix(".partial")
    part.write_text(json.dumps(about, indent=2))
    os.replace(part, head)


def sweep(path: Path) -> None:
    """Remove what writes that were killed have left."""
    for leftover in path.rglob("*.partial"):
        leftover.unlink(missing_ok=True)


def commit(path: str, stamp: str, at: Position, *blocks: Any) -> None:
    """Write the blocks of a tile, then that it is done."""
    try:
        layout, copies, arrays = _opened(path, stamp)
        for name, block in zip(layout.writes(at), blocks, strict=True):
            arrays[name][layout.region(name, at)] = np.asarray(block)
        overview.put_aside(Path(path), copies, layout, at, blocks)
        arrays["done"][at or (0,)] = 1 + _weight(path, layout, arrays, at)
    except OSError as error:
        raise NotWritten(error.errno, error.strerror or str(error)) from error


def write_whole(path: Path, values: Mapping[str, Any]) -> None:
    """Write variables that are on no tile."""
    import zarr

    group = zarr.open_group(path, mode="r+")
    for name, value in values.items():
        group[name][...] = np.asarray(value)  # type: ignore[index]


def _open(path: str, stamp: str) -> tuple[Layout, list[Copy], dict[str, Any]]:
    """Layout, copies and arrays of a store; the stamp tells it from another of its name."""
    import zarr

    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    record = group[GROUP]
    if record.attrs["stamp"] != stamp:
        raise FileNotFoundError(2, "the store was replaced while it was written", path)
    layout = Layout.from_json(record.attrs["layout"])  # type: ignore[arg-type]
    arrays = {name: group[name] for name in layout.axes}
    copies = overview.from_json(record.attrs.get("copies", []))  # type: ignore[arg-type]
    return layout, copies, {**arrays, "done": record["done"]}  # type: ignore[index]


_opened = functools.lru_cache(maxsize=8)(_open)  # once per process, not once per tile


def _weight(path: str, layout: Layout, arrays: Mapping[str, Any], at: Position) -> int:
    """Bytes of the chunks of a tile; a chunk of nothing but fill values has no file."""
    total = 0
    for name in layout.writes(at):
        chunks: Sequence[int] = arrays[name].chunks
        spans = [
            range(part.start // n, -(-part.stop // n))
            for part, n in zip(layout.region(name, at), chunks, strict=True)
        ]
        for key in itertools.product(*spans):
            with contextlib.suppress(FileNotFoundError):
                total += os.stat("/".join((path, name, "c", *map(str, key)))).st_size
    return total
