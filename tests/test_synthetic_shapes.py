"""Each shape against its own definition: along many rays, where is the first point inside?"""

import numpy as np
import pytest
import torch

from dpm_cli.workshop.synthetic import deform, shapes
from dpm_cli.workshop.synthetic.scene import ShapeKind

RAYS, SAMPLES = 400, 4001


@pytest.fixture(scope="module")
def rays():
    generator = torch.Generator().manual_seed(5)
    start = torch.nn.functional.normalize(torch.randn(3, RAYS, generator=generator), dim=0) * 4
    aim = 1.2 * torch.randn(3, RAYS, generator=generator).clamp(-1, 1)
    return start.contiguous(), ((aim - start) / 4).contiguous()


def first_inside(inside, start, direction, reach=8.0):
    """First of SAMPLES equal steps along each ray that lies inside, infinity where none does."""
    s = torch.linspace(0, reach, SAMPLES)
    points = start[:, :, None] + direction[:, :, None] * s
    hit = inside(points)
    first = s[hit.float().argmax(1)]
    return torch.where(hit.any(1), first, float("inf"))


def agree(found, sampled, reach=8.0):
    """Same hits within one sample step; at most 2 % of the rays may graze between samples."""
    both = found.isfinite() & sampled.isfinite()
    assert both.sum() > 0.2 * RAYS
    assert (found.isfinite() != sampled.isfinite()).float().mean() < 0.02
    step = reach / (SAMPLES - 1)
    late = (sampled - found)[both]
    assert (late.abs() > 1.1 * step).float().mean() < 0.02


def test_ellipsoid(rays):
    agree(
        shapes.ellipsoid(rays[0], rays[1], 0.0),
        first_inside(lambda p: (p * p).sum(0) < 1, rays[0], rays[1]),
    )


def test_box(rays):
    agree(
        shapes.box(rays[0], rays[1], 0.0),
        first_inside(lambda p: p.abs().amax(0) < 1, rays[0], rays[1]),
    )


@pytest.mark.parametrize("taper", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_cone(rays, taper):
    def inside(p):
        radius = (1 + taper * p[1]) / (1 + abs(taper))
        return (p[0] ** 2 + p[2] ** 2 < radius**2) & (p[1].abs() < 1)

    agree(
        shapes.cone(rays[0], rays[1], torch.full((RAYS,), taper), 0.0),
        first_inside(inside, rays[0], rays[1]),
    )


@pytest.mark.parametrize("length", [0.2, 1.5])
def test_capsule(rays, length):
    def inside(p):
        return p[0] ** 2 + (p[1] - p[1].clamp(-length, length)) ** 2 + p[2] ** 2 < 1

    agree(
        shapes.capsule(rays[0], rays[1], torch.full((RAYS,), length), 0.0),
        first_inside(inside, rays[0], rays[1]),
    )


def test_polytope(rays):
    normals = torch.nn.functional.normalize(
        torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    offsets = torch.linspace(0.5, 0.9, 6)

    def inside(p):
        cut = torch.einsum("kc,cms->kms", normals, p) < offsets[:, None, None]
        return cut.all(0) & (p.abs().amax(0) < 1)

    planes = torch.cat((normals, offsets[:, None]), 1).reshape(24, 1).expand(24, RAYS)
    agree(shapes.polytope(rays[0], rays[1], planes, 0.0), first_inside(inside, rays[0], rays[1]))


def test_bent_superquadric(rays):
    q = torch.tensor((0.2, 0.5, -0.15, 1.0, 2.0, 0.6, 0, 0))[:, None]
    shape = torch.tensor((2.5, 4.0))[:, None]

    def inside(p):
        x, y, z = deform.unsway_untwist(p.flatten(1), q).abs()
        value = (x**2.5 + z**2.5) ** (4 / 2.5) + y**4
        return (value < 1).view(p.shape[1:])

    found = shapes.searched(
        ShapeKind.SUPERQUADRIC, rays[0], rays[1], shape.expand(-1, RAYS), q.expand(-1, RAYS), 0.0
    )
    agree(found, first_inside(inside, rays[0], rays[1]))


def test_sheet_hits_lie_on_the_wave(rays):
    q = torch.tensor((0.2, 2.0, 1.0, 0.3, 0.05, -3.0, 4.0, 1.0))[:, None].expand(-1, RAYS)
    s = shapes.searched(ShapeKind.SHEET, rays[0], rays[1], torch.zeros(2, RAYS), q, 0.0)
    hit = s.isfinite()
    assert hit.sum() > 0.2 * RAYS
    x, y, z = (rays[0] + s * rays[1])[:, hit]
    height = 0.2 * np.sin(2 * x + y + 0.3) + 0.05 * np.sin(-3 * x + 4 * y + 1)
    assert (z - height).abs().max() < 2e-4
    assert max(x.abs().max(), y.abs().max()) < 1 + 1e-5


@pytest.mark.parametrize(
    "kind",
    [ShapeKind.ELLIPSOID, ShapeKind.BOX, ShapeKind.CONE, ShapeKind.CAPSULE, ShapeKind.POLYTOPE],
)
def test_gradients_point_against_the_ray_on_entry(rays, kind):
    shape = torch.tensor((0.4, 2.0))[:, None].expand(2, RAYS)
    planes = torch.tensor((0.6, 0.8, 0.0, 0.7) * 6)[:, None].expand(24, RAYS)
    solvers = {
        ShapeKind.ELLIPSOID: lambda o, d: shapes.ellipsoid(o, d, 0.0),
        ShapeKind.BOX: lambda o, d: shapes.box(o, d, 0.0),
        ShapeKind.CONE: lambda o, d: shapes.cone(o, d, shape[0], 0.0),
        ShapeKind.CAPSULE: lambda o, d: shapes.capsule(o, d, shape[0], 0.0),
        ShapeKind.POLYTOPE: lambda o, d: shapes.polytope(o, d, planes, 0.0),
    }
    s = solvers[kind](rays[0], rays[1])
    hit = s.isfinite()
    gradient = shapes.gradient(kind, rays[0] + s.nan_to_num(0, 0) * rays[1], shape, shape, planes)
    along = (gradient * rays[1]).sum(0)[hit]
    assert (along < 1e-3).float().mean() > 0.99


def test_deformations_invert():
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(3, 300, generator=generator), torch.randn(8, 300, generator=generator)
    kind = torch.randint(1, 8, (300,), generator=generator)
    there = deform.apply(kind, p, q)
    assert (deform.apply(kind, there, q, inverse=True) - p).abs().max() < 1e-5
    bent = (kind == ShapeKind.SUPERQUADRIC) | (kind == ShapeKind.SHEET)
    assert torch.equal(there[:, ~bent], p[:, ~bent])
    assert ((there - p)[:, bent].abs().amax(0) > 1e-3).float().mean() > 0.95
