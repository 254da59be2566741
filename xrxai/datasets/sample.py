"""Real cubes, downloaded once with a checksum."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import xarray as xr

from xrxai.errors import DataError, OptionError
from xrxai.labelled.npz import read_npz

DATA_DIR = "XRXAI_DATA_DIR"
_FOLDER_URL = (
    "https://raw.githubusercontent.com/xai4space/meteors/"
    "f1b68eeb52da31aa421c336951aead57e2eb2cb9/examples/hyperview_challenge/data/"
)
_SHA256 = {"0.npz": "1b453b988ef0f8ee8d95d4848120ccfed44d425f075d6dbbf8287af0ba7dcdb1"}


def hyperview(index: int = 0) -> xr.DataArray:
    """Load an airborne soil cube of the HYPERVIEW challenge: 150 bands, 462 to 938 nm.

    The file (1.5 MB) is taken from the folder that the environment variable XRXAI_DATA_DIR names,
    else from the cache of the user, else downloaded. Its checksum is verified every time.

    Parameters
    ----------
    index : int
        Number of the cube; 0 is the only one that is openly hosted.

    Returns
    -------
    DataArray, (band, y, x) = (150, 72, 89), float32
        Counts as distributed, 32 to 4509: the scale is arbitrary. Coordinates wavelength (nm) and
        valid (y, x), True inside the field.

    Raises
    ------
    OptionError
        When there is no cube of this number.
    DataError
        When the file is not here and cannot be downloaded, or is not the right one.

    References
    ----------
    .. [1] J. Nalepa et al., "The HYPERVIEW challenge: estimating soil parameters from
       hyperspectral images", ICIP 2022.
    """
    name = f"{index}.npz"
    if name not in _SHA256:
        known = ", ".join(n.removesuffix(".npz") for n in _SHA256)
        raise OptionError(f"index={index!r} is not known; choose one of {known}.")
    return read_npz(_fetch(name))


def _fetch(name: str) -> Path:
    folder = os.environ.get(DATA_DIR)
    if folder:
        for candidate in (f"hyperview_{name}", name):
            path = Path(folder) / candidate
            if path.is_file():
                return _checked(path, _SHA256[name])
    return _download(name)


def _checked(path: Path, sha256: str) -> Path:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise DataError(
            f"{str(path)!r} has the SHA-256 {found} and {sha256} is expected, so it is damaged or "
            "another file; delete it and download it again."
        )
    return path


def _download(name: str) -> Path:
    import pooch

    try:
        found = pooch.retrieve(
            _FOLDER_URL + name,
            known_hash=f"sha256:{_SHA256[name]}",
            fname=f"hyperview_{name}",
            path=pooch.os_cache("xrxai"),
            progressbar=True,
        )
    except (OSError, ValueError) as error:  # pooch says ValueError when the checksum differs
        raise DataError(
            f"The HYPERVIEW cube {name} is not here and could not be downloaded "
            f"({type(error).__name__}): download {_FOLDER_URL}{name}, put it into a folder as "
            f"hyperview_{name}, and set the environment variable {DATA_DIR} to that folder."
        ) from error
    return Path(found)
