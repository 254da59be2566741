"""Methods of captum's shape, `method(network).attribute(inputs, target=...)`, on our scores."""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xrxai.errors import ModelError, OptionError, XrxaiError
from xrxai.tensors import hooks
from xrxai.tensors.run import batches
from xrxai.tensors.score import Score

if TYPE_CHECKING:
    from xrxai.model import Model

Method = Callable[[torch.nn.Module], Any]

_SEED = 2**32


class _Scored(torch.nn.Module):
    """The scores of the chosen targets as a network: preprocessing and reduction included."""

    def __init__(self, score: Score | None, among: list[torch.nn.Module]) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(among)
        self.training = False
        self.score = score
        self.sample = 0
        self.count = 1

    def forward(self, x: Tensor) -> Tensor:
        """x (rows, *f) of one sample, or of many when no score needs to know of which."""
        if self.score is None:
            raise ModelError("A method must not run the model before .attribute(...) is called.")
        # Methods lay the variants of several samples out in turns.
        of = self.sample + torch.arange(len(x), device=x.device) % self.count
        if torch.is_grad_enabled():
            return self.score(x, of)
        size = self.score.batch(x)
        return torch.cat([self.score(x[i], of[i]) for i in batches(len(x), size, x.device)])


def name_of(method: Any) -> str:
    """What to call a method in results and messages."""
    return str(getattr(method, "__name__", type(method).__name__))


def probe(method: Any, model: Model) -> Any:
    """The method on a network that does not run, to say what is wrong before one does."""
    if isinstance(method, type):
        _refuse_inner(method)
    elif hasattr(method, "attribute"):
        raise OptionError(
            f"method={name_of(method)} is bound to a network already; give the class, or a "
            f"function that makes it: lambda net: {name_of(method)}(net)."
        )
    if not callable(method):
        raise OptionError(
            f"method={method!r} makes no explainer; type a class such as "
            f"captum.attr.IntegratedGradients, or lambda net: MyMethod(net)."
        )
    made = _made(method, _Scored(None, [] if model.is_program else model.networks()))
    _refuse_inner(type(made))
    from captum.attr import GradientAttribution

    if isinstance(made, GradientAttribution) and not model.differentiable:
        raise ModelError(
            f"The method {type(made).__name__} needs gradients, which {model.label} "
            f"(arrays={model.arrays!r}) cannot give; use lime_spectral or occlusion_spectral."
        )
    return made


def parameters(made: Any) -> tuple[set[str], bool]:
    """What .attribute(...) takes by name, and whether it takes more."""
    given = inspect.signature(made.attribute).parameters.values()
    named = {p.name for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind is p.VAR_KEYWORD for p in given)


def gives_delta(made: Any, options: Mapping[str, Any]) -> bool:
    """Whether its answer is a tuple of the attribution and a delta per sample."""
    named, more = parameters(made)
    if "return_convergence_delta" in named or more:
        return bool(options.get("return_convergence_delta"))
    asked = getattr(made, "has_convergence_delta", None)
    return bool(asked()) if callable(asked) else False


