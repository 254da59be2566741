"""Lazy explanations are written tile by tile, and survive what can happen on the way."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from benchmarks import resume
from tests import worlds
from tests.conftest import no_compute, raises_exactly
from xrxai.errors import DataError, ResultError
from xrxai.io import open_explanation, to_zarr

SIDE = 4


def by_hand(
    y: tuple[int, ...] = (4, 4, 7), x: tuple[int, ...] = (5, 5, 2), *, log: list[Any] | None = None
) -> xr.Dataset:
    """An explanation by chips: one number per tile beside maps, all from one block."""
    chunks = ((3,), y, x)
    values = np.random.default_rng(0).normal(size=(3, sum(y), sum(x))).astype(np.float32)
    source = da.from_array(values, chunks, name="values")

    def answer(block: np.ndarray) -> dict[str, np.ndarray]:
        if log is not None:
            log.append(block.shape)
        mean = block.mean((1, 2))[:, None, None]
        return {"map": block, "tile": mean, "count": np.array([[block[0].size]])}

    meta = np.empty((0, 0), dtype=object)
    answers = da.blockwise(
        answer, "yx", source, "byx", concatenate=True, dtype=object, meta=meta, name="answers"
    )

    def pick(key: str, dims: str, dtype: Any, one: str, name: str) -> da.Array:
        new = {"b": 3} if "b" in dims else {}
        return da.blockwise(
            lambda a, key: a[key], dims, answers, "yx", key=key, new_axes=new, dtype=dtype,
            adjust_chunks=dict.fromkeys(one, 1), meta=np.empty((0,) * len(dims), dtype), name=name,
        )  # fmt: skip

    return xr.Dataset(
        {
            "attribution": (("band", "y", "x"), pick("map", "byx", "f4", "", "map")),
            "prediction": (("target", "tile_y", "tile_x"), pick("tile", "byx", "f4", "yx", "tile")),
            "model_evaluations": (
                ("tile_y", "tile_x"), pick("count", "yx", "int64", "yx", "count")
            ),
            "valid": (("y", "x"), source[0] > 0),
            "spectrum": ("band", source.mean((1, 2))),
            "rank": (("y", "x"), np.arange(sum(y) * sum(x)).reshape(sum(y), sum(x))),
        },
        coords={
            "target": np.array(["K", "P", "Mg"], dtype=object),
            "y": np.arange(float(sum(y))),
            "elevation": (("y", "x"), da.from_array(values[0], chunks[1:], name="elevation")),
        },
        attrs={"method": "occlusion", "options": '{"window": 3}', "run": "r1", "y_dim": "y"},
    )  # fmt: skip


def spectra(**chunks: int) -> xr.Dataset:
    return worlds.cube(y=9, x=11, dtype="float32").chunk(chunks).xai.saliency(
        worlds.model("spectrum")
    )  # fmt: skip


def job(folder: Path, name: str = "why", seconds: float = 0.01) -> tuple[Any, ...]:
    return folder / f"{name}.log", folder / f"{name}.zarr", SIDE, seconds


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The store of a run that nobody disturbed."""
    resume.write(*job(tmp_path, "whole", 0))
    return tmp_path / "whole.zarr"


# ------------------------------------------------------------------------------ round trip


