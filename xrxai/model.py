"""Model: one face for networks, programs, callables and estimators."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xrxai import loading
from xrxai.errors import ModelError, OptionError, TargetError, at_least, choice, pair, positive
from xrxai.fingerprint import Digests, fingerprint, pickled

if TYPE_CHECKING:
    from xrxai.context import ReceptiveField

Takes = Literal["spectrum", "patch"]
Gives = Literal["vector", "map"]
Reduction = Literal["frozen_argmax", "argmax", "area"]

_LARGEST_WINDOW = 1024


@dataclass(frozen=True, eq=False)
class Model:
    """
    A model and what has to be known to explain it.

    Parameters
    ----------
    forward : torch.nn.Module, ScriptModule, ExportedProgram, callable or estimator, optional
        What answers; left out when `factory` makes it. Networks are run in evaluation mode with
        frozen parameters and given back as found, also those that a plain callable names. A
        plain callable gets a tensor and returns one (see `arrays`). A scikit-learn estimator
        takes spectra; a classifier answers by ``predict_proba``.
    takes : {"spectrum", "patch"}
        Its input: ``"spectrum"`` is ``(n, band)``, a sample is a pixel; ``"patch"`` is
        ``(n, band, y, x)``, a sample is a whole cube. Optional for estimators.
    targets : sequence of str
        Names of the outputs, in order. Optional for scikit-learn classifiers (their classes).
    gives : {"vector", "map"}, default: "vector"
        ``"vector"`` is ``(n, target)``; ``"map"`` is ``(n, target, y, x)``, as of a
        segmentation network, on the grid of the cube once `pad` and `resize` are undone.
    reduction : {"frozen_argmax", "argmax", "area"}, default: "frozen_argmax"
        How a map becomes one score per target: the sum of a target's map over the pixels
        that the unperturbed cube gives to it, held fixed; over the pixels that each
        perturbed cube gives to it (its gradient misses the jumps); or over all pixels.
    activation : {"softmax", "sigmoid"}, optional
        Applied over the targets before the reduction or the score. Default: none; scores are
        what the model gives. Softmax saturates and flattens explanations.
    scale : float, default: 1.0
        The cube is multiplied by it first, so that attributions stay in units of the cube.
    pad : "square" or int, optional
        Pad right and bottom with `fill` to a square, or to a multiple of that many pixels.
    resize : (int, int), optional
        Then resize bilinearly to this height and width.
    prepare : callable, optional
        Then apply this: tensor to tensor, the same shape convention.
    patch : int or (int, int), optional
        Height and width of the chips that the model was made for, with ``gives="vector"``: a
        larger cube is a scene and is cut into a grid of such chips, each a sample; what there
        is one of per chip has the dims ``tile_y, tile_x``. Default: the cube is one sample.
    fill : float, default: 0.0
        What the model sees where the cube has no valid value, in units of the cube: nodata
        pixels of a patch, and bad bands.
    n_bands : int, optional
        Bands that the model expects, to refuse a wrong cube before it runs.
    units : str, default: "1"
        Unit of the scores, written into results.
    arrays : {"torch", "numpy"}, optional
        What a plain callable works on. Default: "torch"; estimators take "numpy".
    dtype : {"float32", "float64"}, optional
        Default: that of the parameters; float32 for callables, float64 for "numpy".
    autocast : {"bfloat16", "float16"}, optional
        Run the network under ``torch.autocast`` in this precision: less memory, and faster
        where the hardware has it. Answers and gradients then carry 8 (bfloat16) or 11
        (float16) significant bits instead of 24: differences of scores below 1 part in 200
        (1 in 2000) are noise, which small effects, completeness and the rules of ``deep_lift``
        and ``lrp`` feel first. float16 also loses gradients below 6e-8. Not for float64.
        One evaluation more, in full precision, tells ``autocast_error``.
    channels_last : bool or "auto", default: "auto"
        Lay images out in memory with bands last, which makes many convolutions faster.
        ``"auto"`` does so on the CPU for networks in float32 whose convolutions over pixels are at
        least half depthwise ones of at most 5 x 5, as in MobileNet and EfficientNet: those took 6
        to 22 % less time (docs/performance.md). It is never chosen for programs, TorchScript and
        callables. Others may gain or lose. Results change in the last digits.
    stem : {"auto", "off"}, default: "auto"
        Methods that switch bands or pixels on and off let the network's first linear layer
        (``Conv1d``, ``Conv2d``, ``Linear``) answer once per group, and add up its answers for
        each pattern, where that saves work: with many bands it is most of the work. The layer's
        own answers are asked for beside the sums, and nothing else in the network may look at the
        input; where it does, every pattern runs in full, and the attribute ``stem`` of an
        eager result says why. Results change in the last digits. ``"off"`` runs in full.
    device : str, default: "auto"
        ``"auto"`` runs where the parameters are if that is an accelerator, else a copy of a
        network on CUDA where there is a GPU, else on the CPU; what is no plain network
        (programs, TorchScript, callables) stays where its parameters are. ``"cpu"``,
        ``"cuda"``, ``"cuda:1"`` run a copy there. On CUDA, convolutions of float32 use TF32
        unless ``torch.backends.cudnn.allow_tf32 = False``.
    batch_size : int, optional
        Samples per call of the model; results do not depend on it. Default: as many as fit
        4 MiB of input, 256 KiB for networks on spectra, for gradients at least four samples if
        these fit 128 MiB; on CUDA 256 MiB, or 1/64 of the free memory. When memory runs out it is
        halved, and stays so for this model in this process.
    halo : int, optional
        Pixels of context around each tile of a lazy cube, with ``gives="map"``. Default:
        measured (see `receptive_field`). More of them cost time, and bring nothing beyond two
        radii.
    name : str, optional
        Name written into results. Default: the class or function name.
    factory : str, optional
        ``"package.module:function"``: a function that is called without arguments and returns
        what `forward` may be. Other processes get this string and call it themselves, for
        models that cannot be pickled; it must give them the same weights.

    Raises
    ------
    ModelError
        The options contradict each other or the kind of model.

    Examples
    --------
    >>> import xrxai
    >>> model = xrxai.Model(lambda x: x[:, :2], takes="spectrum", targets=["K", "pH"])
    >>> model
    <xrxai.Model '<lambda>': spectrum -> K, pH>
    """

    forward: Any = None
    _: KW_ONLY
    takes: Takes = None  # type: ignore[assignment]
    targets: Sequence[str] = ()
    gives: Gives = "vector"
    reduction: Reduction = "frozen_argmax"
    activation: Literal["softmax", "sigmoid"] | None = None
    scale: float = 1.0
    pad: Literal["square"] | int | None = None
    resize: tuple[int, int] | None = None
    prepare: Callable[[Any], Any] | None = None
    patch: tuple[int, int] | None = None
    fill: float = 0.0
    n_bands: int | None = None
    units: str = "1"
    arrays: Literal["torch", "numpy"] | None = None
    dtype: Literal["float32", "float64"] | None = None
    autocast: Literal["bfloat16", "float16"] | None = None
    channels_last: bool | Literal["auto"] = "auto"
    stem: Literal["auto", "off"] = "auto"
    device: str = "auto"
    batch_size: int | None = None
    halo: int | None = None
    name: str | None = None
    factory: str | None = None

    def __post_init__(self) -> None:
        """Settle what is left open and refuse what cannot be."""

        def settle(key: str, value: Any) -> None:
            object.__setattr__(self, key, value)

        if self.factory is not None:
            self._settle_factory(settle)
        elif self.forward is None:
            raise ModelError(
                "The model is missing; type Model(net, ...), or "
                "Model(factory='package.module:function', ...)."
            )
        if isinstance(self.forward, type):
            raise ModelError(
                f"{self.forward.__name__} is a class, and a model made of it is needed; "
                f"type Model({self.forward.__name__}(...), ...)."
            )
        if isinstance(self.forward, str | os.PathLike):
            raise ModelError(
                f"{os.fspath(self.forward)!r} is a file name, and a model is needed; type "
                f"Model(xrxai.load_program({os.fspath(self.forward)!r}), ...)."
            )
        estimator = self.is_estimator
        if not callable(self.forward) and not estimator and not self.is_program:
            raise ModelError(
                f"A {type(self.forward).__name__} cannot be called; give a torch.nn.Module, "
                f"a TorchScript or torch.export program, a function or a scikit-learn estimator."
            )
        if estimator:
            self._settle_estimator(settle)
        if self.takes is None:
            raise ModelError(
                "takes= is missing: does the model read one pixel or a patch? "
                "Type Model(..., takes='spectrum') for (n, band), or takes='patch' for "
                "(n, band, y, x)."
            )
        choice(self.takes, ("spectrum", "patch"), "takes")
        choice(self.gives, ("vector", "map"), "gives")
        choice(self.reduction, ("frozen_argmax", "argmax", "area"), "reduction")
        if self.activation is not None:
            choice(self.activation, ("softmax", "sigmoid"), "activation")
        settle("arrays", self.arrays or ("numpy" if estimator else "torch"))
        choice(self.arrays, ("torch", "numpy"), "arrays")
        if self.dtype is not None:
            choice(self.dtype, ("float32", "float64"), "dtype")
        if self.autocast is not None:
            self._check_autocast()
        if self.channels_last is not False and self.channels_last != "auto":
            self._check_channels_last()
        choice(self.stem, ("auto", "off"), "stem")
        self._check_targets(settle)
        if self.gives == "map" and len(self.targets) == 1 and self.reduction != "area":
            raise ModelError(
                f"With the one target {self.targets[0]!r} every pixel is its own winner, so "
                f"reduction={self.reduction!r} would say nothing; type reduction='area', and "
                f"activation='sigmoid' if the map holds logits."
            )
        if self.takes == "spectrum":
            for key, unset in (("gives", "vector"), ("pad", None), ("resize", None)):
                if getattr(self, key) != unset:
                    raise ModelError(
                        f"{key}={getattr(self, key)!r} needs a patch, but takes='spectrum' sees "
                        f"one pixel; drop {key}= or type takes='patch'."
                    )
        if self.pad not in (None, "square") and not (
            isinstance(self.pad, int) and not isinstance(self.pad, bool) and self.pad > 0
        ):
            raise OptionError(f"pad={self.pad!r} is not known; type pad='square' or pad=32.")
        if self.resize is not None:
            self._check_resize(settle)
        if self.patch is not None:
            settle("patch", pair(self.patch, "patch", 64))
            if self.takes == "spectrum" or self.gives == "map":
                why, what = "takes one pixel at a time", "patch=."
                if self.gives == "map":
                    why, what = "answers a map of any size", "patch=, and chunk the cube."
                raise ModelError(
                    f"patch={self.patch} cuts a scene into chips, but the model {why}; drop {what}"
                )
        for key in ("batch_size", "n_bands"):
            if getattr(self, key) is not None:
                at_least(getattr(self, key), 1, key)
        if self.halo is not None:
            if self.gives != "map":
                raise ModelError(
                    f"halo={self.halo!r} is what surrounds the tiles of a map, but "
                    f"gives={self.gives!r} has none; drop halo= or type gives='map'."
                )
            at_least(self.halo, 0, "halo")
        positive(self.scale, "scale", 1e-4)
        if not np.isscalar(self.fill) or not np.isfinite(self.fill):
            raise OptionError(
                f"fill={self.fill!r} is not a finite number, and the model sees it where the cube "
                f"has no value; type fill=0.0."
            )

    def _check_autocast(self) -> None:
        choice(self.autocast, ("bfloat16", "float16"), "autocast")
        for key, value in (("arrays", "numpy"), ("dtype", "float64")):
            if getattr(self, key) == value:
                raise ModelError(
                    f"autocast={self.autocast!r} runs torch below float32, which does nothing for "
                    f"{key}={value!r}; drop autocast=."
                )

    def _check_channels_last(self) -> None:
        if self.channels_last is not True:
            raise OptionError(
                f"channels_last={self.channels_last!r} is not known; "
                f"type channels_last=True, False or 'auto'."
            )
        for key, value in (("takes", "spectrum"), ("arrays", "numpy")):
            if getattr(self, key) == value:
                raise ModelError(
                    f"channels_last=True lays out images for torch, which does nothing for "
                    f"{key}={value!r}; drop channels_last=."
                )

    def _check_resize(self, settle: Callable[[str, Any], None]) -> None:
        size = self.resize if isinstance(self.resize, tuple | list) else ()
        if len(size) != 2:
            raise OptionError(
                f"resize={self.resize!r} is not a height and a width; type resize=(224, 224)."
            )
        settle("resize", tuple(at_least(side, 1, "resize") for side in size))

    def _settle_factory(self, settle: Callable[[str, Any], None]) -> None:
        factory = str(self.factory)
        if self.forward is not None:
            loading.named(factory)
            return
        settle("forward", loading.built(factory))
        known = callable(self.forward) or self.is_estimator or self.is_program
        if not known or isinstance(self.forward, type):
            what = "a class" if known else f"a {type(self.forward).__name__}"
            raise ModelError(
                f"factory={factory!r} returned {what}, not a model; let it return a "
                f"torch.nn.Module, a TorchScript or torch.export program, a function or a "
                f"scikit-learn estimator."
            )

    def _settle_estimator(self, settle: Callable[[str, Any], None]) -> None:
        kind = type(self.forward).__name__
        if not _fitted(self.forward):
            raise ModelError(f"This {kind} is not fitted; call .fit(X, y) before explaining it.")
        if self.takes not in (None, "spectrum"):
            raise ModelError(
                f"The estimator {kind} takes a table of spectra, not takes={self.takes!r}; "
                f"type takes='spectrum'."
            )
        if hasattr(self.forward, "classes_") and not hasattr(self.forward, "predict_proba"):
            raise ModelError(
                f"The classifier {kind} has no predict_proba, and labels alone cannot be "
                f"explained; type Model(classifier.decision_function, arrays='numpy', "
                f"takes='spectrum', targets=[...]), or calibrate it first."
            )
        settle("takes", "spectrum")
        if self.n_bands is None and hasattr(self.forward, "n_features_in_"):
            settle("n_bands", int(self.forward.n_features_in_))
        if not self.targets and hasattr(self.forward, "classes_"):
            settle("targets", tuple(str(c) for c in self.forward.classes_))

    def _check_targets(self, settle: Callable[[str, Any], None]) -> None:
        if isinstance(self.targets, str):
            raise TargetError(
                f"targets={self.targets!r} is one string; type targets=[{self.targets!r}]."
            )
        names = tuple(str(name) for name in self.targets)
        if not names:
            raise TargetError(
                "targets= is missing: what are the model's outputs called? "
                "Type Model(..., targets=['P', 'K', ...]), one name per output, in order."
            )
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise TargetError(
                f"Target {twice[0]!r} is listed twice; give every output a name of its own."
            )
        settle("targets", names)

    @classmethod
    def ensure(cls, model: Any) -> Model:
        """Return `model` as a Model, or say how to make it one."""
        if isinstance(model, Model):
            return model
        if hasattr(model, "predict") and hasattr(model, "get_params"):
            return cls(model)
        if isinstance(model, type) or not callable(model):
            return cls(model)  # which says what is wrong with it
        kind = getattr(model, "__name__", type(model).__name__)
        raise ModelError(
            f"The model {kind} says neither what it takes nor what its outputs are called; "
            f"type xrxai.Model(model, takes='patch', targets=['K', ...]), or takes='spectrum'."
        )

    @property
    def is_estimator(self) -> bool:
        """A scikit-learn estimator."""
        return hasattr(self.forward, "predict") and hasattr(self.forward, "get_params")

    @property
    def is_program(self) -> bool:
        """A program saved by torch.export."""
        return type(self.forward).__name__ == "ExportedProgram"

    @property
    def differentiable(self) -> bool:
        """Whether torch can follow it."""
        return self.arrays == "torch"

    @property
    def label(self) -> str:
        """Its name in results and messages."""
        return self.name or str(getattr(self.forward, "__name__", type(self.forward).__name__))

    def positions(self, target: Any) -> list[int]:
        """Positions of the asked targets; None means all of them."""
        if target is None:
            return list(range(len(self.targets)))
        several = isinstance(target, Iterable) and not isinstance(target, str)
        asked = list(target) if several else [target]
        if not asked:
            raise TargetError("target=[] is empty; name at least one, or leave it out for all.")
        found = []
        for name in asked:
            if isinstance(name, str) and name in self.targets:
                found.append(self.targets.index(name))
                continue
            known = ", ".join(map(repr, self.targets[:20])) + ", ..." * (len(self.targets) > 20)
            raise TargetError(f"The model has no target {name!r}; choose one of {known}.")
        if len(set(found)) < len(found):
            raise TargetError(f"target={asked!r} names an output twice; name each once.")
        return found

    def networks(self) -> list[Any]:
        """Networks that answer: `forward` itself, or those that a callable names."""
        if self.is_estimator:
            return []
        import torch

        call: Any = self.forward
        found: list[Any] = [call]
        while isinstance(call, functools.partial):
            found += [*call.args, *call.keywords.values(), call.func]
            call = call.func
        if not isinstance(call, torch.nn.Module):
            found.append(getattr(call, "__self__", None))
            found += getattr(call, "__dict__", {}).values()
            with contextlib.suppress(TypeError, ValueError):  # not written in Python
                used = inspect.getclosurevars(call)
                found += [*used.nonlocals.values(), *used.globals.values()]
        kept = {id(thing): thing for thing in found if isinstance(thing, torch.nn.Module)}
        return list(kept.values())

    def receptive_field(
        self, *, n_bands: int | None = None, largest: int = 1024, cube: Any = None
    ) -> ReceptiveField:
        """
        Measure how far a pixel of the cube reaches in the map that the model gives.

        One pixel of a window is made NaN: what it reaches is NaN as well. Gradients are asked,
        too, because some networks hide NaN; the larger of both counts. Then windows that are
        shifted, or of another size, must answer alike.

        Parameters
        ----------
        n_bands : int, optional
            Bands of the windows. Default: those of the model, or of its first layer.
        largest : int, default: 1024
            Side in pixels up to which windows grow while a pixel reaches their edges; a radius
            above half of it is not found.
        cube : DataArray, optional
            Windows are noise, with the means and deviations of this cube's bands. Default: zero
            and one, as the network sees it.

        Returns
        -------
        ReceptiveField
            Radius and stride in pixels, and whether they are exact.

        Raises
        ------
        ModelError
            The model gives no map, or bears no window of noise.

        Examples
        --------
        >>> import torch, xrxai
        >>> net = torch.nn.Conv2d(4, 2, 3, padding=1)
        >>> model = xrxai.Model(net, takes="patch", gives="map", targets=["crop", "soil"])
        >>> model.receptive_field()
        <xrxai.ReceptiveField: radius 1 px, stride 1, measured in 32 px>
        """
        from xrxai.tensors import field

        largest = at_least(largest, 64, "largest")
        n_bands = None if n_bands is None else at_least(n_bands, 1, "n_bands")
        return field.measure(self, n_bands=n_bands, largest=largest, sample=_values(cube))

    def seam_error(
        self, halo: int, *, tile: int = 256, n_bands: int | None = None, cube: Any = None
    ) -> float:
        """
        Measure what a halo costs at the seams: relative L1 error of the gradient in a tile.

        The gradient of the summed score, on a core of at most 128 pixels, is compared with the
        same core's in the largest window that can be afforded. A model with global context
        has no exact halo, and this says how good one is.

        Parameters
        ----------
        halo : int
            Pixels on each side, rounded up to a multiple of the stride.
        tile : int, default: 256
            Side of the tiles in pixels.
        n_bands : int, optional
            As in `receptive_field`.
        cube : DataArray, optional
            Its middle is the window. Default: noise.

        Returns
        -------
        float
            0 is exact; NaN where no larger window than the halo's could be afforded.

        Raises
        ------
        ModelError
            The model gives no map.
        """
        from xrxai.tensors import field

        found = field.seam_errors(
            self,
            [at_least(halo, 0, "halo")],
            tile=at_least(tile, 1, "tile"),
            n_bands=n_bands,
            sample=_values(cube),
        )
        return next(iter(found.values()), float("nan"))

    def options(self) -> dict[str, Any]:
        """Options that differ from their defaults, as plain values for provenance."""
        apart = ("forward", "targets")
        changed = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in apart and getattr(self, f.name) != f.default
        }
        if self.prepare is not None:
            changed["prepare"] = getattr(self.prepare, "__name__", type(self.prepare).__name__)
        return changed

    def weights_hash(self) -> str:
        """Fingerprint (blake2b) of weights and architecture, or of what a callable holds."""
        networks = [self.forward] if self.is_program else self.networks()
        return fingerprint(self.forward, networks, Digests(remember=True))

    def token(self, weights: str) -> tuple[str, ...]:
        """Say in words what decides the answers, given the fingerprint of the weights."""
        apart = ("forward", "prepare", "factory")
        options = [repr(getattr(self, f.name)) for f in fields(self) if f.name not in apart]
        prepare = hashlib.blake2b(pickled(self.prepare)).hexdigest()
        return (type(self).__qualname__, weights, prepare, *options)

    def __dask_tokenize__(self) -> tuple[str, ...]:
        """Give dask a stable name for graphs: weights and options."""
        return self.token(self.weights_hash())

    def __repr__(self) -> str:
        """One line: name, input, outputs."""
        names = ", ".join(self.targets)
        kind = " map of" if self.gives == "map" else ""
        return f"<xrxai.Model {self.label!r}: {self.takes} ->{kind} {names}>"


def _values(cube: Any) -> np.ndarray | None:
    """The middle of a cube as (band, y, x), of the first where there are several."""
    if cube is None:
        return None
    from xrxai.labelled.cube import locate

    place = locate(cube)
    if place.y is None or place.x is None:
        raise ModelError(
            f"cube= has dims {tuple(cube.dims)} and no rows and columns among them; name them "
            f"with xrxai.to_cube(cube, y_dim=..., x_dim=...)."
        )
    core = (place.band, place.y, place.x)
    at: dict[Any, Any] = {d: 0 for d in place.data.dims if d not in core}
    for dim in (place.y, place.x):  # a lazy scene is not read as a whole
        spare = max(0, place.data.sizes[dim] - _LARGEST_WINDOW) // 2
        at[dim] = slice(spare, spare + _LARGEST_WINDOW)
    middle = place.data.isel(at).where(place.valid().isel(at, missing_dims="ignore"))
    values: np.ndarray = middle.transpose(*core).values
    return values


def _fitted(estimator: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    except TypeError:  # has predict and get_params, but is none of scikit-learn's
        return True
    return True
