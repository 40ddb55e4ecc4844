"""Camera paths of synthetic clips: still, pan, dolly, orbit, hand-shaken; smooth, bounded, for any time.

A path is base orientation, a slow oscillation of position and angles (speed and frequency drawn, so the amplitude is
their ratio) and a shake of three faster ones. At t = 0 every camera is at the origin of the scene's world, y down.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from dpm_cli.errors import UsageError
from dpm_cli.geometry.rigid import rigid, so3_exp
from dpm_cli.workshop.synthetic.seeds import Draw

CameraKind = Literal["still", "pan", "dolly", "orbit", "hand"]
CAMERA_KINDS: tuple[str, ...] = get_args(CameraKind)
KIND_WEIGHTS = (0.18, 0.12, 0.25, 0.25, 0.20)
_SHAKES = 3


@dataclass(frozen=True, eq=False)
class CameraPath:
    """Parameters of B camera paths; rates are per frame, angles in radians."""

    base: Tensor
    """(B, 3) axis-angle of the orientation at t = 0 (pitch and roll)."""
    drift: Tensor
    """(B, 6) amplitude of x, y, z (scene units) and pitch, yaw, roll of the slow motion."""
    pace: Tensor
    """(B, 6) its angular frequency per frame."""
    phase: Tensor
    """(B, 6) its phase."""
    shake: Tensor
    """(B, 6, 3) amplitudes of the fast motion."""
    shake_pace: Tensor
    """(B, 6, 3) angular frequencies per frame."""
    shake_phase: Tensor
    """(B, 6, 3)."""
    orbit: Tensor
    """(B, 3) amplitude (radians), frequency, phase of the turn about the pivot; amplitude 0 = no orbit."""
    pivot: Tensor
    """(B,) distance of the pivot ahead of the first camera."""
    head_room: Tensor
    """(B,) how far the camera may go up or down."""

    def cam2world(self, times: Tensor) -> Tensor:
        """(B, T, 4, 4) at times (B, T) in frames."""
        t = times.to(self.drift)[..., None]
        slow = self.drift[:, None] * (
            (self.pace[:, None] * t + self.phase[:, None]).sin() - self.phase[:, None].sin()
        )
        tt, f = t[..., None], self.shake_phase[:, None]
        fast = self.shake[:, None] * ((self.shake_pace[:, None] * tt + f).sin() - f.sin())
        offset = slow + fast.sum(-1)
        base = so3_exp(self.base)[:, None]
        turn = base @ so3_exp(offset[..., 3:])
        position = (base @ offset[..., :3, None])[..., 0]
        amount, pace, phase = (v[:, None] for v in self.orbit.unbind(-1))
        angle = amount * ((pace * times.to(amount) + phase).sin() - phase.sin())
        spin = so3_exp(torch.stack((0 * angle, angle, 0 * angle), -1))
        ahead = base[..., 2] * self.pivot[:, None, None]
        position = (spin @ (position - ahead)[..., None])[..., 0] + ahead
        room = self.head_room[:, None]
        height = room * (position[..., 1] / room).tanh()
        position = torch.stack((position[..., 0], height, position[..., 2]), -1)
        return rigid(spin @ turn, position)


def check_camera(name: str) -> None:
    """UsageError unless it is one of CAMERA_KINDS."""
    if name not in CAMERA_KINDS:
        raise UsageError(f"unknown camera {name!r}: choose one of {', '.join(CAMERA_KINDS)}")


def kind_index(draw: Draw, camera: str | Tensor | None) -> Tensor:
    """Kind (B,) of each path: drawn, or the one asked for (a name for all, or an index for each)."""
    if camera is None:
        return draw.choice("camera/kind", KIND_WEIGHTS)
    if isinstance(camera, Tensor):
        return camera
    check_camera(camera)
    return torch.full_like(draw.seeds, CAMERA_KINDS.index(camera))


def camera_path(
    draw: Draw, camera: str | Tensor | None, distance: Tensor, head_room: Tensor
) -> CameraPath:
    """Draw the paths of B scenes whose things are about `distance` (B,) away."""
    kind = kind_index(draw, camera)
    still, pan, dolly, orbit, hand = (kind == k for k in range(5))
    pace = draw.log_uniform("camera/pace", 6, low=0.03, high=0.12)
    speed = draw.log_uniform("camera/speed", 1, low=0.01, high=0.07) * distance[:, None]
    heading = draw.direction("camera/heading") * torch.tensor((1.0, 0.4, 0.8)).to(speed)
    carried = (dolly | hand)[:, None].float() * (0.3 + 0.7 * dolly[:, None].float())
    place = speed * heading * carried
    turn_speed = draw.log_uniform("camera/turn", 1, low=0.003, high=0.035)
    axis = draw.normal("camera/turn_axis", 3) * torch.tensor((0.35, 1.0, 0.1)).to(speed)
    turning = pan.float() + 0.5 * hand.float() + 0.35 * (dolly | orbit).float()
    turn = turn_speed * axis * turning[:, None]
    amplitude = torch.cat((place, turn), -1) / pace
    limit = torch.cat((0.5 * distance[:, None].expand(-1, 3), torch.full_like(turn, 0.5)), -1)
    amplitude = limit * (amplitude / limit).tanh()
    trembling = hand.float() + 0.25 * (draw.chance("camera/tremble", p=0.4) & ~still).float()
    shake = draw.normal("camera/shake", 6, _SHAKES) * trembling[:, None, None]
    unit = torch.cat((0.003 * distance[:, None].expand(-1, 3), torch.full_like(turn, 0.002)), -1)
    # A pan is a pure rotation: a tripod has no tremble of position.
    unit = unit * torch.cat(((~pan).float()[:, None].expand(-1, 3), torch.ones_like(turn)), -1)
    orbit_pace = draw.log_uniform("camera/orbit_pace", low=0.03, high=0.1)
    orbit_speed = draw.log_uniform("camera/orbit_speed", low=0.012, high=0.07)
    swing = (orbit_speed / orbit_pace).clamp_max(0.6) * orbit.float()
    pitch = draw.uniform("camera/pitch", low=-0.05, high=0.42)
    roll = 0.03 * draw.normal("camera/roll")
    return CameraPath(
        base=torch.stack((-pitch, 0 * pitch, roll), -1),
        drift=amplitude * (~still).float()[:, None],
        pace=pace,
        phase=draw.uniform("camera/phase", 6, high=6.2832),
        shake=shake * unit[..., None],
        shake_pace=draw.log_uniform("camera/shake_pace", 6, _SHAKES, low=0.25, high=1.2),
        shake_phase=draw.uniform("camera/shake_phase", 6, _SHAKES, high=6.2832),
        orbit=torch.stack((swing, orbit_pace, draw.uniform("camera/orbit_phase", high=6.2832)), -1),
        pivot=distance,
        head_room=head_room,
    )
