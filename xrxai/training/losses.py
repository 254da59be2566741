"""What a net is told to make small: on logits, over the pixels that somebody has labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from xrxai.errors import LabelError, ModelError, OptionError, choice, positive
from xrxai.training.classes import UNLABELLED

LossName = Literal["focal", "dice", "cross_entropy", "focal+dice"]

# Softmax in float32 sums to one within 1e-6; of half precision within 4e-3.
_SUMS_TO_ONE = 5e-3


@dataclass(frozen=True)
class Loss:
    """
    A loss of logits (n, class, y, x) against labels (n, y, x); `loss_of` makes it.

    Parameters
    ----------
    name : str
        Which loss.
    gamma : float
        Exponent of the focal loss.
    weights : tuple of float, optional
        One for each class.
    ignore : int
        The label of pixels that do not count.
    """

    name: str
    gamma: float = 2.0
    weights: tuple[float, ...] | None = None
    ignore: int = UNLABELLED

    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        """Logits (n, class, y, x), label (n, y, x) -> a number that can be differentiated."""
        known = label != self.ignore
        check_labels_of_batch(logits, label, known)
        check_logits(logits)
        logits = logits.float()
        weights = None if self.weights is None else logits.new_tensor(self.weights)
        parts = {"focal": self.gamma, "cross_entropy": 0.0}
        made = logits.new_zeros(())
        for part in self.name.split("+"):
            if part == "dice":
                made = made + _dice(logits, label, known, weights)
            else:
                made = made + _focal(logits, label, known, weights, parts[part])
        return made


def loss_of(
    name: LossName = "focal",
    *,
    gamma: float = 2.0,
    class_weights: Literal["balanced"] | Mapping[str, float] | Sequence[float] | None = None,
    classes: Any = None,
    counts: Any = None,
    ignore: int = UNLABELLED,
) -> Loss:
    """
    Make a loss for `fit`, or for a loop of your own.

    Parameters
    ----------
    name : {"focal", "dice", "cross_entropy", "focal+dice"}, default: "focal"
        ``"focal"`` is the mean of -α_t (1 - p_t)^γ log p_t over the labelled pixels, with p_t the
        probability of the true class and α_t its weight [1]_; ``"cross_entropy"`` is the same
        with γ = 0. ``"dice"`` is one minus the soft Dice coefficient, its mean over the classes
        that are in the batch. ``"focal+dice"`` is their sum.
    gamma : float, default: 2.0
        The larger, the less count pixels that are right already.
    class_weights : "balanced", mapping, or sequence of float, optional
        ``"balanced"`` gives each class the same say: pixels of all / (classes * pixels of the
        class), from `counts`. Or weights by class name, 1 for those not named, or one for each
        class in order. Default: 1 for all.
    classes : Classes or sequence of str, optional
        Names of the classes, for weights by name and for messages.
    counts : sequence of int, optional
        Labelled pixels of each class in the training data, for ``"balanced"``.
    ignore : int, default: -1
        The label of pixels that do not count.

    Returns
    -------
    Loss
        A callable of logits (n, class, y, x) and labels (n, y, x). It refuses probabilities,
        labels that are no class, and a batch without a labelled pixel.

    Raises
    ------
    OptionError
        An unknown loss, or weights that do not fit the classes.

    Notes
    -----
    Weights multiply the loss of a pixel, and the sum is divided by the number of labelled pixels,
    as α in [1]_. ``torch.nn.CrossEntropyLoss`` divides by the sum of weights instead, by which a
    batch of one class looks the same whatever its weight.

    References
    ----------
    .. [1] T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollár (2017). Focal Loss for Dense Object
       Detection. ICCV. https://arxiv.org/abs/1708.02002

    Examples
    --------
    >>> import torch
    >>> from xrxai.training import loss_of
    >>> logits = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
    >>> label = torch.zeros((1, 1, 1), dtype=torch.long)
    >>> round(float(loss_of("cross_entropy")(logits, label)), 4)
    0.1269
    >>> round(float(loss_of("focal")(logits, label)), 4)
    0.0018
    """
    choice(name, get_args(LossName), "loss")
    gamma = positive(gamma, "gamma", 2.0, zero=True)
    names = None if classes is None else tuple(getattr(classes, "names", classes))
    return Loss(name, gamma, _weights(class_weights, names, counts), ignore)


def check_logits(logits: Tensor) -> None:
    """Refuse probabilities: a second softmax on them leaves hardly a gradient."""
    values = logits.detach().float()
    if values.shape[1] < 2 or float(values.amin()) < 0:
        return
    if float((values.sum(1) - 1).abs().amax()) < _SUMS_TO_ONE:
        raise ModelError(
            "The net gives probabilities: its answers are not below 0 and sum to 1 over the "
            "classes. The loss takes logits and applies softmax itself, and twice flattens the "
            "gradient; remove the softmax at the end of the net (in "
            "segmentation_models_pytorch: activation=None)."
        )


def check_labels_of_batch(logits: Tensor, label: Tensor, known: Tensor) -> None:
    """Refuse labels that do not fit the answers of the net."""
    if logits.ndim != 4 or label.shape != (logits.shape[0], *logits.shape[2:]):
        raise LabelError(
            f"The answers have shape {tuple(logits.shape)} and the labels "
            f"{tuple(label.shape)}; labels are (n, y, x) for answers (n, class, y, x): one class "
            f"number per pixel, not one-hot."
        )
    if label.is_floating_point():
        raise LabelError(
            f"The labels have dtype {str(label.dtype).removeprefix('torch.')}, and class numbers "
            f"are whole; resample labels by nearest neighbour, and type label.long()."
        )
    if not bool(known.any()):
        raise LabelError(
            "No pixel of this batch is labelled, so it teaches nothing; leave out tiles without "
            "labels, or make batch_size= larger."
        )
    count = logits.shape[1]
    wrong = known & ((label < 0) | (label >= count))
    if bool(wrong.any()):
        found = ", ".join(str(v) for v in torch.unique(label[wrong]).tolist()[:12])
        raise LabelError(
            f"The labels hold {found} ({int(wrong.sum())} pixels), and the net tells apart "
            f"{count} classes with the numbers 0 to {count - 1}; type "
            f"training.labels_of(labels, cube, classes, missing={found.split(', ')[0]}) if that "
            f"means not labelled, or make the net for more classes."
        )


def _focal(
    logits: Tensor, label: Tensor, known: Tensor, weights: Tensor | None, gamma: float
) -> Tensor:
    """Mean of -α_t (1 - p_t)^γ log p_t over known pixels (Lin et al. 2017, eq. 5).

    The multiclass focal loss of segmentation_models_pytorch is another: a sum over classes of the
    binary one.
    """
    truth = torch.where(known, label, 0)[:, None]
    log_p = logits.log_softmax(1).gather(1, truth)[:, 0]
    each = -log_p
    if gamma:
        # Not 1 - exp, which loses the digits near 1; above zero, where γ < 1 has a slope.
        off = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        each = each * off**gamma
    if weights is not None:
        each = each * weights[truth[:, 0]]
    return each[known].mean()


def _dice(logits: Tensor, label: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
    """1 - 2 sum(p y) / (sum p + sum y) over known pixels of the batch, mean over classes in it.

    That of segmentation_models_pytorch divides by all classes, so that batches without some count
    less.
    """
    count = logits.shape[1]
    p = logits.softmax(1).movedim(1, -1)[known]
    y = torch.nn.functional.one_hot(label[known], count).to(p.dtype)
    pixels = y.sum(0)
    each = 1 - 2 * (p * y).sum(0) / (p.sum(0) + pixels)
    share = (pixels > 0).to(p.dtype) * (1 if weights is None else weights)
    # All weights of what is here may be zero.
    return (each * share).sum() / share.sum().clamp_min(torch.finfo(p.dtype).tiny)


def _weights(given: Any, names: tuple[str, ...] | None, counts: Any) -> tuple[float, ...] | None:
    """One number per class, or None."""
    if given is None:
        return None
    if isinstance(given, str):
        return _balanced(choice(given, ("balanced",), "class_weights"), counts)
    if isinstance(given, Mapping):
        if names is None:
            raise OptionError(
                "class_weights names classes, and which there are is not known; type "
                "loss_of(..., classes=classes)."
            )
        wrong = [name for name in given if name not in names]
        if wrong:
            listed = ", ".join(map(repr, names[:20])) + ", ..." * (len(names) > 20)
            raise OptionError(
                f"class_weights names {wrong[0]!r}, which is no class; choose out of {listed}."
            )
        given = [given.get(name, 1.0) for name in names]
    numbers = tuple(positive(w, "class_weights", 1.0, zero=True) for w in given)
    if names is not None and len(numbers) != len(names):
        raise OptionError(
            f"class_weights has {len(numbers)} of them, and there are {len(names)} classes; type "
            f"one for each, or a mapping of some."
        )
    if not any(numbers):
        raise OptionError("class_weights are all 0, so that nothing counts; make one larger.")
    return numbers


def _balanced(word: str, counts: Any) -> tuple[float, ...]:
    """Weights by which each class that is there counts the same, with mean 1 over the pixels."""
    if counts is None:
        raise OptionError(
            f"class_weights={word!r} needs to know how many pixels each class has; type "
            f"loss_of(..., counts=[...]). fit counts them itself."
        )
    pixels = np.asarray(counts, dtype=np.float64)
    there = pixels > 0
    made = np.ones(len(pixels))
    made[there] = pixels.sum() / (there.sum() * pixels[there])
    return tuple(made.tolist())


LossLike = LossName | Loss | Callable[[Tensor, Tensor], Tensor]
