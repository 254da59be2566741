"""Training a segmentation net on tiles: reproducible, and resumed where it was killed."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from xrxai.errors import ModelError, OptionError, at_least, choice, positive
from xrxai.io.bar import counting
from xrxai.training import ready
from xrxai.training.checkpoint import Checkpoint
from xrxai.training.history import Fitted, Monitor, Row, best_of, history_of
from xrxai.training.losses import LossLike, loss_of
from xrxai.training.steps import Steps

Precision = Literal["bfloat16", "float16"]
Schedule = Literal["constant", "cosine"]


def fit(
    net: nn.Module,
    train: Any,
    validation: Any = None,
    *,
    loss: LossLike = "focal",
    class_weights: Literal["balanced"] | Mapping[str, float] | Sequence[float] | None = None,
    epochs: int = 30,
    batch_size: int = 8,
    lr: float = 1e-3,
    schedule: Schedule = "constant",
    weight_decay: float = 1e-4,
    patience: int = 10,
    monitor: Monitor = "mean_iou",
    seed: int = 0,
    amp: Precision | None = None,
    device: str = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = True,
    callback: Callable[[Fitted], object] | None = None,
    progress: bool = True,
) -> Fitted:
    """
    Train a net on tiles with AdamW, and keep the weights of the best epoch.

    Parameters
    ----------
    net : torch.nn.Module
        From (n, band, y, x) to logits (n, class, y, x), such as `unet` makes. It is copied, and
        stays as it is.
    train : Tiles
        What is learned from.
    validation : Tiles, optional
        What is not; without augmentation, and far enough from `train` (`split_blocks`).
    loss : {"focal", "dice", "cross_entropy", "focal+dice"}, Loss or callable, default: "focal"
        See `loss_of`; a callable takes logits and labels, -1 = not labelled.
    class_weights : "balanced", mapping, or sequence of float, optional
        See `loss_of`; ``"balanced"`` counts the pixels of `train`.
    epochs : int, default: 30
        How often each tile is seen, at most.
    batch_size : int, default: 8
        Tiles in a step, at most; the last batches share what is left.
    lr : float, default: 1e-3
        Learning rate.
    schedule : {"constant", "cosine"}, default: "constant"
        ``"cosine"`` lowers it from epoch to epoch along half a cosine, to nothing after the last
        of `epochs`: the last weights are then good ones, also without validation tiles to
        choose by.
    weight_decay : float, default: 1e-4
        Of AdamW.
    patience : int, default: 10
        Epochs without a better score on `validation` before training stops.
    monitor : {"mean_iou", "loss"}, default: "mean_iou"
        Which score of `validation` says what is better. Without validation tiles the last
        epoch is the best.
    seed : int, default: 0
        Of the order of tiles, their augmentation and dropout; not of the weights that `net` has.
    amp : {"bfloat16", "float16"}, optional
        Run the net in this precision; weights and loss stay in float32.
    device : str, default: "auto"
        ``"auto"`` is a GPU where there is one, else the CPU.
    checkpoint : path, optional
        A folder that keeps the state after each epoch.
    resume : bool, default: True
        Go on from the state in `checkpoint`, where there is one; False starts anew and
        replaces it.
    callback : callable, optional
        Called after each epoch with what there is so far, such as `Pictures`.
    progress : bool, default: True
        Show a bar on what takes longer than a second.

    Returns
    -------
    Fitted
        ``net``, ``history``, ``best_epoch``, and ``model`` for `predict`, `evaluate` and every
        method of xrxai.

    Raises
    ------
    ModelError
        The net does not take the tiles, gives probabilities, or its loss is no longer a number.
    LabelError
        Labels that are no class or do not lie on the image, and fewer than two classes.
    OptionError
        Options outside their values, augmented validation tiles, a checkpoint of another call.

    Notes
    -----
    Killed at any moment and called again with the same `checkpoint`, the weights are those of a
    run that was not killed, on the CPU to the last bit. Random numbers come from the seed, the
    epoch and the step, and the global generators stay as they are. `epochs` (of a constant rate)
    and `patience` may be others then: with as many `epochs` as there are, the best weights so
    far come back at once.

    Examples
    --------
    >>> from xrxai import training
    >>> fitted = training.fit(net, train, validation, checkpoint="run")  # doctest: +SKIP
    >>> xrxai.predict(cube, fitted.model)  # doctest: +SKIP
    """
    epochs, patience = at_least(epochs, 1, "epochs"), at_least(patience, 1, "patience")
    batch_size, seed = at_least(batch_size, 1, "batch_size"), at_least(seed, 0, "seed")
    lr = positive(lr, "lr", 1e-3)
    weight_decay = positive(weight_decay, "weight_decay", 1e-4, zero=True)
    choice(monitor, get_args(Monitor), "monitor")
    choice(schedule, get_args(Schedule), "schedule")
    if amp is not None:
        choice(amp, get_args(Precision), "amp")
    classes = ready.check_tiles(train, "train")
    if validation is not None:
        ready.check_validation(train, validation)
        ready.check_item(validation, "validation")
    place = _placed(device)
    image = ready.check_item(train, "train")
    own = ready.check_net(net, image.to(place), train)
    counts = ready.counts_of(train, classes)
    ready.check_two_classes(counts, classes)
    score = _loss(loss, class_weights, classes, counts)
    config = {
        "loss": _said(score),
        "batch_size": repr(batch_size),
        "lr": repr(lr),
        "schedule": schedule if schedule == "constant" else f"{schedule} over {epochs} epochs",
        "weight_decay": repr(weight_decay),
        "seed": repr(seed),
        "amp": repr(amp),
        "monitor": repr(monitor),
        "train": ready.identity(train, counts),
        "validation": "none" if validation is None else _held(validation),
        "net": _shape(net),
    }
    run = Steps(own, score, place, amp, seed, batch_size, lr, weight_decay)
    kept = Checkpoint(checkpoint, config)
    rows: list[Row] = []
    best: dict[str, Tensor] = {}
    if resume and (state := kept.read(place)) is not None:
        run.load(state)
        rows, best = state["rows"], state["best"]

    fill = getattr(train, "fill", 0.0)
    fill = 0.0 if isinstance(fill, str) else float(fill)

    def fitted(best_epoch: int) -> Fitted:
        history = history_of(rows, classes)
        return Fitted(run.net, history, best_epoch, classes, image.shape[0], fill)

    done, total = len(train) * len(rows), len(train) * epochs
    gpus = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(gpus), counting("fit", total, done, progress=progress) as tick:
        while len(rows) < epochs and not _stale(rows, patience, monitor):
            started, epoch = time.perf_counter(), len(rows) + 1
            try:
                rate = run.lr = lr if schedule == "constant" else _cosine(lr, epoch, epochs)
                row = {"lr": rate, **run.learn(train, epoch, tick)}
            except FloatingPointError as error:
                raise ModelError(_lost(str(error), epoch, rows, monitor, kept, lr)) from None
            row |= {} if validation is None else run.look(validation, len(classes))
            rows.append(row | {"seconds": time.perf_counter() - started})
            if best_of(rows, monitor) == epoch:
                best = {name: v.detach().clone() for name, v in run.net.state_dict().items()}
            kept.write({"rows": rows, "best": best, **run.state()})
            if callback is not None:
                callback(fitted(best_of(rows, monitor)))
    run.net.load_state_dict(best)
    run.net.eval()
    return fitted(best_of(rows, monitor))


def _cosine(lr: float, epoch: int, epochs: int) -> float:
    """Half a cosine from the first epoch, 1, to nothing behind the last."""
    return lr * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def _stale(rows: list[Row], patience: int, monitor: Monitor) -> bool:
    """Whether nothing has become better for so long; never without validation."""
    return bool(rows) and len(rows) - best_of(rows, monitor) >= patience


def _held(tiles: Any) -> str:
    return ready.identity(tiles, ready.counts_of(tiles, tiles.classes))


def _loss(loss: Any, class_weights: Any, classes: Any, counts: np.ndarray) -> Any:
    if not callable(loss):
        return loss_of(loss, class_weights=class_weights, classes=classes, counts=counts)
    if class_weights is not None:
        raise OptionError(
            "class_weights= weighs the losses that fit makes, and loss= is your own; give it the "
            "weights: training.loss_of(..., class_weights=..., classes=classes)."
        )
    return loss


def _said(score: Any) -> str:
    """A loss in words that are the same in another process."""
    said = getattr(score, "__name__", repr(score))
    return type(score).__name__ if " at 0x" in said else said


def _placed(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if _gpu() else torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"device={device!r} is not to be had here; type device='auto' or 'cpu'. "
            f"It says: {str(error).splitlines()[0]}"
        ) from error


def _gpu() -> bool:
    return torch.cuda.is_available()


def _shape(net: nn.Module) -> str:
    """The architecture in a word: names and shapes of what is learned or counted."""
    said = [(name, tuple(v.shape)) for name, v in net.state_dict().items()]
    free = [p.requires_grad for p in net.parameters()]
    digest = hashlib.blake2b(repr((said, free)).encode(), digest_size=8).hexdigest()
    return f"{type(net).__name__} ({digest})"


def _lost(
    what: str, epoch: int, rows: list[Row], monitor: Monitor, kept: Checkpoint, lr: float
) -> str:
    """What to do about a loss that is no longer a number."""
    if "the image holds" in what:
        cure = "mask them: NaN in the cube, or xrxai.to_cube(cube, nodata=...)"
    else:
        cure = f"type a smaller lr= than {lr:g}, or check the units of the cube"
    if not rows:
        saved = "Nothing was learned before"
    elif kept.path is None:
        saved = "What was learned before is lost; type checkpoint='FOLDER' to keep it next time"
    else:
        saved = (
            f"The weights of epoch {best_of(rows, monitor)}, the best so far, are in {kept.path}; "
            f"the same call with epochs={len(rows)} gives them"
        )
    return f"Training stopped in epoch {epoch}: {what}. To go on, {cure}. {saved}."
