"""The state of a run on disk: everything that a resumed run needs to go on as if it had never stopped."""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from dpm_cli.errors import InputError, UsageError
from dpm_cli.files import atomic_path

NAME = "checkpoint.pt"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """One saved state. Batches depend on the step alone (`batches`), so there are no generator states to keep."""

    step: int
    """Steps done."""
    pairs: int
    """Pairs seen by all processes."""
    elapsed_s: float
    """Wall clock spent on training, over all resumptions."""
    settings: str
    """TrainSettings.to_json()."""
    network: dict[str, Any]
    average: dict[str, Any]
    """EMA weights."""
    optimizer: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: TrainingState) -> None:
    """Write atomically: a kill leaves the old state or the new one."""
    with atomic_path(folder / NAME) as temporary:
        torch.save(vars(checkpoint), temporary)


def load_checkpoint(folder: Path, settings: str) -> TrainingState | None:
    """The state in `folder`, None if there is none.

    Raises:
        UsageError: it was made with other settings.
        InputError: it cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        found = TrainingState(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, EOFError, UnpicklingError) as error:
        raise InputError(f"{path} cannot be read ({error}): start anew with --overwrite") from error
    if found.settings != settings:
        raise UsageError(
            f"{path} was made with other settings: give the same ones, another -o, or --overwrite"
        )
    return found
