"""What training needs to go on where it was killed: one file, whole or not there."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xrxai.errors import DataError, OptionError

NAME = "checkpoint.pt"


class Checkpoint:
    """
    The state after the last whole epoch, in a folder.

    All random numbers of `fit` come from the seed, the epoch and the step, so the state of no
    generator is needed: weights, optimizer and history are all there is.

    Parameters
    ----------
    folder : path, optional
        Made when it is not there. Default: nothing is kept.
    config : mapping of str to str
        What must be the same in the call that goes on.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, config: Mapping[str, str]) -> None:
        self.path = None if folder is None else Path(folder).expanduser() / NAME
        self.config = dict(config)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file at once: who reads sees the old one or the new one."""
        if self.path is None:
            return
        part = self.path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with part.open("wb") as file:
                torch.save({"config": self.config, **state}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)
        _settle(self.path.parent)

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """The state, None when there is none yet, or why it is not of this call."""
        if self.path is None:
            return None
        for part in self.path.parent.glob(".*.part"):  # of one that was killed while writing
            part.unlink(missing_ok=True)
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
            kept = state["config"]
        except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path} is no checkpoint of fit, or is damaged ({type(error).__name__}); "
                f"type checkpoint='ANOTHER FOLDER', or resume=False to start anew and replace it."
            ) from error
        differ = [name for name in self.config if kept.get(name) != self.config[name]]
        if differ:
            said = "; ".join(
                f"{name} was {kept.get(name)} and is {self.config[name]}" for name in differ
            )
            raise OptionError(
                f"{self.path} is of another training: {said}. Type the options of then to go on, "
                f"checkpoint='ANOTHER FOLDER' for this one, or resume=False to start anew and "
                f"replace it."
            )
        return state


def _settle(folder: Path) -> None:
    """Make the name of a file survive a crash of the machine, where folders can be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
