"""What a weights file is, told by the names of its tensors and never by its own name."""

import json
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from dpm_cli.errors import WeightsError
from dpm_cli.weights.checkpoint import Checkpoint, read_checkpoint
from dpm_cli.weights.table import MOGE

Config = TypeVar("Config")


class Kind(Enum):
    """The networks whose files are known; the value is what a person reads."""

    PAIR = "a dpm pair network"
    MULTI_VIEW = "a dpm multi-view network"
    MINI = "dpm-mini"
    DUST3R = "DUSt3R or MonST3R"
    CROCO = "CroCo v2 without point heads"
    MAST3R = "MASt3R (DUSt3R with matching heads)"
    POMATO = "POMATO (DUSt3R with a third head)"
    VDPM = "V-DPM"
    VGGT = "VGGT"
    MOGE = "MoGe-2"


OWN_KINDS = {"pair": Kind.PAIR, "multi_view": Kind.MULTI_VIEW}

USED_BY = {
    Kind.PAIR: "dpm-large",
    Kind.DUST3R: "dpm-large",
    Kind.MINI: "dpm-mini",
    Kind.VDPM: "vdpm",
    Kind.VGGT: "vdpm",
    Kind.MULTI_VIEW: "vdpm",
    Kind.MOGE: MOGE,
}
"""The predictor, or depth prior, that runs each kind."""

STATIC = {Kind.DUST3R, Kind.VGGT}
"""Networks that know no time: P_i(t_1) = P_i(t_2)."""

LICENCES = {
    Kind.DUST3R: "CC BY-NC-SA 4.0 (non-commercial)",
    Kind.CROCO: "CC BY-NC-SA 4.0 (non-commercial)",
    Kind.MAST3R: "CC BY-NC-SA 4.0 (non-commercial)",
    Kind.POMATO: "CC BY-NC-SA 4.0 (non-commercial)",
    Kind.VDPM: "non-commercial (V-DPM, derived from VGGT-1B)",
    Kind.VGGT: "non-commercial (VGGT-1B; the gated VGGT-1B-Commercial has its own terms)",
    Kind.MOGE: "MIT (its DINOv2 part Apache-2.0)",
}
"""Of public weights with these tensors; a file of ours carries its own."""


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def recognise(checkpoint: Checkpoint) -> Kind:
    """Kind of network; raises WeightsError for one that is not known."""
    if checkpoint.metadata.get("format", "").startswith("dpm-mini"):
        return Kind.MINI
    own = checkpoint.metadata.get("dpm_network")
    if own is not None:
        if own not in OWN_KINDS:
            raise WeightsError(
                f"{checkpoint.path}: a dpm file of the unknown kind {own!r}; newer version?"
            )
        return OWN_KINDS[own]
    kind = _public_kind(checkpoint.tensors)
    if kind is None:
        first = next(iter(checkpoint.tensors), "none")
        raise WeightsError(
            f"{checkpoint.path}: not weights of a known network (first tensor: {first})"
        )
    return kind


def _public_kind(names: Mapping[str, Any]) -> Kind | None:
    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in names)

    if has("aggregator.frame_blocks."):
        return Kind.VDPM if has("decoder.frame_blocks.") else Kind.VGGT
    if has("encoder.backbone.blocks.") and has("points_head.") and has("scale_head."):
        return Kind.MOGE
    if not has("enc_blocks.") or not has("dec_blocks."):
        return None
    if has("downstream_head3."):
        return Kind.POMATO
    if has("downstream_head1.head_local_features."):
        return Kind.MAST3R
    return Kind.DUST3R if has("downstream_head1.") else Kind.CROCO


def own_config(checkpoint: Checkpoint, build: Callable[[dict[str, Any]], Config]) -> Config:
    """Config stored in a file of ours; raises WeightsError where it cannot be read or claims more than is there."""
    try:
        values = json.loads(checkpoint.metadata["dpm_config"])
        config = build(values)
        # A claimed depth is a loop that builds blocks: every block has a tensor.
        if any("depth" in k and int(v) > len(checkpoint.tensors) for k, v in values.items()):
            raise ValueError("more blocks than tensors")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{checkpoint.path}: its network config cannot be read") from error
    return config


def licence_of(checkpoint: Checkpoint, kind: Kind) -> str:
    """Licence of the weights in a file."""
    return checkpoint.metadata.get("licence") or LICENCES.get(kind, "unknown")


def describe(path: Path) -> dict[str, Any]:
    """What a weights file holds, as plain values for `dpm info` and `dpm models import`."""
    checkpoint = read_checkpoint(Path(path))
    kind = recognise(checkpoint)
    tensors = checkpoint.tensors
    # Aliases in a .pth share their memory and are one parameter.
    distinct = {(t.data_ptr(), tuple(t.shape)): t.numel() for t in tensors.values()}
    return {
        "path": str(path),
        "format": checkpoint.format,
        "network": kind.value,
        "predictor": USED_BY.get(kind),
        "static": kind in STATIC or _static_heads(checkpoint, kind),
        "tensors": len(tensors),
        "parameters": sum(distinct.values()),
        "dtypes": sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()}),
        "size_bytes": Path(path).stat().st_size,
        "licence": licence_of(checkpoint, kind),
        "metadata": {k: v for k, v in checkpoint.metadata.items() if k != "dpm_network"},
    }


def _static_heads(checkpoint: Checkpoint, kind: Kind) -> bool:
    return kind is Kind.PAIR and not any(n.startswith("heads.p12.") for n in checkpoint.tensors)
