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


def load_prior(
    name: str, kind: PriorKind, clip: Clip, device: torch.device, dtype: torch.dtype
) -> PriorSource | None:
    """The source that `name` asks for; None for `none`, and for `auto` where nothing is at hand.

    Args:
        name: `auto` (the smallest network that is here on a CPU, else the largest), `none`, a row of
            `dpm models list`, or a folder.
        kind: of the maps in a folder.
        clip: the decoded clip.
        device: where a network runs.
        dtype: its autocast type.

    Raises:
        UsageError: there is no such prior.
        InputError: the folder does not fit the clip.
        WeightsError: the network's weights are not here, or wrong.
    """
    if name == "none":
        return None
    rows = {entry.name: entry for entry in ROWS}
    if name == "auto":
        here = [record for entry in ROWS if (record := read_record(entry))]
        if not here:
            return None
        return _network(here[0] if device.type == "cpu" else here[-1], device, dtype)
    if name in rows:
        record = read_record(rows[name])
        if record is None:
            raise WeightsError(f"{name} is not on this machine: `dpm models pull {name}`")
        return _network(record, device, dtype)
    if not Path(name).is_dir():
        raise UsageError(
            f"--prior {name}: give auto, none, {', '.join(rows)}, or a folder of depth"
        )
    return FolderPrior(Path(name), kind, clip)


def _network(record: Record, device: torch.device, dtype: torch.dtype) -> PriorSource:
    info = PriorInfo(record.name, record.sha256, record.licence, "MoGe-2")
    return load_moge(Path(record.path), info, device, dtype)
