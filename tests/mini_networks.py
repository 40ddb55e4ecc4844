"""A mini network that is not trained but says something."""

import torch

from dpm_cli.network.mini import PRESETS, MiniNetwork


def shaken_network() -> MiniNetwork:
    """The tiny one, with outputs that are not zero; always the same."""
    torch.manual_seed(0)
    network = MiniNetwork(PRESETS["tiny"]).eval()
    with torch.no_grad():
        for layer in (network.camera, network.head, network.coarse):
            layer.weight.normal_(std=0.05)
    return network