CASES = {
    "spectra": lambda: spectra(y=4, x=5),
    "one tile": lambda: spectra(y=-1),
    "rows": lambda: spectra(y=2),
    "time": lambda: worlds.explain(
        "lime_spectral",
        worlds.cube(lead={"time": 2}, y=9, x=11).chunk(time=1, y=4, x=5),
        worlds.model("spectrum"),
    ),
    "samples": lambda: worlds.explain(
        "saliency", worlds.cube(lead={"sample": 5}).chunk(sample=2), worlds.model("patch")
    ),
    "larger last tile": by_hand,
    "smaller last tile": lambda: by_hand((4, 4, 1), (5, 5)),
    "uneven tiles": lambda: spectra(y=4).chunk(y=(1, 5, 3), x=(4, 4, 3)),
    "bands apart": lambda: spectra(y=4, x=5).chunk(band=3),
    "chips alone": lambda: by_hand().drop_vars("attribution").rename(prediction="attribution"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_comes_back_is_what_was_written(tmp_path: Path, case: str) -> None:
    why = CASES[case]()
    path = why.xai.to_zarr(tmp_path / "new" / "why.zarr")
    assert [p.name for p in path.parent.iterdir()] == ["why.zarr"]
    before = why.compute()
    xr.testing.assert_identical(open_explanation(path).compute(), before)
    xr.testing.assert_identical(open_explanation(path, chunks={}).compute(), before)
    with xr.open_zarr(path) as plain:
        assert plain.attrs["complete"] == 1
        xr.testing.assert_identical(plain.attribution.variable, before.attribution.variable)


def test_a_tile_is_computed_once_and_is_one_chunk_of_the_store(tmp_path: Path) -> None:
    log: list[Any] = []
    path = by_hand(log=log).xai.to_zarr(tmp_path / "why.zarr")
    assert len(log) == 9
    found = open_explanation(path, chunks={})
    assert found.attribution.chunks == ((3,), (4, 4, 4, 3), (5, 5, 2))
    assert found.prediction.chunks == ((3,), (1, 1, 1), (1, 1, 1))


def test_a_tile_costs_the_scheduler_no_task_per_variable(tmp_path: Path) -> None:
    from xrxai.io import record, tasks
    from xrxai.io.layout import lay_out

    layout, cut = lay_out(by_hand())
    about = record.Record(tmp_path, "stamp", {}, layout, False)
    graph, keys = tasks.graph_of(about, cut, layout.positions())
    assert len(keys) == 9
    assert len(cut) == 5
    assert len(graph) == 4 * 9  # two arrays in memory, what is made of one of them, the write
    few, _ = tasks.graph_of(about, cut, [(1, 1)])
    assert len(few) == 4


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_graphs_are_made_for_some_tiles_at_a_time(
    tmp_path: Path, monkeypatch: Any, scheduler: str
) -> None:
    from xrxai.io import tasks

    monkeypatch.setattr(tasks, "BATCH", 4)
    own, sizes = tasks.graph_of, []

    def counted(record: Any, arrays: Any, missing: Any, below: Any = None) -> Any:
        sizes.append(len(missing))
        return own(record, arrays, missing, below)

    monkeypatch.setattr(tasks, "graph_of", counted)
    log: list[Any] = []
    why = by_hand(log=log)
    with dask.config.set(scheduler=scheduler):
        path = why.xai.to_zarr(tmp_path / "why.zarr")
    assert sizes[-3:] == [4, 4, 1]
    assert len(log) == 9
    xr.testing.assert_identical(open_explanation(path).compute(), why.compute())


def reading(log: list[Any], chunks: tuple[int, int] = (4, 4)) -> xr.DataArray:
    """A scene whose blocks are counted as they are read."""
    values = worlds.cube(y=16, x=12, dtype="float32")

    def read(block: np.ndarray) -> np.ndarray:
        log.append(block.shape)
        return block

    lazy = values.chunk(y=chunks[0], x=chunks[1])
    return lazy.copy(data=lazy.data.map_blocks(read, dtype="f4", meta=np.empty((0, 0, 0), "f4")))


@pytest.mark.slow
def test_a_mean_over_the_scene_is_read_once_whatever_the_batches(
    tmp_path: Path, monkeypatch: Any
) -> None:
    from xrxai.io import tasks

    monkeypatch.setattr(tasks, "BATCH", 3)
    log: list[Any] = []
    cube, model = reading(log), worlds.model("map")
    options = {"baseline": "mean", "n_steps": 2, "progress": False}
    with dask.config.set(scheduler="synchronous"):
        path = cube.xai.integrated_gradients(model, **options).xai.to_zarr(tmp_path / "why.zarr")
        in_batches, n = len(log), cube.data.npartitions
        monkeypatch.setattr(tasks, "BATCH", 4096)
        log.clear()
        other = cube.xai.integrated_gradients(model, **options).xai.to_zarr(tmp_path / "b.zarr")
    assert len(log) == 3 * n  # for the mean, the tiles, and the spectrum of the scene
    # Neighbours at the edges of batches are read again, and nothing else.
    assert 3 * n < in_batches < 5 * n
    assert resume.files(path) == resume.files(other)


@pytest.mark.slow
def test_what_all_tiles_wait_for_is_not_done_again_for_every_batch(
    tmp_path: Path, monkeypatch: Any
) -> None:
    from xrxai.io import tasks

    monkeypatch.setattr(tasks, "BATCH", 3)
    monkeypatch.setattr(tasks, "_MUCH", 10)
    log: list[Any] = []
    cube = reading(log)
    centred = cube - cube.mean(("y", "x"))
    with dask.config.set(scheduler="synchronous"):
        why = centred.xai.saliency(worlds.model("map"), progress=False).drop_vars("spectrum")
        why.xai.to_zarr(tmp_path / "why.zarr")
    assert len(log) == 12


def test_the_explanation_stays_lazy(tmp_path: Path) -> None:
    why = spectra(y=4, x=5)
    lazy = {name for name, v in why.variables.items() if v.chunks is not None}
    why.xai.to_zarr(tmp_path / "why.zarr")
    assert {name for name, v in why.variables.items() if v.chunks is not None} == lazy


def test_large_tiles_are_split_along_targets(tmp_path: Path) -> None:
    values = da.zeros((2, 70, 512, 256), chunks=(2, 70, 256, 256), dtype="f4")
    ds = xr.Dataset({"attribution": (("target", "band", "y", "x"), values)}, attrs={"run": "r"})
    path = to_zarr(ds, tmp_path / "why.zarr", progress=False)
    assert open_explanation(path, chunks={}).attribution.chunksizes["target"] == (1, 1)


def test_a_complete_store_of_the_run_is_returned_as_it_is(tmp_path: Path) -> None:
    path = by_hand().xai.to_zarr(tmp_path / "why.zarr")
    before = resume.files(path)
    with no_compute():
        assert by_hand().xai.to_zarr(path) == path
    assert resume.files(path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda ds: ds.assign_attrs(method="rise"), "method is 'occlusion', and here it is 'rise'"),
        (
            lambda ds: ds.assign_attrs(options='{"window": 5}'),
            "options have window=3, and here it is 5",
        ),
        (lambda ds: ds.assign_attrs(model_hash="b"), "model hash is '', and here it is 'b'"),
        (
            lambda ds: ds.assign_attrs(run="r2"),
            "data is not the same (a file that was moved or touched counts as another)",
        ),
        (lambda ds: ds.assign_coords(y=ds.y + 1), "coordinates are not the same"),
        (lambda ds: ds.assign(attribution=-ds.attribution), "steps are not the same"),
        (
            lambda ds: by_hand((5, 5, 5)),
            "grid is (3, 15, 12) for 'attribution' in 3 tiles along y x 3 tiles along x, and here "
            "it is (3, 15, 12) for 'attribution' in 3 tiles along y x 3 tiles along x",
        ),
    ],
)
def test_another_run_is_refused_and_told_apart(tmp_path: Path, change: Any, differs: str) -> None:
    path = by_hand().xai.to_zarr(tmp_path / "why.zarr")
    before = resume.files(path)
    other = change(by_hand())
    with no_compute(), raises_exactly(
        ResultError,
        f"{str(path)!r} exists and holds another run: its {differs}; type overwrite=True to "
        "replace it, or another path.",
    ):  # fmt: skip
        other.xai.to_zarr(path)
    assert resume.files(path) == before
    other.xai.to_zarr(path, overwrite=True)
    xr.testing.assert_identical(open_explanation(path).compute(), other.compute())
    assert [p.name for p in tmp_path.iterdir()] == ["why.zarr"]


