"""One dask task per tile, run on the scheduler that is set."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dask.threaded
import xarray as xr
from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef
from dask.array.optimization import optimize
from dask.base import get_scheduler
from dask.callbacks import Callback
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from xrxai.io.layout import Layout, Position
from xrxai.io.record import Record, commit

BATCH = 1024  # tiles whose graph is made at a time
_HELD = 256 * 2**20  # bytes of three rows of tiles, as long as a block of tiles is wide
_MUCH = 1000  # tasks that may be done again for every batch
_APART = "apart-"  # how the bridge names what reads the whole cube for itself


def write_tiles(
    record: Record,
    arrays: Mapping[str, xr.Variable],
    missing: Iterable[Position],
    tick: Callable[[], object],
) -> None:
    """Compute the missing tiles and write each; `tick` is called as each is done."""
    left = list(missing)
    if not left:
        return
    client = _client()
    get: Any = client.get if client is not None else get_scheduler() or dask.threaded.get
    below = HighLevelGraph.merge(*(v.data.dask for v in arrays.values()))
    batches = list(_batches(left, _wide(arrays)))
    if len(batches) > 1:
        below = _read_once(below, get)
        if _hang_together(record, arrays, below, [left[0], left[-1]]):
            batches = [left]
    graphs = (graph_of(record, arrays, batch, below) for batch in batches)
    if client is not None:
        _on_cluster(client, graphs, tick)
        return
    name = _name(record)

    def finished(key: Any, *_: object) -> None:
        if isinstance(key, tuple) and key[0] == name:
            tick()

    with Callback(posttask=finished):
        for graph, keys in graphs:
            get(graph, keys)


def _wide(arrays: Mapping[str, xr.Variable]) -> int:
    """Tiles along the side of a block of tiles that go together."""
    size: int = sum(
        math.prod(max(sizes) for sizes in v.data.chunks) * v.dtype.itemsize for v in arrays.values()
    )
    wide: int = min(math.isqrt(BATCH), max(4, _HELD // (3 * max(size, 1))))
    return wide


def _batches(missing: list[Position], wide: int) -> Iterator[list[Position]]:
    """Block by block: neighbours share the chunks that their halos are read from.

    In rows as long as the scene, a chunk would wait in memory for the row after the next.
    """

    def block(at: Position) -> tuple[Any, ...]:
        return (*at[:-2], *(i // wide for i in at[-2:]), *at[-2:])

    ordered = sorted(missing, key=block)
    for i in range(0, len(ordered), BATCH):
        yield ordered[i : i + BATCH]


def _read_once(below: HighLevelGraph, get: Callable[..., Any]) -> HighLevelGraph:
    """Compute what needs the whole cube (a mean spectrum) now, not again in every batch."""
    layers, over = dict(below.layers), dict(below.dependencies)
    for name in [n for n in layers if str(n).startswith(_APART)]:
        graph = dict(layers[name])
        keys = [key for key in graph if isinstance(key, tuple) and key[0] == name]
        values = get(graph, keys)
        layers[name] = MaterializedLayer(
            {key: DataNode(key, value) for key, value in zip(keys, values, strict=True)}
        )
        over[name] = set()
    return HighLevelGraph(layers, over)


def _hang_together(
    record: Record, arrays: Mapping[str, xr.Variable], below: HighLevelGraph, far: list[Position]
) -> bool:
    """Whether far tiles take much, and nearly the same: every batch would do all of it again."""
    layout: Layout = record.layout
    taken = []
    for at in far:
        keys = {(arrays[n].data.name, *layout.block(n, at)) for n in layout.writes(at)}
        taken.append(set(below.cull(keys).to_dict()))
    shared = set.intersection(*taken)
    return len(shared) > max(_MUCH, len(taken[0]) / 2)


def graph_of(
    record: Record,
    arrays: Mapping[str, xr.Variable],
    missing: Iterable[Position],
    below: HighLevelGraph | None = None,
) -> tuple[dict[Any, Any], list[Any]]:
    """Optimised graph of the missing tiles, and the keys of their tasks."""
    layout: Layout = record.layout
    name, path = _name(record), str(record.path.absolute())
    names = {n: v.data.name for n, v in arrays.items()}
    layer: dict[Any, Any] = {}
    for at in missing:
        blocks = [TaskRef((names[n], *layout.block(n, at))) for n in layout.writes(at)]
        layer[(name, *at)] = Task((name, *at), commit, path, record.stamp, at, *blocks)
    keys = list(layer)
    if below is None:
        below = HighLevelGraph.merge(*(v.data.dask for v in arrays.values()))
    over = {
        name: {n for v in arrays.values() for n in v.data.__dask_layers__()},
        **below.dependencies,
    }
    whole = HighLevelGraph({name: layer, **below.layers}, over)
    return _fused(dict(optimize(whole, keys)), keys), keys


def _name(record: Record) -> str:
    return f"xrxai-write-{record.stamp}"


def _fused(graph: dict[Any, Any], keys: list[Any]) -> dict[Any, Any]:
    """Make what only hands a tile its part of an answer a part of the task that writes the tile.

    A scheduler's time goes by tasks, and there is a part for every variable.
    """
    users = Counter(key for node in graph.values() for key in node.dependencies)
    for key in keys:
        own = []
        for part in graph[key].dependencies:
            while users[part] == 1 and not isinstance(graph[part], DataNode):
                own.append(part)
                if not isinstance(graph[part], Alias):
                    break
                (part,) = graph[part].dependencies  # another name of what is meant
        if own:
            graph[key] = GraphNode.fuse(*(graph.pop(part) for part in own), graph[key])
    return graph


def _client() -> Any:
    """The client whose scheduler is set, if it is one of distributed."""
    if "distributed" not in sys.modules:
        return None
    from distributed import Client

    owner = getattr(get_scheduler(), "__self__", None)
    return owner if isinstance(owner, Client) else None


def _on_cluster(
    client: Any, graphs: Iterator[tuple[dict[Any, Any], list[Any]]], tick: Callable[[], object]
) -> None:
    from distributed import as_completed

    left: dict[Any, Any] = {}
    flying: list[tuple[set[Any], set[Any]]] = []  # keys of a batch's graph, and of its tiles
    done: Any = as_completed()  # type: ignore[no-untyped-call]
    try:
        # A future that is let go is forgotten by the scheduler: only tiles that run are held, and
        # the death of a worker costs no tile that was written.
        for number in itertools.count():
            # Workers are at the second half of a batch while the graph of the next is made.
            while left and len(left) > BATCH // 2:
                _await(left, done, tick)
            following = next(graphs, None)
            if following is None:
                break
            graph, keys = following
            flying = [(all_of_it, tiles) for all_of_it, tiles in flying if tiles & left.keys()]
            known = {key for all_of_it, _ in flying for key in all_of_it & graph.keys()}
            graph = _renamed(graph, known, number)
            flying.append((set(graph), set(keys)))
            futures = client.get(graph, keys, sync=False)
            left.update((future.key, future) for future in futures)
            done.update(futures)
        while left:
            _await(left, done, tick)
    finally:
        client.cancel(list(left.values()))


def _await(left: dict[Any, Any], done: Any, tick: Callable[[], object]) -> None:
    future = next(done)
    del left[future.key]
    if future.status != "finished":  # to ask for the result is one more way to the worker
        future.result()
    future.release()
    tick()


def _renamed(graph: dict[Any, Any], known: set[Any], number: int) -> dict[Any, Any]:
    """Other names for what a batch that still runs has, too.

    It may be fused in another way there, and a scheduler must not see one key with two meanings.
    """
    if not known:
        return graph
    names = {
        key: (f"{key[0]}-{number}", *key[1:]) if isinstance(key, tuple) else f"{key}-{number}"
        for key in known
    }
    out = {}
    for key, node in graph.items():
        new = names.get(key, key)
        old = node.dependencies & known
        if old or new is not key:
            node = node.substitute({k: names[k] for k in old}, key=new)
        out[new] = node
    return out
