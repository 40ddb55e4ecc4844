"""Small random networks whose every parameter matters, and their state under the public names."""

import dataclasses
import math

import torch

from dpm_cli.network.large import PairNetwork
from dpm_cli.network.moge.config import MogeConfig
from dpm_cli.network.moge.model import MogeNetwork
from dpm_cli.network.pair_config import PAIR_SIZES, STATIC_MAPS
from dpm_cli.network.vggt.config import MultiViewConfig
from dpm_cli.network.vggt.multi_view import MultiViewNetwork

TINY = PAIR_SIZES["tiny-pair"]
TINY_STATIC = dataclasses.replace(TINY, maps=STATIC_MAPS)
TINY_VDPM = MultiViewConfig(
    width=64,
    vit_depth=2,
    vit_heads=1,
    position_grid=5,
    registers=2,
    depth=4,
    heads=2,
    hooks=(0, 1, 2, 3),
    decoder_depth=2,
    decoder_heads=2,
    camera_depth=1,
    camera_heads=1,
    dpt_features=16,
    dpt_levels=(8, 12, 16, 16),
)
TINY_MOGE = MogeConfig(
    width=64,
    depth=2,
    heads=1,
    position_grid=5,
    taps=(0, 1),
    encoder_channels=12,
    levels=(12, 10, 8, 6, 4),
    scale_hidden=(10,),
)


def perturb(network, seed=0):
    """Random values everywhere: fresh biases, norms and layer scales would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in network.named_parameters():
            scale = math.prod(p.shape[1:]) ** -0.5 if p.dim() > 1 else 0.2
            noise = torch.randn(p.shape, generator=generator) * scale
            p.copy_(noise + (1 if name.endswith("weight") and p.dim() == 1 else 0))
    return network.eval()


def tiny_pair(config=TINY):
    return perturb(PairNetwork(config))


def tiny_multi_view(config=TINY_VDPM):
    return perturb(MultiViewNetwork(config))


def tiny_moge(config=TINY_MOGE):
    """A random MoGe whose maps look like a pinhole view: its finest u and v reach the points."""
    network = perturb(MogeNetwork(config))
    network.encoder.image_mean.fill_(0.45)
    network.encoder.image_std.fill_(0.23)
    gains = {
        "neck.input_blocks.4.weight": 3.0,
        "points_head.input_blocks.4.weight": 2.0,
        "points_head.output_blocks.4.weight": 0.5,
    }
    with torch.no_grad():
        for name, gain in gains.items():
            weight = network.get_parameter(name)
            weight.mul_(0.2)
            weight[[0, 1], [0, 1]] += gain
    return network


def public_moge(network):
    """What a public MoGe file holds: the tensors, one that nothing reads, and the config that names the layers."""
    model = {"encoder.backbone.mask_token": torch.zeros(1, network.config.width)}
    model |= network.state_dict()
    config = {"encoder": {"intermediate_layers": list(network.config.taps)}, "remap_output": "exp"}
    return {"model_config": config, "model": model}


def images(count, height, width, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def public_state(network, *, aliases=True):
    """A static network's state as a DUSt3R file has it: other names, aliases, tensors that nothing reads."""
    out = {"mask_token": torch.randn(1, 1, network.config.dec_width)}
    for name, value in network.state_dict().items():
        inner = ".dpt." if network.config.head == "dpt" else "."
        public = name.replace("heads.p11.", f"downstream_head1{inner}").replace(
            "heads.p22.", f"downstream_head2{inner}"
        )
        out[public] = value
        if "scratch.layer" in name and aliases:
            level = int(public.split("scratch.layer")[1][0])
            out[public.replace(f"layer{level}_rn", f"layer_rn.{level - 1}")] = value
        if "refinenet4.resConfUnit2" in name:
            out[public.replace("resConfUnit2", "resConfUnit1")] = torch.randn(value.shape)
    return out
