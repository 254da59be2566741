"""An environment for meteors 0.2.0, which asks for numpy before 2: build/meteors-env."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HOME = Path("build/meteors-env")


def python(home: Path = HOME) -> Path | None:
    """Find its interpreter, once it is made."""
    return _inside(home) if (home / ".ready").exists() else None


def make(home: Path = HOME) -> str:
    """Make it; give the reason where that fails."""
    if python(home):
        return ""
    # torch is named, or pip takes the newest, which brings gigabytes of CUDA.
    wanted = [f"torch=={version('torch').partition('+')[0]}", "numpy<2", "meteors==0.2.0"]
    commands = [
        [sys.executable, "-m", "venv", str(home)],
        [str(_inside(home)), "-m", "pip", "install", "-q", *wanted],
        [str(_inside(home)), "-c", "import meteors.attr"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    (home / ".ready").touch()
    return ""


def _inside(home: Path) -> Path:
    return home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
