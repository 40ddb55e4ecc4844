"""From a state dict or a file to a network: built on the meta device, filled without a copy, strictly.

Peak memory is the network itself: parameters are the file's own mapped pages until they are changed or moved.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dpm_cli.errors import WeightsError
from dpm_cli.network.large import PairNetwork
from dpm_cli.network.moge.model import MogeNetwork
from dpm_cli.network.pair_config import ALL_MAPS, PairConfig
from dpm_cli.network.vggt.config import MultiViewConfig
from dpm_cli.network.vggt.multi_view import MultiViewNetwork
from dpm_cli.weights.checkpoint import Checkpoint
from dpm_cli.weights.convert import (
    Shapes,
    duplicate_heads,
    moge_config,
    moge_state,
    multi_view_config,
    multi_view_state,
    pair_config,
    pair_state,
)
from dpm_cli.weights.inspect import Kind, own_config, recognise, shapes_of

NAMED = 3
"""Names of wrong tensors that an error message shows."""
Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


def load_pair_network(checkpoint: Checkpoint, *, all_heads: bool = False) -> PairNetwork:
    """Network of our own, a DUSt3R or a MonST3R file.

    Args:
        checkpoint: what `read_checkpoint` found.
        all_heads: give a static file's heads to the other time too, as parameters of their own: the start of
            training. Without, a static network runs its two heads once and answers the same for both times.

    Raises:
        WeightsError: the file is of another network, or a tensor is missing, too much or of a wrong shape.
    """
    kind = recognise(checkpoint)
    if kind is Kind.PAIR:
        state = dict(checkpoint.tensors)
        config = own_config(checkpoint, PairConfig.from_dict)
    elif kind is Kind.DUST3R:
        state = pair_state(checkpoint.tensors)
        config = fitting(pair_config, state, checkpoint.arguments, str(checkpoint.path))
    else:
        raise WeightsError(f"{checkpoint.path}: holds {kind.value}, not a pair network")
    if all_heads and set(config.maps) != set(ALL_MAPS):
        copies = {k: v.clone() for k, v in duplicate_heads(state).items() if k not in state}
        state, config = {**state, **copies}, replace(config, maps=ALL_MAPS)
    return fill(lambda: PairNetwork(config), state, str(checkpoint.path))


def load_multi_view_network(checkpoint: Checkpoint) -> MultiViewNetwork:
    """Network of a V-DPM or VGGT file, or of our own copy of one."""
    kind = recognise(checkpoint)
    if kind is Kind.MULTI_VIEW:
        config = own_config(checkpoint, MultiViewConfig.from_dict)
        return fill(lambda: MultiViewNetwork(config), checkpoint.tensors, str(checkpoint.path))
    if kind not in (Kind.VDPM, Kind.VGGT):
        raise WeightsError(f"{checkpoint.path}: holds {kind.value}, not V-DPM or VGGT")
    return multi_view_from_state(
        checkpoint.tensors, checkpoint.arguments, str(checkpoint.path), time=kind is Kind.VDPM
    )


def multi_view_from_state(
    tensors: Mapping[str, Tensor], arguments: Mapping[str, Any], source: str, *, time: bool
) -> MultiViewNetwork:
    """Network of a public state dict."""
    state = multi_view_state(tensors, time=time)
    config = fitting(multi_view_config, state, arguments, source)
    return fill(lambda: MultiViewNetwork(config), state, source)


def load_moge_network(checkpoint: Checkpoint) -> MogeNetwork:
    """Network of a MoGe-2 file of any released size."""
    kind = recognise(checkpoint)
    if kind is not Kind.MOGE:
        raise WeightsError(f"{checkpoint.path}: holds {kind.value}, not MoGe-2")
    return moge_from_state(checkpoint.tensors, checkpoint.arguments, str(checkpoint.path))


def moge_from_state(
    tensors: Mapping[str, Tensor], arguments: Mapping[str, Any], source: str
) -> MogeNetwork:
    """Network of a public state dict; `arguments` is the `model_config` beside it, if any."""
    state = moge_state(tensors)
    config = fitting(moge_config, state, arguments, source)
    return fill(lambda: MogeNetwork(config), state, source)


def fitting(
    infer: Callable[[Shapes, Mapping[str, Any]], Config],
    state: Mapping[str, Tensor],
    arguments: Mapping[str, Any],
    source: str,
) -> Config:
    """Config that `infer` reads from the shapes; a tensor that it looks for and does not find is an error."""
    try:
        return infer(shapes_of(state), arguments)
    except KeyError as error:
        raise WeightsError(
            f"{source}: does not fit the network: 1 missing ({error.args[0]})"
        ) from error
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        raise WeightsError(f"{source}: its tensors do not describe a network ({error})") from error


def fill(build: Callable[[], Network], state: Mapping[str, Tensor], source: str) -> Network:
    """Build on the meta device and take the tensors as they are; every name and shape must fit."""
    try:
        with torch.device("meta"):
            network = build()
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{source}: its config does not describe a network") from error
    require_match(shapes_of(network.state_dict()), shapes_of(state), source)
    full = {name: tensor.float() for name, tensor in state.items()}
    network.load_state_dict(full, strict=True, assign=True)
    return network.eval()


def require_match(
    wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]], source: str
) -> None:
    """Raise WeightsError that names what is missing, too much, or of another shape."""
    faults = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "wrong shape": [
            f"{name} {given[name]} instead of {wanted[name]}"
            for name in wanted
            if name in given and given[name] != wanted[name]
        ],
    }
    said = [
        f"{len(names)} {fault} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
        for fault, names in faults.items()
        if names
    ]
    if said:
        raise WeightsError(f"{source}: does not fit the network: {'; '.join(said)}")
