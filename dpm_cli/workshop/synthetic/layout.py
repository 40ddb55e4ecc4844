"""Where things stand: room or open ground, static clutter, movers with limbs; all drawn from a seed.

Objects are placed in the first camera's view, on the floor or in the air, with apparent sizes and speeds (shares of the
image width per frame) drawn as in ordinary video; metric numbers follow from their depth.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import so3_exp
from dpm_cli.workshop.synthetic.object_paths import ObjectPaths
from dpm_cli.workshop.synthetic.scene import Room, SceneObjects, ShapeKind
from dpm_cli.workshop.synthetic.seeds import Draw

STATICS = 9
GROUPS = 5
PARTS = 3
SLOTS = 1 + STATICS + GROUPS * PARTS
_KIND_WEIGHTS = (0.0, 0.2, 0.2, 0.16, 0.1, 0.14, 0.12, 0.08)


@dataclass(frozen=True, eq=False)
class Stage:
    """The space that objects are put into."""

    distance: Tensor
    """(B,) typical distance of things from the first camera."""
    floor: Tensor
    """(B,) y of the floor."""
    focal: Tensor
    """(B,) focal length / image width."""
    base: Tensor
    """(B, 3) axis-angle of the first camera."""
    room: Room
    yaw: Tensor
    """(B,) of the room."""


def draw_room(draw: Draw, distance: Tensor, floor: Tensor) -> tuple[Room, Tensor]:
    """Room or open ground about the origin and its yaw (B,)."""
    outdoor = draw.chance("room/outdoor", p=0.45)
    near = draw.log_uniform("room/walls", 4, low=1.1, high=3.2)
    far = draw.log_uniform("room/far_walls", 4, low=3, high=14)
    walls = torch.where(outdoor[:, None], far, near) * distance[:, None]
    ceiling = -draw.log_uniform("room/ceiling", low=0.5, high=1.6) * distance
    wall_height = draw.uniform("room/wall_height", low=-0.6, high=1.6).clamp_min(0) * distance
    top = torch.where(outdoor, floor - wall_height, ceiling)
    roof = torch.where(outdoor, -1e4 * torch.ones_like(top), ceiling)
    low = torch.stack((-walls[:, 0], roof, -walls[:, 1]), -1)
    high = torch.stack((walls[:, 2], floor, walls[:, 3]), -1)
    return Room(low=low, high=high, wall_top=top, open=outdoor), draw.uniform(
        "room/yaw", low=-0.9, high=0.9
    )


def _places(draw: Draw, name: str, n: int, stage: Stage, radius_y: Tensor):
    """Centres (B, n, 3) in the first camera's view; radius_y (B, n) is the half height per unit of depth."""
    depth = stage.distance[:, None] * draw.log_uniform(name + "/depth", n, low=0.55, high=2.2)
    half = 0.5 / stage.focal[:, None]
    x = draw.uniform(name + "/x", n, low=-1.0, high=1.0) * half * depth
    y = draw.uniform(name + "/y", n, low=-0.75, high=0.75) * half * 0.7 * depth
    base = so3_exp(stage.base)
    centre = (base[:, None] @ torch.stack((x, y, depth), -1)[..., None])[..., 0]
    rests = draw.chance(name + "/rests", n, p=0.65)
    on_floor = stage.floor[:, None] - radius_y * depth
    height = torch.where(rests, on_floor, torch.minimum(centre[..., 1], on_floor))
    return torch.stack((centre[..., 0], height, centre[..., 2]), -1), depth, rests


def _sizes(draw: Draw, name: str, n: int, focal: Tensor, low: float, high: float) -> Tensor:
    """Half sizes (B, n, 3) per unit of depth, from apparent radii as shares of the image width."""
    apparent = draw.log_uniform(name + "/apparent", n, low=low, high=high) / focal[:, None]
    aspect = draw.log_uniform(name + "/aspect", n, 3, low=0.5, high=1.7)
    return apparent[..., None] * aspect


def _kinds(draw: Draw, name: str, n: int) -> Tensor:
    return draw.choice(name + "/kind", _KIND_WEIGHTS, n)


def draw_objects(draw: Draw, stage: Stage) -> tuple[SceneObjects, ObjectPaths]:
    """All slots of B scenes and their paths; slot 0 is the background."""
    statics = _statics(draw, stage)
    movers = _movers(draw, stage)
    background = {k: torch.zeros_like(v[:, :1]) for k, v in statics.items()}
    background["size"] = torch.ones_like(background["size"])
    background["active"] = torch.ones_like(background["active"])
    background["attitude"][..., 1] = stage.yaw[:, None]
    rows = {k: torch.cat((background[k], statics[k], movers[k]), 1) for k in statics}
    objects = SceneObjects(
        **{k: rows.pop(k) for k in ("kind", "active", "shape", "planes", "mover", "instance")},
        size=rows["size"],
    )
    return objects, ObjectPaths(**rows)


