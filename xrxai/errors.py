"""The errors of xrxai: each says what was found, why it cannot be, and what to type."""

from __future__ import annotations

from collections.abc import Iterable


class XrxaiError(ValueError):
    """Base of every error that xrxai raises on purpose."""


class CubeError(XrxaiError):
    """The array is not a cube: its dims, units or values do not fit."""


class BandError(XrxaiError):
    """A band, band group or wavelength is missing, empty or ambiguous."""


class SegmentError(XrxaiError):
    """A segmentation or spatial window does not fit the cube."""


class BaselineError(XrxaiError):
    """A baseline does not fit the cube."""


class ModelError(XrxaiError):
    """The model does not fit the cube or the method, or answers nonsense."""


class TargetError(XrxaiError):
    """A target, region or reduction that the model does not have."""


class OptionError(XrxaiError):
    """An option outside its allowed values."""


class ResultError(XrxaiError):
    """A Dataset that is not an explanation, or not one of the kind that is needed."""


class LabelError(XrxaiError):
    """Labels do not fit the cube, the classes or one another."""


class DataError(XrxaiError, OSError):
    """Sample data that is neither here nor can be fetched."""


def choice(value: object, allowed: Iterable[str], name: str) -> str:
    """Return `value` when it is one of `allowed`, or say which words are."""
    words = tuple(allowed)
    if value in words:
        return str(value)
    listed = ", ".join(repr(w) for w in words)
    raise OptionError(f"{name}={value!r} is not known; choose one of {listed}.")


def at_least(value: object, least: int, name: str) -> int:
    """Return `value` when it is a whole number of at least `least`."""
    import operator

    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        whole = isinstance(value, float) and value.is_integer() and value >= least
        meant = f"{int(value)}" if whole else f"{least} or more"  # type: ignore[call-overload]
        raise OptionError(f"{name}={value!r} is not a whole number; type {name}={meant}.") from None
    if number < least:
        raise OptionError(f"{name}={number} is too small; type {name}={least} or more.")
    return number


def positive(value: object, name: str, example: float, *, zero: bool = False) -> float:
    """Return `value` as a finite number above zero (or from zero), or say what to type."""
    import math
    from numbers import Real

    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and (number > 0 or (zero and number == 0)):
            return number
    wanted = "a number of 0 or more" if zero else "a positive number"
    raise OptionError(f"{name}={value!r} is not {wanted}; type for example {name}={example:g}.")


def pair(value: object, name: str, example: int) -> tuple[int, int]:
    """Return `value` as (height, width) of whole numbers from 1; one number serves for both."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:
        raise OptionError(
            f"{name}={value!r} is no size; type {name}={example} or {name}=({example}, {example})."
        )
    return at_least(both[0], 1, name), at_least(both[1], 1, name)


def note(message: str) -> None:
    """Warn at the line of the user's own code that led here."""
    import sys
    import warnings

    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].split(".")[0] == "xrxai":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
