"""A trained mini network made deeper: it says the same as before, and has more to learn with.

New attention layers and residual blocks follow the trained ones of their kind. Both add to what passes through them,
and the last matrix of what they add starts at zero (Net2Net, Chen et al., ICLR 2016: growth that keeps the function).
"""

from dataclasses import asdict, replace

import torch

from dpm_cli.errors import UsageError
from dpm_cli.network.mini import MiniConfig, MiniNetwork
from dpm_cli.network.mini.layers import AttentionLayer, ResidualBlock

_DEPTHS = ("layers", "blocks_quarter", "blocks_eighth")


def can_grow(small: MiniConfig, large: MiniConfig) -> bool:
    """Whether `large` has the widths of `small` and nowhere fewer layers."""
    old, new = asdict(small), asdict(large)
    return all(new[k] >= old[k] if k in _DEPTHS else new[k] == old[k] for k in old)


@torch.no_grad()
def grow(network: MiniNetwork, config: MiniConfig) -> MiniNetwork:
    """A new network of size `config` that says what `network` says.

    Raises:
        UsageError: `config` is no deeper version of the network's.
    """
    if not can_grow(network.config, config):
        raise UsageError("a network can only grow in depth: leave --preset out")
    grown = MiniNetwork(config)
    trained = network.state_dict()
    grown.load_state_dict(trained, strict=False)
    for name, module in grown.named_modules():
        if isinstance(module, AttentionLayer) and f"{name}.out.weight" not in trained:
            last = (module.out, module.fall)
        elif isinstance(module, ResidualBlock) and f"{name}.second.weight" not in trained:
            last = (module.second,)
        else:
            continue
        for layer in last:
            for parameter in layer.parameters():
                torch.nn.init.zeros_(parameter)
    return grown


@torch.no_grad()
def with_told_decoder(network: MiniNetwork) -> MiniNetwork:
    """The same network with a second decoder for a depth prior: its own if it has one, else a copy of the first."""
    told = MiniNetwork(replace(network.config, told=True))
    trained = network.state_dict()
    if network.told is None:
        names = [n for n in told.state_dict() if n.startswith("told.")]
        copies = {n: trained[n.removeprefix("told.")] for n in names if n[5:] in trained}
        trained = trained | copies
    told.load_state_dict(trained, strict=False)
    return told