def _blank(draw: Draw, n: int) -> dict[str, Tensor]:
    """Path parameters of n slots that stand still."""
    zero = torch.zeros(len(draw.seeds), n, 8, device=draw.seeds.device)
    three = ("centre", "velocity", "swing", "attitude", "spin", "joint", "joint_axis", "joint_rest")
    more = ("joint_swing", "offset", "size", "stretch")
    rows = {name: zero[..., :3].clone() for name in three + more}
    rows |= {name: zero[..., 0].clone() for name in ("hop", "pace", "phase", "deform_pace")}
    rows |= {name: zero.clone() for name in ("deform", "deform_rate", "deform_swing")}
    return rows


def _shapes(draw: Draw, name: str, n: int) -> dict[str, Tensor]:
    """Kind and shape parameters of n slots, with the rest state of their deformation."""
    kind = _kinds(draw, name, n)
    taper = draw.uniform(name + "/taper", n, low=-1, high=1) * draw.chance(name + "/cone", n, p=0.6)
    length = draw.uniform(name + "/length", n, low=0.2, high=2)
    p = draw.log_uniform(name + "/p", n, low=1.3, high=6)
    q = draw.log_uniform(name + "/q", n, low=1.3, high=6)
    first = torch.where(
        kind == ShapeKind.CONE, taper, torch.where(kind == ShapeKind.CAPSULE, length, p)
    )
    normal = draw.direction(name + "/planes", n, 6)
    offset = draw.uniform(name + "/plane_offsets", n, 6, low=0.55, high=1.1)
    tilt = draw.normal(name + "/deform", n, 8)
    return {
        "kind": kind,
        "shape": torch.stack((first, q), -1),
        "planes": torch.cat((normal, offset[..., None]), -1),
        "deform": _rest_deform(kind, tilt, draw.uniform(name + "/waves", n, 8)),
    }


def _rest_deform(kind: Tensor, g: Tensor, u: Tensor) -> Tensor:
    """Rest parameters of phi from normals g and uniforms u (B, n, 8)."""
    sway = torch.stack(
        (0.25 * g[..., 0], 6.28 * u[..., 1], 0.25 * g[..., 2], 6.28 * u[..., 3], 1 + 2 * u[..., 4],
         0.7 * g[..., 5].clamp(-1.5, 1.5), 0 * g[..., 6], 0 * g[..., 7]), -1
    )  # fmt: skip
    wave = torch.stack(
        (0.04 + 0.16 * u[..., 0], 2 * g[..., 1], 2 * g[..., 2], 6.28 * u[..., 3],
         0.02 + 0.08 * u[..., 4], 4 * g[..., 5], 4 * g[..., 6], 6.28 * u[..., 7]), -1
    )  # fmt: skip
    sway = sway * (kind == ShapeKind.SUPERQUADRIC)[..., None]
    return sway + wave * (kind == ShapeKind.SHEET)[..., None]


def _statics(draw: Draw, stage: Stage) -> dict[str, Tensor]:
    """Clutter that stands still."""
    n = STATICS
    relative = _sizes(draw, "static", n, stage.focal, 0.04, 0.22)
    centre, depth, rests = _places(draw, "static", n, stage, relative[..., 1])
    rows = _blank(draw, n) | _shapes(draw, "static", n)
    tumbled = draw.normal("static/attitude", n, 3) * torch.where(rests, 0.05, 1.0)[..., None]
    upright = torch.stack((0 * depth, draw.uniform("static/yaw", n, high=6.28), 0 * depth), -1)
    count = draw.uniform("static/count", 1, low=1, high=n + 1)
    number = torch.arange(n, device=depth.device)
    return rows | {
        "centre": centre,
        "attitude": tumbled + upright,
        "size": relative * depth[..., None],
        "active": number < count,
        "mover": torch.zeros_like(rests),
        "instance": (1 + number).expand(len(depth), n),
    }


def _movers(draw: Draw, stage: Stage) -> dict[str, Tensor]:
    """Groups of a body and two limbs; single bodies where the limbs are not active."""
    g, n = GROUPS, GROUPS * PARTS
    relative = _sizes(draw, "mover", g, stage.focal, 0.05, 0.22)
    centre, depth, rests = _places(draw, "mover", g, stage, relative[..., 1])
    size = relative * depth[..., None]
    rows = _blank(draw, n) | _shapes(draw, "mover", n)
    rows |= {
        k: v.repeat_interleave(PARTS, 1) for k, v in _group_paths(draw, stage, depth, rests).items()
    }
    rows["centre"] = centre.repeat_interleave(PARTS, 1) + rows["centre"]
    rows |= _parts(draw, size)
    rows |= _living(draw, rows["kind"])
    count = draw.uniform("mover/count", 1, low=1, high=g + 0.99).floor()
    group = torch.arange(g, device=depth.device).repeat_interleave(PARTS)
    limbs = draw.choice("mover/limbs", (0.5, 0.2, 0.3), g).repeat_interleave(PARTS, 1)
    part = torch.arange(n, device=depth.device) % PARTS
    return rows | {
        "active": (group < count) & (part <= limbs),
        "mover": torch.ones_like(part, dtype=torch.bool).expand(len(depth), n),
        "instance": (1 + STATICS + group).expand(len(depth), n),
    }


