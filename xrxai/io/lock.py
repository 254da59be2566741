"""One writer per store; the lock of a process that was killed is gone with it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from xrxai.errors import ResultError


@contextlib.contextmanager
def held(target: Path) -> Iterator[None]:
    """Hold the lock beside `target`, or say who does."""
    path = target.with_name(f".{target.name}.lock")
    file = _taken(path)
    if file is None:
        raise ResultError(
            f"{str(target)!r} is being written by another process ({_holder(path)}); wait for it, "
            "or type another path."
        )
    try:
        yield
    finally:
        # Removed while it is held: who waits for it sees that the name is gone, and makes it anew.
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()


def _taken(path: Path) -> BinaryIO | None:
    while True:
        file = open(path, "ab+", buffering=0)  # noqa: SIM115 (held on to)
        if not _lock(file):
            file.close()
            return None
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            # Who holds it is told to others; on a full disk it cannot be.
            with contextlib.suppress(OSError):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            return file
        file.close()


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text() or "unknown"
    return "unknown"


def _lock(file: BinaryIO) -> bool:
    """Lock as the operating system does it: released when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # nor have some file systems
        return True
    return True
