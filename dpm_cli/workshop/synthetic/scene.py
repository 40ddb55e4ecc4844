"""What a batch of B synthetic scenes is: N object slots, a room, light, materials, and how everything moves.

Objects live in *unit coordinates*: a point X of an object is at world position A(t) phi_t(X), where phi_t is the
object's analytic deformation (`deform.py`) and A(t) = pose(t) scale(t) is affine. So a point is known at every time by
X, its object and the state of that time, and the dynamic point map of any frame pair is exact.
Slot 0 is the background (room or ground). The scene's own world has y down; its units are arbitrary.
"""

from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor


class ShapeKind(IntEnum):
    """Shape of a slot in unit coordinates."""

    BACKGROUND = 0
    ELLIPSOID = 1
    """Unit sphere."""
    BOX = 2
    """|x|, |y|, |z| <= 1."""
    CONE = 3
    """Radius (1 + b y) / (1 + |b|) about the y axis, |y| <= 1; shape[0] = b in [-1, 1], 0 is a cylinder."""
    CAPSULE = 4
    """Unit radius about |y| <= shape[0]."""
    POLYTOPE = 5
    """Box with six corners cut by `planes`."""
    SUPERQUADRIC = 6
    """(|x|^p + |z|^p)^(q/p) + |y|^q <= 1 with shape = p, q; swayed and twisted along y."""
    SHEET = 7
    """z = 0, |x|, |y| <= 1, displaced along z by two waves: cloth, water, terrain."""


@dataclass(frozen=True, eq=False)
class SceneObjects:
    """The N slots of B scenes; what does not change with time."""

    kind: Tensor
    """(B, N) int64 of `ShapeKind`."""
    active: Tensor
    """(B, N) bool; other slots are empty."""
    size: Tensor
    """(B, N, 3) scene units per unit coordinate at rest."""
    shape: Tensor
    """(B, N, 2) see `ShapeKind`."""
    planes: Tensor
    """(B, N, 6, 4) unit normal n and offset d of n.X <= d, unit coordinates; used by POLYTOPE."""
    mover: Tensor
    """(B, N) bool; the slot moves or deforms."""
    instance: Tensor
    """(B, N) int64; parts of one articulated or rigid group share it."""


@dataclass(frozen=True, eq=False)
class Room:
    """Background of B scenes: the inside of a box about the origin, turned by `yaw` about y."""

    low: Tensor
    """(B, 3) lower corner in the room's frame; y is the ceiling."""
    high: Tensor
    """(B, 3) upper corner; y is the floor."""
    wall_top: Tensor
    """(B,) y of the walls' upper edge; above it is sky where the room is open."""
    open: Tensor
    """(B,) bool, there is no ceiling."""


@dataclass(frozen=True, eq=False)
class Looks:
    """Materials and light of B scenes."""

    material: Tensor
    """(B, N + 1, 21) see `appearance.py`; the last row is the walls', row 0 the floor's."""
    texture_start: Tensor
    """(B, N + 1, 2) int64 offset of the two layers in `texels`."""
    sky_start: Tensor
    """(B,) int64 offset of the clouds' texture."""
    texels: Tensor
    """Flat int32 texels (`textures.py`)."""
    light: Tensor
    """(B, 3) unit vector towards the sun or lamp at infinity."""
    light_colour: Tensor
    """(B, 3)."""
    ambient: Tensor
    """(B, 3)."""
    sky_colour: Tensor
    """(B, 2, 3) horizon and zenith."""
    haze: Tensor
    """(B,) share of horizon colour per scene unit of depth."""


@dataclass(frozen=True, eq=False)
class Film:
    """What the camera does to light, of B scenes."""

    gain: Tensor
    """(B,) mean level of the first frame before gamma: the exposure meter's target."""
    flicker: Tensor
    """(B, 3) exposure change: amplitude, angular frequency per frame, phase."""
    gamma: Tensor
    """(B,)."""
    noise: Tensor
    """(B,) deviation of the read noise, image range 0 to 1."""
    blur: Tensor
    """(B,) deviation of the point spread in pixels."""
    shutter: Tensor
    """(B,) open time in frames; 0 = no motion blur."""
    blocks: Tensor
    """(B,) strength of compression artefacts: quantiser step of 8 x 8 block cosines; 0 = none."""


@dataclass(frozen=True, eq=False)
class Motion:
    """State of B scenes at T times."""

    pose: Tensor
    """(B, T, N, 4, 4) world from object, rigid."""
    scale: Tensor
    """(B, T, N, 3) scene units per unit coordinate (changes where a body stretches)."""
    deform: Tensor
    """(B, T, N, 8) parameters of phi_t, see `deform.py`."""
    cam2world: Tensor
    """(B, T, 4, 4) in the scene's world."""
