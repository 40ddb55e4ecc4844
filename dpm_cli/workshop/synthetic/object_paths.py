"""How objects move: rigid groups that swing, pass by, hop, turn; limbs on joints; bodies that stretch, sway and wave.

Everything is a closed form of time in frames, so any state at any (also fractional) time is exact.
    pose(t) = [centre(t), R(t)] [joint, R_joint(t)] [offset]        scale(t) = size * stretch(t)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import rigid, so3_exp
from dpm_cli.workshop.synthetic.scene import Motion


@dataclass(frozen=True, eq=False)
class ObjectPaths:
    """Motion parameters of B x N slots (a part repeats its group's); rates are per frame."""

    centre: Tensor
    """(B, N, 3) group centre at t = 0, scene units."""
    velocity: Tensor
    """(B, N, 3) of those that pass by in a line."""
    swing: Tensor
    """(B, N, 3) amplitude of the swinging ones."""
    hop: Tensor
    """(B, N) height of hops."""
    pace: Tensor
    """(B, N) angular frequency of swing and hop."""
    phase: Tensor
    """(B, N)."""
    attitude: Tensor
    """(B, N, 3) axis-angle at t = 0."""
    spin: Tensor
    """(B, N, 3) axis-angle per frame, in the world."""
    joint: Tensor
    """(B, N, 3) where the part hangs, in the group's frame."""
    joint_axis: Tensor
    """(B, N, 3) unit."""
    joint_rest: Tensor
    """(B, N, 3) axis-angle of the part at rest."""
    joint_swing: Tensor
    """(B, N, 3) amplitude (radians), frequency, phase of the joint's angle."""
    offset: Tensor
    """(B, N, 3) the part's centre from its joint, in the part's frame."""
    size: Tensor
    """(B, N, 3) rest scale."""
    stretch: Tensor
    """(B, N, 3) amplitude, frequency, phase: y grows as x and z shrink, volume kept."""
    deform: Tensor
    """(B, N, 8) phi at t = 0."""
    deform_rate: Tensor
    """(B, N, 8) linear change per frame (phases travel)."""
    deform_swing: Tensor
    """(B, N, 8) amplitude of an oscillation of each parameter."""
    deform_pace: Tensor
    """(B, N) its angular frequency."""

    def motion(self, times: Tensor, cam2world: Tensor) -> Motion:
        """State at times (B, T); cam2world (B, T, 4, 4) goes in as it is."""
        t = times.to(self.centre)[..., None]
        phase, pace = self.phase[:, None], self.pace[:, None]
        wave = (pace * t + phase).sin() - phase.sin()
        lift = (pace * t + phase).sin().abs() - phase.sin().abs()
        centre = self.centre[:, None] + self.velocity[:, None] * t[..., None]
        centre = centre + self.swing[:, None] * wave[..., None]
        down = torch.tensor((0.0, 1.0, 0.0)).to(centre)
        centre = centre - self.hop[:, None, :, None] * lift[..., None] * down
        turn = so3_exp(self.spin[:, None] * t[..., None]) @ so3_exp(self.attitude)[:, None]
        group = rigid(turn, centre)
        amount, rate, start = (v[:, None] for v in self.joint_swing.unbind(-1))
        angle = (amount * (rate * t + start).sin())[..., None] * self.joint_axis[:, None]
        bend = so3_exp(angle) @ so3_exp(self.joint_rest)[:, None]
        limb = rigid(bend, self.joint[:, None].expand(-1, times.shape[1], -1, -1))
        eye = torch.eye(3).to(centre).expand(*self.offset.shape[:2], 3, 3)
        pose = group @ limb @ rigid(eye, self.offset)[:, None]
        amount, rate, start = (v[:, None] for v in self.stretch.unbind(-1))
        grow = (amount * (rate * t + start).sin()).exp()
        thin = grow.rsqrt()
        scale = self.size[:, None] * torch.stack((thin, grow, thin), -1)
        swing = (self.deform_pace[:, None] * t).sin()[..., None] * self.deform_swing[:, None]
        deform = self.deform[:, None] + self.deform_rate[:, None] * t[..., None] + swing
        return Motion(pose=pose, scale=scale, deform=deform, cam2world=cam2world)
