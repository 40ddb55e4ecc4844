"""The prior that `--prior` names: a network whose weights are here, a folder of the user's, or none."""

from pathlib import Path

import torch

from dpm_cli.config import PriorKind
from dpm_cli.errors import UsageError, WeightsError
from dpm_cli.prior.estimate import PriorInfo, PriorSource
from dpm_cli.prior.folder import FolderPrior
from dpm_cli.prior.moge import load_moge
from dpm_cli.structures import Clip
from dpm_cli.weights.store import Record, read_record
from dpm_cli.weights.table import TABLE

ROWS = tuple(entry for entry in TABLE if entry.role == "prior")
"""From the smallest to the largest."""
MISSING = (
    "no depth prior at hand: `dpm models pull moge-2-small` gets one (MIT, 140 MB); "
    "--prior none if that is meant"
)


def find_prior(name: str, device: torch.device) -> Record | Path | None:
    """What `name` asks for: weights that are here, a folder, or None for `none` and where `auto` finds nothing.

    Args:
        name: `auto` (the smallest network that is here on a CPU, else the largest), `none`, a row of
            `dpm models list`, or a folder.
        device: where a network would run.

    Raises:
        UsageError: there is no such prior.
        WeightsError: the network's weights are not here.
    """
    rows = {entry.name: entry for entry in ROWS}
    if name == "auto":
        here = [record for entry in ROWS if (record := read_record(entry))]
        return None if not here else here[0] if device.type == "cpu" else here[-1]
    if name in rows:
        record = read_record(rows[name])
        if record is None:
            raise WeightsError(f"{name} is not on this machine: `dpm models pull {name}`")
        return record
    if name != "none" and not Path(name).is_dir():
        raise UsageError(
            f"--prior {name}: give auto, none, {', '.join(rows)}, or a folder of depth"
        )
    return None if name == "none" else Path(name)


def load_prior(
    name: str, kind: PriorKind, clip: Clip, device: torch.device, dtype: torch.dtype
) -> PriorSource | None:
    """The source that `name` asks for, see `find_prior`.

    Args:
        name: of a prior.
        kind: of the maps in a folder.
        clip: the decoded clip.
        device: where a network runs.
        dtype: its autocast type.

    Raises:
        InputError: the folder does not fit the clip.
        WeightsError: the network's weights are not here, or wrong.
    """
    found = find_prior(name, device)
    if isinstance(found, Record):
        info = PriorInfo(found.name, found.sha256, found.licence, "MoGe-2")
        return load_moge(Path(found.path), info, device, dtype)
    return None if found is None else FolderPrior(found, kind, clip)
