"""The weights file of the mini network: safetensors with its own configuration, history and check sum.

Nothing is unpickled; the configuration comes from the file, the names must match strictly.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dpm_cli.errors import WeightsError
from dpm_cli.files import atomic_path
from dpm_cli.network.mini import MiniConfig, MiniNetwork
from dpm_cli.weights.store import SHIPPED

FORMAT = "dpm-mini 1"


@dataclass(frozen=True, eq=False)
class MiniWeights:
    """A network ready to use and what its file says."""

    network: MiniNetwork
    """float32, evaluation mode, on the CPU."""
    metadata: Mapping[str, str]
    sha256: str
    """Of the tensors, as stored in the metadata and checked."""


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Check sum of names, shapes and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_mini(
    path: Path, network: MiniNetwork, metadata: Mapping[str, str], dtype=torch.float16
) -> str:
    """Write weights atomically; returns the check sum. `metadata` holds data, steps, date, calibration, licence."""
    tensors = {
        k: v.detach().to(dtype).cpu().clone(memory_format=torch.contiguous_format)
        for k, v in network.state_dict().items()
    }
    checksum = tensors_sha256(tensors)
    full = {**metadata, "format": FORMAT, "config": network.config.to_json(), "sha256": checksum}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=full)
        temporary.chmod(0o644)  # safetensors writes for the owner's eyes only
    return checksum


def load_mini(path: Path | None = None) -> MiniWeights:
    """Read weights written by `save_mini`; None = those of the wheel.

    Raises:
        WeightsError: no such file, not a safetensors file, another network, damaged tensors.
    """
    path = SHIPPED if path is None else Path(path)
    if not path.is_file():
        raise WeightsError(
            f"no weights at {path}: train some with `dpm train`, or leave --weights out"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({error}): get it again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} does not hold a dpm-mini network: `dpm info {path}` says what it is"
        )
    if tensors_sha256(tensors) != metadata.get("sha256"):
        raise WeightsError(f"{path} is damaged (sha256 of its tensors differs): get it again")
    try:
        network = MiniNetwork(MiniConfig.from_json(metadata["config"]))
        network.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=True)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{path} does not fit this version's dpm-mini network: {reason}"
        ) from error
    return MiniWeights(network.eval(), metadata, metadata["sha256"])
