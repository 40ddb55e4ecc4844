"""Seeds in, scenes out: everything that is drawn, in one object, for B scenes at once."""

from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from torch import Tensor

from dpm_cli.workshop.synthetic.appearance import draw_film, draw_looks
from dpm_cli.workshop.synthetic.camera_paths import CameraPath, camera_path
from dpm_cli.workshop.synthetic.layout import SLOTS, Stage, draw_objects, draw_room
from dpm_cli.workshop.synthetic.object_paths import ObjectPaths
from dpm_cli.workshop.synthetic.scene import Film, Looks, Motion, Room, SceneObjects
from dpm_cli.workshop.synthetic.seeds import Draw

_PROBE_TIMES = 48
"""Frames over which objects must keep clear of the camera."""


@dataclass(frozen=True, eq=False)
class World:
    """B scenes; a pure function of their seeds."""

    seeds: Tensor
    """(B,) int64."""
    objects: SceneObjects
    room: Room
    looks: Looks
    film: Film
    focal: Tensor
    """(B,) focal length / image width."""
    paths: ObjectPaths
    camera: CameraPath

    def motion(self, times: Tensor) -> Motion:
        """State at times (B, T) in frames; fractions are between frames."""
        return self.paths.motion(times, self.camera.cam2world(times))

    def split(self, clips: int) -> "list[World]":
        """Worlds of at most `clips` scenes each, in order."""
        starts = range(0, len(self.seeds), clips)
        return [_rows(self, slice(start, start + clips)) for start in starts]


def _rows(table, chosen: slice):
    """Some scenes of a dataclass of tensors with the scenes as first axis; the texels are everyone's."""
    values = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if field.name == "texels":
            values[field.name] = value
        else:
            values[field.name] = _rows(value, chosen) if is_dataclass(value) else value[chosen]
    return replace(table, **values)


def build_world(seeds: Tensor, camera: str | Tensor | None = None) -> World:
    """Draw the scenes of seeds (B,) int64 on their device; `camera` fixes the kind of path (name, or (B,) indices)."""
    draw = Draw(seeds)
    distance = draw.log_uniform("stage/distance", low=2, high=6)
    floor = distance * draw.uniform("stage/floor", low=0.16, high=0.6)
    focal = draw.log_uniform("stage/focal", low=0.65, high=1.7)
    room, yaw = draw_room(draw, distance, floor)
    path = camera_path(draw, camera, distance, 0.6 * floor)
    stage = Stage(distance, floor, focal, path.base, room, yaw)
    objects, paths = draw_objects(draw, stage)
    world = World(
        seeds=seeds,
        objects=objects,
        room=room,
        looks=draw_looks(draw, SLOTS + 1, distance, focal),
        film=draw_film(draw),
        focal=focal,
        paths=paths,
        camera=path,
    )
    return _clear_view(world, distance)


def _clear_view(world: World, distance: Tensor) -> World:
    """Take away objects that come so near to the camera that they would fill the picture."""
    times = torch.arange(0, _PROBE_TIMES, 3, device=world.seeds.device)
    motion = world.motion(times.expand(len(world.seeds), -1))
    centre = motion.pose[..., :3, 3]
    gap = (centre - motion.cam2world[:, :, None, :3, 3]).norm(dim=-1).amin(1)
    radius = world.paths.size.norm(dim=-1)
    clear = gap > radius + 0.12 * distance[:, None]
    clear[:, 0] = True
    objects = world.objects
    kept = SceneObjects(**{**vars(objects), "active": objects.active & clear})
    return World(**{**vars(world), "objects": kept})