def test_what_was_not_written_by_tiles_is_refused(tmp_path: Path) -> None:
    path = by_hand().compute().xai.to_zarr(tmp_path / "why.zarr")
    with raises_exactly(
        ResultError, f"{str(path)!r} exists; type overwrite=True to replace it, or another path."
    ):
        by_hand().xai.to_zarr(path)
    by_hand().xai.to_zarr(path, overwrite=True)


def test_the_bar_counts_tiles(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    import tqdm.auto

    made = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    with pytest.raises(RuntimeError):
        failing(by_hand(), after=4).xai.to_zarr(tmp_path / "why.zarr")
    by_hand_again = failing(by_hand(), after=99)
    by_hand_again.xai.to_zarr(tmp_path / "why.zarr")
    assert [(bar.initial, bar.n, bar.total) for bar in made] == [(0, 4, 9), (4, 9, 9)]
    assert not capsys.readouterr().err  # shorter than a second
    by_hand().xai.to_zarr(tmp_path / "b.zarr", progress=False)
    assert len(made) == 2


# -------------------------------------------------------------------------- kills, failures


def failing(ds: xr.Dataset, after: int) -> xr.Dataset:
    """The same, one tile at a time, with an error at the tile after so many."""
    seen: list[int] = []

    def fail(block: np.ndarray) -> np.ndarray:
        if len(seen) >= after:
            raise RuntimeError("the model failed")
        seen.append(1)
        return block

    meta = np.empty((0,) * ds.attribution.ndim, ds.attribution.dtype)
    data = ds.attribution.data.map_blocks(fail, dtype=meta.dtype, meta=meta)
    return ds.assign(attribution=ds.attribution.copy(data=data))


@pytest.fixture(autouse=True)
def _scheduler() -> Any:
    with dask.config.set(scheduler="synchronous"):  # failures come when they are meant to
        yield


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path) -> None:
    row = resume.kill_and_resume(tmp_path, 4, SIDE, 0.02, seed=1)
    assert row["kills"] >= 2  # the others came after the end
    assert row["same bits"]
    assert not row["left behind"]
    assert row["calls"] == SIDE**2
    assert row["calls with kills"] <= row["calls"] + resume.THREADS * row["kills"]
    assert row["calls of the last run"] < row["calls"]
    assert not list((tmp_path / "again.zarr").rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 0.02, 0.05])
