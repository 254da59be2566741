"""What the tests share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import dask
import numpy as np
import pytest
import xarray as xr

from tests import operators as operators  # before anything imports torchvision


def pytest_configure(config: pytest.Config) -> None:
    # rasterio 1.4 and rioxarray 0.19 multiply transforms in the way that affine 3 discourages.
    config.addinivalue_line(
        "filterwarnings", "ignore:Use `@` matmul instead of:PendingDeprecationWarning"
    )


def skip_or_fail(reason: str) -> NoReturn:
    """Skip, or fail where everything is required (XRXAI_REQUIRE_ALL=1)."""
    if os.environ.get("XRXAI_REQUIRE_ALL") == "1":
        pytest.fail(f"XRXAI_REQUIRE_ALL=1 and {reason}", pytrace=False)
    pytest.skip(reason)


@contextmanager
def raises_exactly(error: type[Exception], message: str) -> Iterator[None]:
    """Expect `error` with this very message, from its first to its last letter."""
    with pytest.raises(error, match="^" + re.escape(message) + "$") as caught:
        yield
    assert type(caught.value) is error


@contextmanager
def no_compute() -> Iterator[None]:
    """Make any computation of a dask array an error."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("a lazy array was computed")

    with dask.config.set(scheduler=refuse):
        yield


class Watched:
    """Numbers for `dask.array.from_array` that keep account of what is read of them."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.ndim = values.ndim
        self.reads: list[Any] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        self.reads.append(index)
        return self.values[index]

    def count(self) -> int:
        """Elements that were read, those that were read twice counted twice."""
        return sum(self.values[index].size for index in self.reads)


@pytest.fixture(scope="session")
def hyperview_cube() -> xr.DataArray:
    """The real HYPERVIEW cube, where it is or can be fetched."""
    from xrxai.datasets import hyperview
    from xrxai.errors import DataError

    try:
        return hyperview(0)
    except DataError as error:
        skip_or_fail(str(error))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
