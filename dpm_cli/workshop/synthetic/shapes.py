"""Ray intersection and surface gradients of the unit shapes, for lists of rays.

A ray is o + s d with o, d (3, M) in unit coordinates; the affine map keeps s, so with camera rays of z = 1 the
parameter s *is* the depth. Functions return the first s > `near`, or infinity. Analytic shapes are quadrics and slabs
(Glassner, An Introduction to Ray Tracing, ch. 2); superquadrics and sheets are searched in fixed steps and refined.
"""

import torch
from torch import Tensor

from dpm_cli.workshop.synthetic import deform
from dpm_cli.workshop.synthetic.fuse import hot
from dpm_cli.workshop.synthetic.scene import ShapeKind

INF = float("inf")
_STEPS = 16
_REFINEMENTS = 12
_UNROLLED = 4
"""Steps in one hot function: all would be a kernel that takes minutes to compile."""
_Search = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _first(enter: Tensor, leave: Tensor, near: float) -> Tensor:
    """First hit of a convex solid with s in [enter, leave]: the exit is hit where the ray starts inside."""
    s = torch.where(enter > near, enter, leave)
    return s.masked_fill_(~((enter <= leave) & (s > near)), INF)


def _quadric(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Interval where a s^2 + 2 b s + c <= 0 (a > 0); empty intervals come as (inf, -inf)."""
    disc = b * b - a * c
    root = disc.clamp_min(0).sqrt()
    miss = disc < 0
    a = a.clamp_min(1e-20)
    return ((-b - root) / a).masked_fill_(miss, INF), ((-b + root) / a).masked_fill_(miss, -INF)


def _slabs(o: Tensor, d: Tensor, half: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """Interval inside |x_k| <= half_k for the rows k of o and d."""
    inv = 1 / torch.where(d.abs() < 1e-9, torch.full_like(d, 1e-9), d)
    span = half * inv.abs()
    mid = -o * inv
    return (mid - span).amax(0), (mid + span).amin(0)


def ellipsoid(o: Tensor, d: Tensor, near: float) -> Tensor:
    """Unit sphere."""
    return _first(*_quadric((d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - 1), near)


def box(o: Tensor, d: Tensor, near: float) -> Tensor:
    """Cube of half size 1."""
    return _first(*_slabs(o, d), near)


def cone(o: Tensor, d: Tensor, b: Tensor, near: float) -> Tensor:
    """Truncated cone or cylinder about y, see `ShapeKind.CONE`. Its slanted side may open downward along the ray."""
    g = 1 / (1 + b.abs())
    ro, rd = g * (1 + b * o[1]), g * b * d[1]
    qa = d[0] * d[0] + d[2] * d[2] - rd * rd
    qb = o[0] * d[0] + o[2] * d[2] - ro * rd
    qc = o[0] * o[0] + o[2] * o[2] - ro * ro
    top, bottom = _slabs(o[1:2], d[1:2])
    # a < 0: inside is outside the two roots; within the slab (one nappe) one of the half lines is left.
    flat = qa.abs() < 1e-9
    qa = torch.where(flat, torch.full_like(qa, 1e-9), qa)
    disc = qb * qb - qa * qc
    root = disc.clamp_min(0).sqrt()
    s1, s2 = (-qb - root) / qa, (-qb + root) / qa
    low, high = torch.minimum(s1, s2), torch.maximum(s1, s2)
    convex = qa > 0
    miss = convex & (disc < 0)
    enter, leave = torch.maximum(low, top), torch.minimum(high, bottom)
    first_half = top <= torch.minimum(low, bottom)
    enter_open = torch.where(first_half, top, torch.maximum(top, high))
    leave_open = torch.where(first_half, torch.minimum(low, bottom), bottom)
    through = ~convex & (disc < 0)
    enter = torch.where(convex, enter, torch.where(through, top, enter_open))
    leave = torch.where(convex, leave, torch.where(through, bottom, leave_open))
    return _first(enter.masked_fill(miss, INF), leave, near)


def capsule(o: Tensor, d: Tensor, length: Tensor, near: float) -> Tensor:
    """Union of a cylinder |y| <= length and two balls, all convex: the union of their intervals."""
    a = d[0] * d[0] + d[2] * d[2]
    b = o[0] * d[0] + o[2] * d[2]
    c = o[0] * o[0] + o[2] * o[2] - 1
    enter, leave = _quadric(a, b, c)
    top, bottom = _slabs(o[1:2], d[1:2], length)
    enter, leave = torch.maximum(enter, top), torch.minimum(leave, bottom)
    empty = enter > leave
    enter, leave = enter.masked_fill(empty, INF), leave.masked_fill(empty, -INF)
    aa = a + d[1] * d[1]
    for end in (length, -length):
        y = o[1] - end
        e, f = _quadric(aa, b + y * d[1], c + y * y)
        enter, leave = torch.minimum(enter, e), torch.maximum(leave, f)
    return _first(enter, leave, near)


def polytope(o: Tensor, d: Tensor, planes: Tensor, near: float) -> Tensor:
    """Unit box cut by half spaces n.X <= e; planes (24, M) = six times (n, e)."""
    enter, leave = _slabs(o, d)
    for k in range(0, planes.shape[0], 4):
        nx, ny, nz, e = planes[k : k + 4]
        along = nx * d[0] + ny * d[1] + nz * d[2]
        gap = e - (nx * o[0] + ny * o[1] + nz * o[2])
        s = gap / torch.where(along.abs() < 1e-9, torch.full_like(along, 1e-9), along)
        enter = torch.where(along < 0, torch.maximum(enter, s), enter)
        leave = torch.where(along >= 0, torch.minimum(leave, s), leave)
    return _first(enter, leave, near)


def field(kind: ShapeKind, p: Tensor, shape: Tensor, q: Tensor) -> Tensor:
    """Implicit function (M,) at deformed points p (3, M); negative inside (or below a sheet)."""
    if kind == ShapeKind.SHEET:
        return p[2] - deform.sheet_height(p[0], p[1], q)
    x, y, z = deform.unsway_untwist(p, q).abs().clamp_min(1e-6)
    return (x ** shape[0] + z ** shape[0]) ** (shape[1] / shape[0]) + y ** shape[1] - 1


def searched(
    kind: ShapeKind, o: Tensor, d: Tensor, shape: Tensor, q: Tensor, near: float
) -> Tensor:
    """First sign change of `field` along the ray inside the bounding box: equal steps, then regula falsi (Illinois)."""
    enter, leave = _span(kind, o, d, q, near)
    alive = (enter < leave).nonzero()[:, 0]
    out = torch.full_like(o[0], INF)
    if not len(alive):
        return out
    rays = o[:, alive], d[:, alive], shape[:, alive], q[:, alive]
    step = (leave - enter)[alive] / _STEPS
    state = _start(kind, *rays, enter[alive], step)
    for _ in range(_STEPS // _UNROLLED):
        state = _advance(kind, *rays, step, state)
    *ends, found = state[2:]
    for _ in range(_REFINEMENTS // _UNROLLED):
        ends = _narrow(kind, *rays, *ends)
    out[alive] = ends[1].masked_fill(~found, INF)
    return out


@hot
def _span(kind: ShapeKind, o: Tensor, d: Tensor, q: Tensor, near: float) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the bounding box."""
    half = deform.bound(torch.full_like(q[0], int(kind), dtype=torch.long), q.T).T
    enter, leave = _slabs(o, d, half)
    return enter.clamp_min(near), leave


@hot
def _start(kind: ShapeKind, o, d, shape, q, start, step) -> _Search:
    """State of the search before its first step: ray parameter, field, bracket (ends and fields), found."""
    f = field(kind, o + start * d, shape, q)
    return start, f, start, start + step, f, f, torch.zeros_like(start, dtype=torch.bool)


@hot
def _advance(kind: ShapeKind, o, d, shape, q, step, state: _Search) -> _Search:
    """A few steps on; the first in which the field changes sign is the bracket."""
    s, f, lo, hi, f_lo, f_hi, found = state
    for _ in range(_UNROLLED):
        s_next = s + step
        f_next = field(kind, o + s_next * d, shape, q)
        new = ((f > 0) != (f_next > 0)) & ~found
        lo, hi = torch.where(new, s, lo), torch.where(new, s_next, hi)
        f_lo, f_hi = torch.where(new, f, f_lo), torch.where(new, f_next, f_hi)
        found = found | new
        s, f = s_next, f_next
    return s, f, lo, hi, f_lo, f_hi, found


@hot
def _narrow(kind: ShapeKind, o, d, shape, q, lo, hi, f_lo, f_hi) -> tuple[Tensor, ...]:
    """A few steps towards the root of the field in [lo, hi], which `hi` becomes."""
    for _ in range(_UNROLLED):
        gap = f_hi - f_lo
        s = lo - f_lo * (hi - lo) / torch.where(gap == 0, torch.ones_like(gap), gap)
        f = field(kind, o + s * d, shape, q)
        same = (f > 0) == (f_hi > 0)
        # Illinois: the end that stays is halved, so that convergence is superlinear from both sides.
        lo, f_lo = torch.where(same, lo, hi), torch.where(same, f_lo * 0.5, f_hi)
        hi, f_hi = s, f
    return lo, hi, f_lo, f_hi


def gradient(kind: ShapeKind, p: Tensor, shape: Tensor, q: Tensor, planes: Tensor) -> Tensor:
    """Outward gradient (3, M), not normalised, at surface points p (3, M) in deformed unit coordinates."""
    if kind == ShapeKind.ELLIPSOID:
        return p
    if kind == ShapeKind.BOX:
        return _dominant(p)
    if kind == ShapeKind.CONE:
        b = shape[0]
        cap = p[1].abs() > 1 - 1e-4
        slope = -(1 + b * p[1]) * b / (1 + b.abs()) ** 2
        side = torch.stack((p[0], slope, p[2]))
        return torch.where(cap, torch.stack((0 * p[0], p[1], 0 * p[0])), side)
    if kind == ShapeKind.CAPSULE:
        return torch.stack(
            (p[0], p[1] - torch.maximum(torch.minimum(p[1], shape[0]), -shape[0]), p[2])
        )
    if kind == ShapeKind.POLYTOPE:
        return _tightest(p, planes)
    eps = 2e-3
    steps = eps * torch.eye(3, dtype=p.dtype, device=p.device)
    return torch.stack(
        [
            field(kind, p + e[:, None], shape, q) - field(kind, p - e[:, None], shape, q)
            for e in steps
        ]
    )


def main_axis(p: Tensor) -> Tensor:
    """Indicator (3, M), 0 or 1, of the component of p (3, M) with the greatest size.

    Comparisons, because torch's argmax along a leading axis of three costs ten times as much.
    """
    x, y, z = p.abs()
    first = (x >= y) & (x >= z)
    second = ~first & (y >= z)
    return torch.stack((first, second, ~first & ~second)).to(p.dtype)


def _dominant(p: Tensor) -> Tensor:
    """Normal of the cube's face nearest to p."""
    return main_axis(p) * p.sign()


def normalised(p: Tensor) -> Tensor:
    """Unit vectors of p (3, M)."""
    return p * (p[0] * p[0] + p[1] * p[1] + p[2] * p[2]).clamp_min(1e-30).rsqrt()


def _tightest(p: Tensor, planes: Tensor) -> Tensor:
    """Normal of the box face or cutting plane with the least slack at p."""
    x, y, z = p.abs()
    best, normal = 1 - torch.maximum(torch.maximum(x, y), z), _dominant(p)
    for k in range(0, planes.shape[0], 4):
        n, e = planes[k : k + 3], planes[k + 3]
        slack = e - (n * p).sum(0)
        nearer = slack < best
        best, normal = torch.where(nearer, slack, best), torch.where(nearer, n, normal)
    return normal
