"""The multi-view network: only what is asked for is decoded, and nothing changes by that."""

import dataclasses

import pytest
import torch
from network_helpers import TINY_VDPM, images, tiny_multi_view

from dpm_cli.network.vggt import multi_view
from dpm_cli.network.vggt.multi_view import MultiViewNetwork

FRAMES = 4


@pytest.fixture(scope="module")
def network():
    return tiny_multi_view()


@pytest.fixture(scope="module")
def window(network):
    with torch.no_grad():
        return network.aggregate(network.encode(images(FRAMES, 28, 42))[None])


def assert_near(ours, reference):
    assert (ours - reference).abs().max() < 1e-5 * reference.abs().max()


@pytest.mark.parametrize("sources", [slice(0, 1), slice(1, 3), slice(3, 4), slice(0, 4)])
@torch.no_grad()
def test_decoding_some_source_frames_equals_those_of_all(network, window, sources):
    points, certainty = network.maps(window, 2)
    some, sure = network.maps(window, 2, sources)
    assert_near(some, points[:, sources])
    assert_near(sure, certainty[:, sources])


@torch.no_grad()
def test_the_target_time_matters_for_every_frame(network, window):
    difference = (network.maps(window, 0)[0] - network.maps(window, 3)[0]).abs().amax((0, 2, 3, 4))
    assert (difference > 1e-4).all()


@torch.no_grad()
def test_levels_one_by_one_and_heads_in_chunks_change_nothing(network, window, monkeypatch):
    together = network.maps(window, 1)[0]
    monkeypatch.setattr(multi_view, "DECODER_TOKENS", 1)
    monkeypatch.setattr(multi_view, "HEAD_FRAMES", 1)
    assert_near(network.maps(window, 1)[0], together)


@torch.no_grad()
def test_a_batch_of_windows_equals_its_singles(network):
    tokens = network.encode(images(6, 28, 42)).unflatten(0, (2, 3))
    both = network.aggregate(tokens)
    points, encoding = network.maps(both, 1)[0], network.cameras(both)[-1]
    for i in range(2):
        single = network.aggregate(tokens[i : i + 1])
        assert_near(network.maps(single, 1)[0][0], points[i])
        assert_near(network.cameras(single)[-1][0], encoding[i])


@torch.no_grad()
def test_only_the_hooked_layers_are_kept(network):
    deep = dataclasses.replace(TINY_VDPM, depth=8, hooks=(1, 3, 5, 7))
    tokens = MultiViewNetwork(deep).eval().aggregate(network.encode(images(2, 28, 42))[None])
    assert len(tokens.layers) == 4


@torch.no_grad()
def test_without_a_time_decoder_every_time_is_the_frames_own(window):
    static = tiny_multi_view(dataclasses.replace(TINY_VDPM, decoder_depth=0, depth_head=True))
    tokens = static.aggregate(static.encode(images(2, 28, 42))[None])
    assert_near(static.maps(tokens, 0)[0], static.maps(tokens, 1)[0])
    depth, certainty = static.depths(tokens)
    assert depth.shape == certainty.shape == (1, 2, 28, 42)
    assert (depth > 0).all()
