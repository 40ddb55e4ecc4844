"""Flow that is given to networks: as DIS says where that holds, from features where the motion is too large."""

import torch
import torch.nn.functional as F

from dpm_cli.matching.dis import pair_flows
from dpm_cli.matching.seeded_flow import seeded_flows

SIZE = (128, 192)
SHIFT = 70


def wide_texture() -> torch.Tensor:
    """(3, 128, 262) of noise at several scales, so that features are found."""
    generator = torch.Generator().manual_seed(4)
    parts = []
    for cells in (8, 16, 32, 64):
        noise = torch.rand(1, 3, cells, 2 * cells, generator=generator)
        parts.append(F.interpolate(noise, (SIZE[0], SIZE[1] + SHIFT), mode="bicubic"))
    total = torch.stack(parts).mean(0)[0]
    return ((total - total.min()) / (total.max() - total.min())).float()


def shifted(shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    wide = wide_texture()
    return wide[None, :, :, : SIZE[1]], wide[None, :, :, shift : shift + SIZE[1]]


def test_a_motion_too_large_for_dis_is_found():
    first, second = shifted(SHIFT)
    inner = (slice(None), slice(None), slice(8, -8), slice(SHIFT + 8, -8))
    truth = torch.tensor((-float(SHIFT), 0.0))
    plain = (pair_flows(first, second)[:, :1][inner] - truth).norm(dim=-1)
    found = (seeded_flows(first, second, 1)[:, :1][inner] - truth).norm(dim=-1)
    assert plain.mean() > 10
    assert found.mean() < 1


def test_motion_that_dis_finds_is_found_no_worse():
    first, second = shifted(5)
    inner = (slice(None), slice(None), slice(8, -8), slice(13, -8))
    truth = torch.tensor((-5.0, 0.0))
    plain, found = (
        (flow[:, :1][inner] - truth).norm(dim=-1).mean()
        for flow in (pair_flows(first, second), seeded_flows(first, second, 1))
    )
    assert found <= plain
    assert found < 0.5


def test_images_without_features_keep_what_dis_says():
    """Noise and a flat picture: nothing comes back, and there is nothing to start from."""
    first = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 0.02
    flat = torch.full((1, 3, *SIZE), 0.9)
    assert torch.equal(seeded_flows(first, flat, 1), pair_flows(first, flat))
