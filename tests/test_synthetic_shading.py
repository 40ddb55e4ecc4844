import pytest
import torch
from synthetic_reference import light_is_blocked

from dpm_cli.workshop.synthetic import render_clips, scene_seed, shading
from dpm_cli.workshop.synthetic.raycast import make_tables
from dpm_cli.workshop.synthetic.shadows import in_shadow
from dpm_cli.workshop.synthetic.textures import SIDE, gather_textures, make_texture
from dpm_cli.workshop.synthetic.world import build_world


@pytest.fixture(scope="module")
def texture():
    texels, start = gather_textures(torch.tensor([1]), torch.tensor([[4]]))
    return texels, start[0], torch.from_numpy(make_texture(1, 4))


def look(texture, u, v, level):
    texels, start, _ = texture
    u, v = torch.as_tensor(u, dtype=torch.float32), torch.as_tensor(v, dtype=torch.float32)
    return shading.texture_lookup(texels, start.expand(len(u)), u, v, torch.full_like(u, level)).T


def test_texel_centres_have_the_texels_colour(texture):
    x, y = torch.tensor([3, 100, 255]), torch.tensor([7, 0, 255])
    assert torch.allclose(look(texture, x + 0.5, y + 0.5, 0.0), texture[2][y, x], atol=3e-3)


def test_textures_repeat(texture):
    u, v = torch.rand(50) * SIDE, torch.rand(50) * SIDE
    assert torch.allclose(
        look(texture, u, v, 1.3), look(texture, u - SIDE, v + 2 * SIDE, 1.3), atol=2e-3
    )


def test_coarse_levels_are_means(texture):
    mean = texture[2].mean((0, 1))
    assert torch.allclose(look(texture, [10.0], [99.0], 8.0)[0], mean, atol=0.02)
    block = texture[2][64:68, 128:132].mean((0, 1))
    assert torch.allclose(look(texture, [130.0], [66.0], 2.0)[0], block, atol=0.02)


def test_between_levels_is_between(texture):
    fine, coarse, middle = (look(texture, [40.0], [50.0], n) for n in (1.0, 2.0, 1.25))
    assert torch.allclose(middle, 0.75 * fine + 0.25 * coarse, atol=1e-5)


def test_shadows_equal_those_of_single_rays():
    seeds = torch.tensor([scene_seed("val", i) for i in range(40, 46)])
    world, clips = build_world(seeds), render_clips(seeds, 1, (24, 32))
    motion = world.motion(torch.zeros(len(seeds), 1))
    tables = make_tables(world.objects, motion)
    points = clips.points(0, 0).flatten(1, 2) + 0.03 * world.looks.light[:, None]
    found = in_shadow(points, world.looks.light, tables, motion.scale[:, 0])
    for f in range(len(seeds)):
        slow = light_is_blocked(tables, f, points[f], world.looks.light[f])
        assert (slow == found[f]).float().mean() > 0.999
    assert 0.05 < found.float().mean() < 0.8
