"""How many samples a method draws: a number, or as many as a precision needs, in rounds."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from xrxai.errors import OptionError, at_least, note, positive
from xrxai.spec import Output

Samples = int | Literal["auto"]

_TOLERANCE = 0.05
_MAX_SAMPLES = 4000
_GROWTH = 1.5


class Rounds(NamedTuple):
    """Samples after each round, and the precision that ends them; None where one is all."""

    sizes: list[int]
    tolerance: float | None

    @property
    def options(self) -> dict[str, Any]:
        """What an explanation says of them."""
        if self.tolerance is None:
            return {"n_samples": self.sizes[-1]}
        return {"n_samples": "auto", "tolerance": self.tolerance, "max_samples": self.sizes[-1]}

    @property
    def outputs(self) -> dict[str, Output]:
        """What a result says besides."""
        if self.tolerance is None:
            return {}
        return {
            "n_samples_used": Output((), "draws or on/off patterns that were asked", "1", "int64"),
            "converged": Output((), "the precision has been reached", "1", "bool"),
        }


def settle(
    n_samples: Samples,
    tolerance: float | None,
    max_samples: int | None,
    *,
    least: int,
    first: int,
    usual: float = _TOLERANCE,
) -> Rounds:
    """Refuse what does not fit, and tell the rounds: `first` samples, then half as many more."""
    if n_samples != "auto":
        if isinstance(n_samples, str):
            raise OptionError(
                f"n_samples={n_samples!r} is neither a number nor 'auto'; type n_samples={first} "
                f"or n_samples='auto'."
            )
        at_least(n_samples, least, "n_samples")
        for name, value in (("tolerance", tolerance), ("max_samples", max_samples)):
            if value is not None:
                raise OptionError(
                    f"{name}={value!r} and n_samples={n_samples} came together, and {name}= is for "
                    f"as many samples as are needed; type n_samples='auto', or leave out {name}=."
                )
        return Rounds([n_samples], None)
    tolerance = usual if tolerance is None else positive(tolerance, "tolerance", usual)
    most = _MAX_SAMPLES if max_samples is None else at_least(max_samples, least, "max_samples")
    sizes = [min(first, most)]
    while sizes[-1] < most:
        sizes.append(min(most, 2 * round(_GROWTH * sizes[-1] / 2)))
    return Rounds(sizes, tolerance)


def warn(found: Any, tolerance: float, way_out: str = ", or ask for fewer groups") -> None:
    """Say of an explanation that has been made how many samples miss the precision."""
    asked = found.n_samples_used > 0
    missed = asked & ~found.converged
    if bool(missed.any()):
        note(
            f"{int(missed.sum())} of {int(asked.sum())} explained samples miss "
            f"tolerance={tolerance:g} after {int(found.n_samples_used.max())} draws; "
            f"standard_error says how far they are off. Raise max_samples= or tolerance={way_out}."
        )
