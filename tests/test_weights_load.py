"""Weight files: official layouts, our own, and everything that must be refused."""

import argparse
import dataclasses
import json
import os

import pytest
import torch
from network_helpers import (
    TINY,
    TINY_STATIC,
    TINY_VDPM,
    images,
    perturb,
    public_state,
    tiny_multi_view,
    tiny_pair,
)
from safetensors.torch import save_file

from dpm_cli.network.large import PairNetwork
from dpm_cli.network.vggt.multi_view import MultiViewNetwork
from dpm_cli.weights.checkpoint import read_checkpoint, save_checkpoint
from dpm_cli.weights.inspect import describe
from dpm_cli.weights.load import load_multi_view_network, load_pair_network

# Widths whose head counts the 64-channel rule gives, so that a file without arguments is understood too.
WIDE = dataclasses.replace(TINY_STATIC, enc_width=128, enc_heads=2, dec_width=64, dec_heads=1)
MODEL = (
    "AsymmetricCroCo3DStereo(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), "
    "head_type='dpt', output_mode='pts3d', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), "
    "enc_embed_dim=128, enc_depth=2, enc_num_heads=4, dec_embed_dim=64, dec_depth=4, dec_num_heads=2)"
)


@pytest.fixture(scope="module")
def static():
    return perturb(PairNetwork(WIDE))


def same_answer(a, b):
    pair = images(1, 32, 48), images(1, 32, 48, seed=1)
    with torch.no_grad():
        return torch.equal(a(*pair).points, b(*pair).points)


def save_pth(path, network, model: str | None = MODEL, **extra):
    args = argparse.Namespace(model=model, lr=1e-4, output_dir="x")
    torch.save({"model": public_state(network), "args": args, "epoch": 3, **extra}, path)


def test_pth_with_namespace_aliases_and_stored_head_counts(tmp_path):
    network = perturb(PairNetwork(dataclasses.replace(WIDE, enc_heads=4, dec_heads=2)))
    save_pth(tmp_path / "a.pth", network, best_so_far=0.1)
    loaded = load_pair_network(read_checkpoint(tmp_path / "a.pth"))
    assert (loaded.config.enc_heads, loaded.config.dec_heads) == (4, 2)
    assert same_answer(loaded, network)


def test_safetensors_without_aliases_and_a_config_with_infinity(tmp_path, static):
    save_file(
        public_state(static, aliases=False),
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = {
        "enc_num_heads": 2,
        "dec_num_heads": 1,
        "depth_mode": ["exp", float("-inf"), float("inf")],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "Infinity" in (tmp_path / "config.json").read_text()
    assert same_answer(load_pair_network(read_checkpoint(tmp_path / "model.safetensors")), static)


def test_file_without_arguments_has_64_channels_a_head(tmp_path, static):
    torch.save(public_state(static), tmp_path / "plain.pt")
    assert same_answer(load_pair_network(read_checkpoint(tmp_path / "plain.pt")), static)


def test_old_pickle_format_is_read_too(tmp_path, static):
    state = public_state(static)
    torch.save({"model": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same_answer(load_pair_network(read_checkpoint(tmp_path / "old.pth")), static)


def test_linear_head(tmp_path):
    network = perturb(PairNetwork(dataclasses.replace(WIDE, head="linear")))
    torch.save(public_state(network), tmp_path / "linear.pt")
    assert same_answer(load_pair_network(read_checkpoint(tmp_path / "linear.pt")), network)


def test_training_starts_from_heads_that_are_copies(tmp_path, static):
    save_pth(tmp_path / "a.pth", static, model=None)
    network = load_pair_network(read_checkpoint(tmp_path / "a.pth"), all_heads=True)
    assert network.config.maps == TINY.maps
    assert same_answer(network, static)
    heads = dict(network.heads.items())
    memory = {name: {p.data_ptr() for p in head.parameters()} for name, head in heads.items()}
    assert not memory["p11"] & memory["p12"]
    assert not memory["p22"] & memory["p21"]


def test_our_own_file_round_trip(tmp_path):
    network = tiny_pair()
    path = tmp_path / "own.safetensors"
    config = network.config.as_dict()
    save_checkpoint(
        path, network.state_dict(), network="pair", config=config, licence="MIT", steps="7"
    )
    found = describe(path)
    assert (found["network"], found["licence"], found["static"]) == (
        "a dpm pair network",
        "MIT",
        False,
    )
    assert found["metadata"]["steps"] == "7"
    assert found["parameters"] == sum(p.numel() for p in network.parameters())
    assert same_answer(load_pair_network(read_checkpoint(path)), network)


@pytest.mark.parametrize("time", [True, False])
def test_vdpm_and_vggt_files(tmp_path, time):
    config = dataclasses.replace(
        TINY_VDPM, width=128, vit_heads=2, camera_heads=2, dpt_levels=(8, 8, 16, 16)
    )
    config = dataclasses.replace(config, depth=24, hooks=(4, 11, 17, 23), camera_iterations=4)
    if not time:
        config = dataclasses.replace(config, decoder_depth=0, decoder_heads=16, depth_head=True)
    network = tiny_multi_view(config)
    state = network.state_dict() | {"aggregator.patch_embed.mask_token": torch.zeros(1, 128)}
    state |= {"track_head.tracker.query_ref_token": torch.zeros(1, 2, 388)}
    if time:
        state |= {"depth_head.norm.weight": torch.zeros(4)}
    torch.save(state, tmp_path / "model.pt")
    loaded = load_multi_view_network(read_checkpoint(tmp_path / "model.pt"))
    assert isinstance(loaded, MultiViewNetwork)
    assert loaded.config == config
    assert describe(tmp_path / "model.pt")["static"] is not time
    with torch.no_grad():
        a, b = (n.aggregate(n.encode(images(2, 28, 28))[None]) for n in (network, loaded))
        assert torch.equal(network.maps(a, 1)[0], loaded.maps(b, 1)[0])


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads Linux's memory counters")
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_loading_maps_the_file_and_copies_nothing(tmp_path, suffix):
    config = dataclasses.replace(WIDE, enc_width=512, enc_heads=8, enc_depth=6)
    path = tmp_path / f"large.{suffix}"
    if suffix == "pth":
        torch.save({"model": public_state(PairNetwork(config))}, path)
    else:
        save_file(public_state(PairNetwork(config), aliases=False), path)
    before = private_bytes()
    network = load_pair_network(read_checkpoint(path))
    checksum = sum(float(p.detach().sum()) for p in network.parameters())
    assert checksum == checksum
    assert path.stat().st_size > 70e6
    assert private_bytes() - before < 20e6


def private_bytes():
    """Memory of this process that no file backs."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
