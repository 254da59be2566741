"""Ask a process of its own for JSON, with one thread for each sum unless more are wanted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PATIENCE = 1200.0  # seconds


def ask(
    module: str, *arguments: str, python: Path | None = None, threads: int = 1
) -> dict[str, Any]:
    """Give what it prints last, or ``{"error": ...}`` with the last line of its complaint."""
    command = [str(python or sys.executable), "-m", module, *arguments]
    environment = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", **os.environ}
    if threads > 1:
        environment["OMP_NUM_THREADS"] = str(threads)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PATIENCE:.0f} s"}
    if done.returncode:
        last = done.stderr.strip().splitlines()
        return {"error": last[-1] if last else f"ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
