"""What a kernel returns and needs, as data: the one road reads it, the docs print it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

Tiles = Literal["gradient", "score", "window", "alone"]
"""How a method sees a scene through tiles, where the model gives a map.

"gradient": what a pixel does to the score of the scene is what it does to the outputs that it
reaches, which need as much context again. "score": scores of cores add up to that of the scene.
"window": like gradient, and windows of pixels that reach over the core. "alone": what the method
does to one place hangs on all others, so each tile is an image of its own.
"""

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


@runtime_checkable
class Placed(Protocol):
    """What a kernel is given that depends on where in the scene it works."""

    def at(self, tile: Any) -> Any:
        """Give the same for a tile of the scene (`xrxai.tiles.Tile`)."""


@dataclass(frozen=True)
class Output:
    """One variable of a result: its dims after the sample's own, its meaning, its unit.

    The dim ``"features"`` stands for what the model takes: ``band`` for a spectrum,
    ``band, y, x`` for a patch; ``"positions"`` for the places in it, ``band`` or ``y, x``.
    ``units`` is the score's unit ("score"), the score's per unit of the cube ("score / cube"),
    the square of either, or a literal. `signed` is False for what cannot be negative; `missing`
    is what whole numbers say where there is nothing to say, as others say NaN.
    """

    dims: tuple[str, ...]
    long_name: str
    units: Literal["score", "score / cube", "score²", "(score / cube)²", "1"] = "score"
    dtype: Literal["score", "int64", "int16", "bool"] = "score"
    signed: bool = True
    missing: int = 0


@dataclass(frozen=True)
class Spec:
    """The record of a kernel: outputs, needs, where it comes from, what its method is called.

    `alone` is for kernels that let others' code at the user's own network: one runs at a time.
    """

    outputs: Mapping[str, Output]
    needs: Literal["gradient", "forward"]
    spatial: bool
    references: tuple[str, ...]
    method: str
    tiles: Tiles = "alone"
    alone: bool = False


PREDICTION = Output(("target",), "score at the input")
BASELINE_PREDICTION = Output(("target",), "score at the baseline")
COMPLETENESS_GAP = Output(("target",), "sum of attribution - (score - baseline score)")
EVALUATIONS = Output((), "evaluations of the model per sample", "1", "int64")


def spec(
    outputs: Mapping[str, Output],
    *,
    needs: Literal["gradient", "forward"],
    references: tuple[str, ...],
    spatial: bool = False,
    method: str | None = None,
    tiles: Tiles = "alone",
    alone: bool = False,
) -> Callable[[Kernel], Kernel]:
    """Attach a `Spec` to a kernel; every kernel also returns its score and its cost.

    `method` is the name of its public function; by default the kernel is called `_method`.
    """

    def attach(kernel: Kernel) -> Kernel:
        everything = {**outputs, "prediction": PREDICTION, "model_evaluations": EVALUATIONS}
        name = method or kernel.__name__.lstrip("_")
        record = Spec(everything, needs, spatial, references, name, tiles, alone)
        kernel.spec = record  # type: ignore[attr-defined]
        return kernel

    return attach
