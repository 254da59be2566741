"""One dask task per tile, run on the scheduler that is set."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dask.threaded
import xarray as xr
from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef
from dask.array.optimization import optimize
from dask.base import get_scheduler
from dask.callbacks import Callback
from dask.highlevelgraph import HighLevelGraph

from xrxai.io.layout import Layout, Position
from xrxai.io.record import Record, commit


def write_tiles(
    record: Record,
    arrays: Mapping[str, xr.Variable],
    missing: Iterable[Position],
    tick: Callable[[], object],
) -> None:
    """Compute the missing tiles and write each; `tick` is called as each is done."""
    graph, keys = graph_of(record, arrays, missing)
    if not keys:
        return
    client = _client()
    if client is not None:
        _on_cluster(client, graph, keys, tick)
        return
    get = get_scheduler() or dask.threaded.get
    name = keys[0][0]

    def finished(key: Any, *_: object) -> None:
        if isinstance(key, tuple) and key[0] == name:
            tick()

    with Callback(posttask=finished):
        get(graph, keys)


def graph_of(
    record: Record, arrays: Mapping[str, xr.Variable], missing: Iterable[Position]
) -> tuple[dict[Any, Any], list[Any]]:
    """Optimised graph of the missing tiles, and the keys of their tasks."""
    layout: Layout = record.layout
    name, path = f"xrxai-write-{record.stamp}", str(record.path.absolute())
    names = {n: v.data.name for n, v in arrays.items()}
    layer: dict[Any, Any] = {}
    for at in missing:
        blocks = [TaskRef((names[n], *layout.block(n, at))) for n in layout.writes(at)]
        layer[(name, *at)] = Task((name, *at), commit, path, record.stamp, at, *blocks)
    keys = list(layer)
    below = HighLevelGraph.merge(*(v.data.dask for v in arrays.values()))
    over = {
        name: {n for v in arrays.values() for n in v.data.__dask_layers__()},
        **below.dependencies,
    }
    whole = HighLevelGraph({name: layer, **below.layers}, over)
    return _fused(dict(optimize(whole, keys)), keys), keys


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
    client: Any, graph: dict[Any, Any], keys: list[Any], tick: Callable[[], object]
) -> None:
    from distributed import as_completed

    left = {future.key: future for future in client.get(graph, keys, sync=False)}
    try:
        # A future that is let go is forgotten by the scheduler: only tiles that run are held, and
        # the death of a worker costs no tile that was written.
        for future in as_completed(left.values()):  # type: ignore[no-untyped-call]
            del left[future.key]
            future.result()
            future.release()
            tick()
    finally:
        client.cancel(list(left.values()))