def test_killed_while_the_store_is_made(tmp_path: Path, whole: Path, delay: float) -> None:
    log, store, *_ = args = job(tmp_path)

    def begun() -> bool:
        return any(p.name == ".why.zarr.part" for p in tmp_path.iterdir())

    assert resume.killed(args, begun, delay)
    if store.exists():
        with pytest.raises(ResultError, match="is not finished: "):
            open_explanation(store)
    resume.write(*args)
    assert resume.files(store) == resume.files(whole)
    assert resume.calls(log) <= SIDE**2 + resume.THREADS
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_an_unfinished_store_is_refused_or_opened_in_part(tmp_path: Path) -> None:
    path = tmp_path / "why.zarr"
    with pytest.raises(RuntimeError, match=r"^the model failed$"):
        failing(by_hand(), after=2).xai.to_zarr(path)
    with raises_exactly(
        ResultError,
        f"{str(path)!r} is not finished: 2 of 9 tiles are done; call to_zarr as it was called for "
        "this store, and it goes on from there, or type partial=True to see what is there.",
    ):
        open_explanation(path)
    part = open_explanation(path, partial=True)
    assert part.attrs["tiles"] == "2 of 9"
    there = part.attribution.notnull().compute()
    assert there.any("band").sum() == sum(part.model_evaluations.values.ravel())
    expected = by_hand().attribution.compute().where(there)
    np.testing.assert_array_equal(part.attribution, expected)


def test_replaced_only_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = by_hand().xai.to_zarr(tmp_path / "why.zarr")
    before = resume.files(path)
    new = by_hand().assign_attrs(run="r2")
    with pytest.raises(RuntimeError, match=r"^the model failed$"):
        failing(new, after=5).xai.to_zarr(path, overwrite=True)
    assert resume.files(path) == before
    open_explanation(path).close()
    seen: list[Any] = []
    counted = failing(new, after=4)  # 5 are done
    seen.append(counted.xai.to_zarr(path, overwrite=True))
    assert open_explanation(path).attrs["run"] == "r2"
    assert [p.name for p in tmp_path.iterdir()] == ["why.zarr"]