def _group_paths(draw: Draw, stage: Stage, depth: Tensor, rests: Tensor) -> dict[str, Tensor]:
    """Trajectory and spin of the groups; speeds are shares of the image width per frame."""
    g = GROUPS
    speed = draw.log_uniform("mover/speed", g, low=0.002, high=0.016) * depth / stage.focal[:, None]
    heading = draw.direction("mover/heading", g)
    flat = torch.stack((heading[..., 0], 0 * depth, heading[..., 2]), -1)
    heading = torch.where(rests[..., None], flat, heading)
    passing = draw.chance("mover/passing", g, p=0.35)
    pace = draw.log_uniform("mover/pace", g, low=0.05, high=0.3)
    line = heading * (speed * passing)[..., None]
    when = draw.uniform("mover/when", g, low=-4, high=20)
    hops = draw.chance("mover/hops", g, p=0.25).float()
    rate = draw.log_uniform("mover/spin", g, low=0.004, high=0.06)
    rate = rate * draw.chance("mover/spins", g, p=0.75).float()
    axis = draw.direction("mover/spin_axis", g)
    vertical = torch.stack((0 * depth, axis[..., 1].sign(), 0 * depth), -1)
    upright = rests & draw.chance("mover/upright", g, p=0.7)
    attitude = draw.normal("mover/attitude", g, 3) * torch.where(upright, 0.05, 1.2)[..., None]
    yaw = torch.stack((0 * depth, draw.uniform("mover/yaw", g, high=6.28), 0 * depth), -1)
    return {
        "centre": -line * when[..., None],
        "velocity": line,
        "swing": heading * (speed / pace * ~passing)[..., None],
        "hop": hops * 0.7 * speed / pace,
        "pace": pace,
        "phase": draw.uniform("mover/phase", g, high=6.28),
        "attitude": torch.where(upright[..., None], yaw, attitude),
        "spin": torch.where(upright[..., None], vertical, axis) * rate[..., None],
    }


def _parts(draw: Draw, size: Tensor) -> dict[str, Tensor]:
    """Bodies and limbs: part 0 is the body at the group's centre, the others hang on its surface."""
    n = GROUPS * PARTS
    body = size.repeat_interleave(PARTS, 1)
    limb = (torch.arange(n, device=size.device) % PARTS > 0).float()[:, None]
    side = draw.direction("limb/side", n)
    slim = draw.log_uniform("limb/slim", n, 3, low=0.25, high=0.6)
    long = draw.uniform("limb/long", n, low=0.5, high=1.1)
    mean = body.prod(-1) ** (1 / 3)
    limb_size = torch.stack((slim[..., 0] * mean, long * mean, slim[..., 2] * mean), -1)
    still = draw.chance("limb/stiff", n, p=0.3)
    swing = draw.uniform("limb/swing", n, low=0.15, high=0.7) * ~still
    rest = draw.normal("limb/rest", n, 3) * 0.9
    hang = torch.stack((0 * mean, long * mean * 0.8, 0 * mean), -1)
    pace = draw.log_uniform("limb/pace", n, low=0.08, high=0.4)
    phase = draw.uniform("limb/phase", n, high=6.28)
    return {
        "size": body * (1 - limb) + limb_size * limb,
        "joint": 0.8 * side * body * limb,
        "joint_axis": draw.direction("limb/axis", n),
        "joint_rest": rest * limb,
        "joint_swing": torch.stack((swing, pace, phase), -1) * limb,
        "offset": hang * limb,
    }


def _living(draw: Draw, kind: Tensor) -> dict[str, Tensor]:
    """Change of shape with time: stretching bodies, travelling waves of sheets, swaying and twisting solids."""
    n = kind.shape[1]
    stretches = draw.chance("mover/stretches", n, p=0.3) & (kind != ShapeKind.SHEET)
    amount = draw.uniform("mover/stretch", n, low=0.05, high=0.3) * stretches
    pace = draw.log_uniform("mover/stretch_pace", n, low=0.08, high=0.4)
    phase = draw.uniform("mover/stretch_phase", n, high=6.28)
    travel = draw.normal("mover/travel", n, 8) * 0.12
    sheet = (kind == ShapeKind.SHEET)[..., None].float()
    solid = (kind == ShapeKind.SUPERQUADRIC)[..., None].float()
    device = kind.device
    phases_sheet = torch.tensor((0.0, 0, 0, 1, 0, 0, 0, 1), device=device)
    phases_solid = torch.tensor((0.0, 1, 0, 1, 0, 0, 0, 0), device=device)
    twist = torch.tensor((0.0, 0, 0, 0, 0, 1, 0, 0), device=device)
    swing = draw.normal("mover/twist", n, 8).clamp(-1.5, 1.5) * 0.4
    return {
        "stretch": torch.stack((amount, pace, phase), -1),
        "deform_rate": travel * (sheet * phases_sheet + solid * phases_solid),
        "deform_swing": swing * solid * twist,
        "deform_pace": draw.log_uniform("mover/deform_pace", n, low=0.06, high=0.3),
    }