def attribute(
    score: Score,
    x: Tensor,
    method: Method,
    options: Mapping[str, Any],
    baseline: Tensor | None,
    part: Tensor | None,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """x (n, *f), part (n or 1, *f) -> attribution (n, target, *f), delta (n, target) or NaN.

    A method that draws random numbers, or needs to know whose the pixels are, gets one sample at
    a time, and each sample the same draws: so the chunks and batches do not matter.
    """
    n, k = x.shape[0], score.n_targets
    among = [] if score.runner.model.is_program else hooks.running(score.runner)
    net = _Scored(score, among)
    attribution = x.new_empty((n, k, *x.shape[1:]))
    delta = x.new_full((n, k), torch.nan)
    alone = score.runner.model.gives == "map" or (part is not None and part.shape[0] > 1)
    size = score.batch(x)
    with hooks.as_found(among):
        made = _made(method, net)
        named, _ = parameters(made)
        done = 0
        while done < n:
            # The first goes alone: whether a method draws is seen when it has.
            stop = done + 1 if alone or done == 0 else min(n, done + max(1, size // 2))
            i = slice(done, stop)
            given = dict(options)
            if "internal_batch_size" in named:
                given.setdefault("internal_batch_size", max(size, 2 * (stop - done)))
            if part is not None:
                mask = part.expand_as(x)[i]
                given["feature_mask"] = mask - mask.min()
            if baseline is not None:
                start = baseline.expand_as(x)[i]
                # What is in no group must not be switched: its baseline is its own value.
                given["baselines"] = start if part is None else torch.where(mask == 0, x[i], start)
            net.sample, net.count = done, stop - done
            for t in range(k):
                inputs = x[i].detach().clone().requires_grad_(score.runner.model.differentiable)
                with _seeded(seed, x.device) as drawn:
                    found = _asked(made, inputs, t, given)
                    alone = alone or drawn()
                attribution[i, t], gap = _answer(made, found, inputs)
                if gap is not None:
                    delta[i, t] = gap
            done = stop
    return attribution, delta


def per_group(attribution: Tensor, part: Tensor, n_groups: int) -> Tensor:
    """(n, target, *f), the same within a group of part (n or 1, *f) -> (n, target, group)."""
    flat = attribution.flatten(2)
    ids = part.expand(part.shape[0], *attribution.shape[2:]).flatten(1)
    out = flat.new_full((*flat.shape[:2], n_groups), torch.nan)
    for g in range(n_groups):
        inside = ids == g + 1
        first = inside.int().argmax(1).expand(len(flat))
        here = inside.any(1).expand(len(flat))
        value = flat.gather(2, first[:, None, None].expand(-1, flat.shape[1], 1))[..., 0]
        out[..., g] = torch.where(here[:, None], value, torch.nan)
    return out


def _made(method: Any, net: torch.nn.Module) -> Any:
    try:
        made = method(net)
    except XrxaiError:
        raise
    except Exception as error:
        raise OptionError(
            f"The method {name_of(method)} could not be made from a network alone: {_told(error)} "
            f"Give what else it needs: lambda net: {name_of(method)}(net, ...)."
        ) from error
    if not callable(getattr(made, "attribute", None)):
        raise OptionError(
            f"The method {name_of(method)} made {type(made).__name__}, which has no "
            f".attribute(inputs, target=...); give a class that has."
        )
    return made


def _asked(made: Any, inputs: Tensor, target: int, options: dict[str, Any]) -> Any:
    try:
        return made.attribute(inputs, target=target, **options)
    except XrxaiError:
        raise
    except Exception as error:
        raise ModelError(
            f"The method {type(made).__name__} failed: {_told(error)} "
            f"Check options= and what the method asks of a network."
        ) from error


def _answer(made: Any, found: Any, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    gap = None
    if isinstance(found, tuple | list) and len(found) == 2:
        found, gap = found
    elif isinstance(found, tuple | list) and len(found) == 1:
        (found,) = found
    shape = getattr(found, "shape", None)
    if not isinstance(found, Tensor) or shape != inputs.shape:
        what = f"shape {tuple(shape)}" if shape is not None else type(found).__name__
        raise ModelError(
            f"The method {type(made).__name__} answered {what} to an input of shape "
            f"{tuple(inputs.shape)}; it must give one value per input value, or a tuple of that "
            f"and its delta per sample."
        )
    if gap is not None:
        # Methods that draw give a delta per draw.
        gap = torch.as_tensor(gap).detach().reshape(len(inputs), -1).mean(1).to(inputs)
    return found.detach().to(inputs), gap


def _told(error: Exception) -> str:
    text = (str(error).strip().splitlines() or ["no message"])[0]
    return f"{type(error).__name__}: {text if text.endswith(('.', '!', '?')) else text + '.'}"


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[Callable[[], bool]]:
    """Generators that start from the seed, given back as found; tells whether any was used."""
    cuda = [device] if device.type == "cuda" else []

    def state() -> list[bytes]:
        torch_states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in cuda)]
        own: Any = np.random.get_state()  # noqa: NPY002  what captum draws from
        rest = repr((own[2:], random.getstate())).encode()
        return [*(t.numpy().tobytes() for t in torch_states), own[1].tobytes(), rest]

    before = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        np.random.seed(seed % _SEED)  # noqa: NPY002
        random.seed(seed)
        at_first = state()
        try:
            yield lambda: state() != at_first
        finally:
            np.random.set_state(before[0])  # noqa: NPY002
            random.setstate(before[1])


def _refuse_inner(kind: type) -> None:
    from captum import attr

    if issubclass(kind, attr.FeaturePermutation):
        raise OptionError(
            f"The method {kind.__name__} swaps values among the samples of a batch, so what it "
            f"says would depend on the batch; use captum.attr.FeatureAblation."
        )
    ours = {"GuidedGradCam": "guided_grad_cam"}.get(kind.__name__, "grad_cam")
    inner = (attr.LayerAttribution, attr.NeuronAttribution, attr.GuidedGradCam)
    if issubclass(kind, inner):
        raise OptionError(
            f"The method {kind.__name__} looks at a layer inside the network, and this door takes "
            f"methods that explain the cube; type cube.xai.{ours}(model, layer=...)."
        )