def test_a_kill_between_the_old_stores_leaving_and_the_new_ones_coming(tmp_path: Path) -> None:
    path = by_hand().xai.to_zarr(tmp_path / "why.zarr")
    (tmp_path / ".why.old.zarr").mkdir()
    path.rename(tmp_path / ".why.new.zarr")
    with no_compute():
        by_hand().xai.to_zarr(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["why.zarr"]
    xr.testing.assert_identical(open_explanation(path).compute(), by_hand().compute())


def test_an_unfinished_replacement_of_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    path = by_hand().xai.to_zarr(tmp_path / "why.zarr")
    with pytest.raises(RuntimeError):
        failing(by_hand().assign_attrs(run="r2"), after=5).xai.to_zarr(path, overwrite=True)
    third = by_hand().assign_attrs(run="r3")
    third.xai.to_zarr(path, overwrite=True)
    xr.testing.assert_identical(open_explanation(path).compute(), third.compute())
    assert [p.name for p in tmp_path.iterdir()] == ["why.zarr"]


# ----------------------------------------------------------------------------------- faults


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


@pytest.mark.parametrize("harm", [cut_short, Path.unlink])
def test_a_damaged_chunk_is_found_and_made_anew(tmp_path: Path, harm: Any) -> None:
    path = by_hand().xai.to_zarr(tmp_path / "why.zarr")
    before = resume.files(path)
    harm(path / "attribution/c/0/1/2")
    with raises_exactly(
        ResultError,
        f"1 of 9 tiles of {str(path)!r} are damaged, the first at (1, 2): their files are not as "
        "long as they were written; call to_zarr as it was called for this store, and these tiles "
        "alone are computed again.",
    ):
        open_explanation(path)
    log: list[Any] = []
    with pytest.warns(UserWarning, match=r"^1 finished tiles of .* are damaged \("):
        by_hand(log=log).xai.to_zarr(path)
    assert len(log) == 1
    assert resume.files(path) == before
    open_explanation(path).close()


def test_a_damaged_tile_of_an_unfinished_store_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "why.zarr"
    with pytest.raises(RuntimeError):
        failing(by_hand(), after=5).xai.to_zarr(path)
    cut_short(next((path / "attribution/c").rglob("[0-9]/[0-9]/[0-9]")))
    with pytest.warns(UserWarning, match=r"^1 finished tiles of .* are damaged \("):
        failing(by_hand(), after=5).xai.to_zarr(path)  # 4 were missing, and the damaged one
    xr.testing.assert_identical(open_explanation(path).compute(), by_hand().compute())


@pytest.mark.parametrize("lazy", [True, False])
def test_a_changed_chunk_is_refused_when_it_is_read(tmp_path: Path, lazy: bool) -> None:
    why = by_hand() if lazy else by_hand().compute()
    path = why.xai.to_zarr(tmp_path / "why.zarr")
    file = path / "attribution/c/0/0/0"
    raw = bytearray(file.read_bytes())
    raw[-10] ^= 1
    file.write_bytes(bytes(raw))
    with pytest.raises(RuntimeError, match=r"(?i)zstd"):
        open_explanation(path).attribution.load()


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "zarr.json",
        "attribution/zarr.json",
        "xrxai_tiles/zarr.json",
        "xrxai_tiles/done/zarr.json",
    ],
)
@pytest.mark.parametrize("harm", [lambda p: p.write_text("{"), Path.unlink])
def test_a_store_without_its_heads(tmp_path: Path, file: str, harm: Any) -> None:
    path = by_hand().xai.to_zarr(tmp_path / "why.zarr")
    harm(path / file)
    kept = file == "xrxai_tiles/zarr.json" and not (path / file).exists()  # a store as any other
    if not kept:
        with pytest.raises(ResultError, match=r"is damaged \(.*overwrite=True"):
            open_explanation(path)
    with pytest.raises(ResultError, match=r"exists.*; type overwrite=True to replace it"):
        by_hand().xai.to_zarr(path)
    by_hand().xai.to_zarr(path, overwrite=True)
    xr.testing.assert_identical(open_explanation(path).compute(), by_hand().compute())


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Any:
    """A small disk of its own, where this machine lets us; else False."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_full_disk(tmp_path: Path, monkeypatch: Any) -> None:
    from zarr.storage import _local

    folder = tmp_path / "disk"
    folder.mkdir()
    why, left = by_hand(), [25]
    put = _local._put

    def no_room(*args: Any, **options: Any) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(*args, **options)

    with mounted(folder, "2m") as real:
        ballast = folder / "ballast"
        if real:
            why = resume.explanation(tmp_path / "log", 8, 0)
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
                file.write(b"0" * (2**21 - 80 * 4096))
        else:  # the same error from below zarr
            monkeypatch.setattr(_local, "_put", no_room)
            left[0] = 70
        path = folder / "why.zarr"
        with pytest.raises(
            DataError,
            match=r"^'.*why\.zarr' cannot be written \(No space left on device\); \d+ of \d+ tiles "
            r"are done and stay. Make room, .*, and type the same call again\.$",
        ):
            why.xai.to_zarr(path, progress=False)
        with pytest.raises(ResultError, match="is not finished"):
            open_explanation(path)
        ballast.unlink(missing_ok=True)
        left[0] = 10**9
        done = {p: p.stat().st_mtime_ns for p in (path / "xrxai_tiles/done/c").rglob("*/*")}
        assert done
        why.xai.to_zarr(path, progress=False)
        assert all(p.stat().st_mtime_ns == t for p, t in done.items())
        xr.testing.assert_identical(open_explanation(path).compute(), why.compute())
        left[0] = 0
        if real:
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
                while file.write(b"0" * 4096):
                    pass
        for again in (why, why.compute()):
            with pytest.raises(DataError, match=r"cannot be written .*; nothing was written\."):
                again.xai.to_zarr(folder / "new.zarr", progress=False)
            assert not (folder / "new.zarr").exists()


@pytest.mark.parametrize("lazy", [True, False])
def test_read_only(tmp_path: Path, lazy: bool) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    why = by_hand() if lazy else by_hand().compute()
    with mounted(folder, "2m") as real:
        if real:
            by_hand().xai.to_zarr(folder / "old.zarr")
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            xr.testing.assert_identical(
                open_explanation(folder / "old.zarr").compute(), by_hand().compute()
            )
        elif os.geteuid():
            folder.chmod(0o555)
        else:
            folder = Path("/proc")
        with pytest.raises(DataError, match=r"^'.*why\.zarr' cannot be written \(.*; nothing was"):
            why.xai.to_zarr(folder / "why.zarr")


@pytest.mark.slow
def test_two_writers(tmp_path: Path) -> None:
    args = job(tmp_path, seconds=0.1)
    process = resume.processes().Process(target=resume.write, args=args)
    process.start()
    while not resume.calls(args[0]):
        time.sleep(0.01)
    with pytest.raises(
        ResultError,
        match=rf"^'.*' is being written by another process \(process {process.pid} on .*\); wait",
    ):
        resume.write(*args)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    resume.write(*args)  # the lock of the dead holds nobody up


# ------------------------------------------------------------------------------- schedulers


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["synchronous", "processes"])
def test_schedulers_write_the_same_bits(tmp_path: Path, whole: Path, scheduler: str) -> None:
    why = resume.explanation(tmp_path / "log", SIDE, 0)
    with dask.config.set(scheduler=scheduler):
        path = why.xai.to_zarr(tmp_path / "why.zarr")
    assert resume.files(path) == resume.files(whole)


@pytest.mark.slow
def test_a_worker_is_killed(tmp_path: Path, whole: Path) -> None:
    from distributed import Client, LocalCluster

    log = tmp_path / "log"
    why = resume.explanation(log, SIDE, 0.05)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client, dask.config.set(
        scheduler="distributed"
    ):  # fmt: skip
        pid = min(client.run(os.getpid).values())

        def kill() -> None:
            while resume.calls(log) < 4:
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        path = why.xai.to_zarr(tmp_path / "why.zarr")
        killer.join()
        assert pid not in client.run(os.getpid).values()
        with pytest.raises(RuntimeError, match=r"^the model failed$"):
            failing(by_hand(), after=0).xai.to_zarr(tmp_path / "b.zarr")
        assert {future.status for future in client.futures.values()} <= {"error", "cancelled"}
    assert resume.files(path) == resume.files(whole)
    assert resume.calls(log) <= SIDE**2 + 2


@pytest.mark.slow
def test_batches_on_a_cluster(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    from distributed import Client, LocalCluster

    from xrxai.io import tasks

    # Chunks of the file lie across tiles and batches, so that batches fuse them in other ways.
    cube = reading([], chunks=(5, 7)).chunk(y=4, x=4)
    why = cube.xai.saliency(worlds.model("map"), progress=False)
    alone = why.xai.to_zarr(tmp_path / "alone.zarr", progress=False)
    monkeypatch.setattr(tasks, "BATCH", 2)
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with (
        LocalCluster(processes=False, **options) as cluster,
        Client(cluster) as client,
        dask.config.set(scheduler="distributed"),
    ):
        path = why.xai.to_zarr(tmp_path / "why.zarr", progress=False)
        assert not client.futures
    assert resume.files(path) == resume.files(alone)
    assert "run_spec" not in caplog.text
