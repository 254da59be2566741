"""Files of models that travel: named by what they hold, written once, checked before use."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from xrxai.errors import ModelError

VARIABLE = "XRXAI_MODEL_DIR"
_KEPT_DAYS = 7


def digest(data: bytes) -> str:
    """Name of what the bytes are."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def folder() -> Path:
    """Where the files are: a folder of the user's own, or the one that the variable names."""
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        return path
    path = Path(tempfile.gettempdir()) / f"xrxai-{_user()}"
    path.mkdir(mode=0o700, exist_ok=True)
    # The name can be guessed, so anybody may have been here first.
    if hasattr(os, "getuid") and (path.is_symlink() or path.stat().st_uid != os.getuid()):
        raise ModelError(
            f"The folder {path} for models that travel belongs to somebody else; type "
            f"export {VARIABLE}=FOLDER for one of your own."
        )
    return path


def _user() -> str:
    try:
        return "".join(c if c.isalnum() else "_" for c in getpass.getuser())
    except (OSError, KeyError):  # a container whose user has no name
        return str(os.getuid())


def put(name: str, write: Callable[[Path], object]) -> Path:
    """Write a file unless it is there; nobody ever sees half of it."""
    try:
        path = folder() / name
        if _touched(path):
            return path
        if VARIABLE not in os.environ:
            _tidy(path.parent)
        part = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            write(part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError when a disk is full
        where = os.environ.get(VARIABLE) or tempfile.gettempdir()
        raise ModelError(
            f"The model cannot be written below {where}, from where other processes read it "
            f"({type(error).__name__}: {error}); type export {VARIABLE}=FOLDER for a folder with "
            f"room that all workers see."
        ) from error
    return path


def _touched(path: Path) -> bool:
    """Whether the file is there; its time says that it is still wanted."""
    if not path.exists():
        return False
    with contextlib.suppress(OSError):
        os.utime(path)
    return True


def _tidy(place: Path) -> None:
    """Remove what nobody wanted for a week from the temporary folder."""
    old = time.time() - _KEPT_DAYS * 86400
    for path in place.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < old:
                path.unlink()


def there(names: Iterable[str]) -> bool:
    """Whether all of these files are there."""
    place = folder()
    return all((place / name).exists() for name in names)


def find(name: str) -> Path:
    """Path of a file, or what to do where it is not."""
    path = folder() / name
    if not _touched(path):
        raise ModelError(
            f"The weights of the model are not at {path} on this worker; give all workers one "
            f"shared folder ({VARIABLE}=FOLDER, set for the client and for the workers), or send "
            f"them with xrxai.ship(model) before you compute."
        )
    return path


def read(name: str) -> bytes:
    """Bytes of a file, which are those that its name promises."""
    path = find(name)
    data = path.read_bytes()
    if digest(data) != path.stem:
        raise damaged(path)
    return data


def damaged(path: Path) -> ModelError:
    """What to say of a file that does not hold what its name promises."""
    return ModelError(
        f"The file {path} is not what was written: it is cut short or was changed, and is not "
        f"loaded. Delete it, and compute the explanation again from where it was made."
    )
