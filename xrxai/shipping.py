"""Models to workers of dask.distributed that share no folder with the client."""

from __future__ import annotations

from functools import partial
from typing import Any

from xrxai import pieces
from xrxai.errors import ModelError
from xrxai.model import Model
from xrxai.travel import reference, write


def ship(model: Any, client: Any = None) -> None:
    """
    Send the files of a model to the workers of a dask cluster that share no folder with it.

    Workers that read the client's folder of models need none of this; a shared file system serves
    all of them when XRXAI_MODEL_DIR names a folder on it, for the client and for the workers.
    Otherwise call this once before computing: every worker, also one that joins later, gets the
    weights once and keeps them in its own folder. The scheduler holds a copy for those.

    Parameters
    ----------
    model : Model or estimator
        The model that is going to be explained.
    client : distributed.Client, optional
        Default: the current one.

    Raises
    ------
    ModelError
        The model cannot be pickled, or is larger than one message to a worker may be.

    Examples
    --------
    >>> xrxai.ship(model)  # doctest: +SKIP
    >>> da.xai.saliency(model).compute()  # doctest: +SKIP
    """
    from distributed import WorkerPlugin, default_client

    parcel = reference(Model.ensure(model)).parcel()
    contents = {name: pieces.find(name).read_bytes() for name in parcel.files}
    size = sum(map(len, contents.values()))
    if size > 4e9:
        raise ModelError(
            f"The model {parcel.label} has {size / 1e9:.1f} GB, more than one message can carry; "
            f"name a folder that all workers see: {pieces.VARIABLE}=FOLDER."
        )

    class Shipment(WorkerPlugin):
        name = f"xrxai-{parcel.key}"

        def __init__(self, contents: dict[str, bytes]) -> None:
            self.contents = contents

        def setup(self, worker: Any) -> None:
            for name, data in self.contents.items():
                pieces.put(name, partial(write, data=data))
            self.contents = {}  # the worker keeps its plugins

    if contents:
        client = client or default_client()  # type: ignore[no-untyped-call]
        client.register_plugin(Shipment(contents))
