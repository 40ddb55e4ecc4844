"""The static scene as one triangle mesh: depth of all frames in a truncated signed distance field (Open3D).

Curless and Levoy, SIGGRAPH 1996: every frame tells cells near its surface how far they lie before or behind it, cells
keep the mean, and the mesh is where it is zero. Noise of single frames averages out, and what moves by itself is left
out, so that what it hid in one frame is filled from others.
"""

from pathlib import Path

import numpy as np

from dpm_cli.config import ExportOptions
from dpm_cli.errors import InputError
from dpm_cli.export.clouds import comments, kept_pixels
from dpm_cli.export.open3d_clouds import open3d_for
from dpm_cli.formats.mesh import TriangleMesh
from dpm_cli.formats.mesh_files import write_mesh
from dpm_cli.sequence import Sequence4D

_VOXEL_PX = 3.0
"""Edge of a voxel in pixels of the working size at the median depth, where the user names no length."""
_TRUNCATION = 10.0
"""Voxels before and behind a surface that a frame has a say in."""
_FARTHEST = 4.0
"""Median depths up to which surfaces are fused: a field of one resolution is no place for the horizon."""
_SMALLEST_SHARE = 0.002
"""Pieces with less than this share of all triangles are dust and left out."""


def export_mesh(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`, a .ply, .obj or .glb file.

    `voxel_size` is its detail; `max_points` bounds its vertices by merging edges where the surface is flat.

    Raises:
        InputError: Open3D cannot be imported, or there is no surface.
    """
    mesh = static_mesh(sequence, options)
    write_mesh(path, mesh, comments(sequence, "mesh")[0])


def static_mesh(sequence: Sequence4D, options: ExportOptions) -> TriangleMesh:
    """Fuse the still, confident pixels of all registered frames.

    Raises:
        InputError: Open3D cannot be imported, or there is no surface.
    """
    o3d = open3d_for("--to mesh")
    if len(np.unique(sequence.shot)) > 1:
        options.reporter.note("several shots lie over each other: cut the video for one file each")
    middle = _median_depth(sequence)
    focal = float(np.median(sequence.intrinsics[:, 0, 0]))
    voxel = options.voxel_size or _VOXEL_PX * middle / focal
    volume = o3d.pipelines.integration.ScalableTSDFVolume(
        voxel_length=voxel,
        sdf_trunc=_TRUNCATION * voxel,
        color_type=o3d.pipelines.integration.TSDFVolumeColorType.RGB8,
    )
    used = np.flatnonzero(sequence.camera_ok)
    with options.reporter.task("mesh", len(used)) as advance:
        for t in used:
            _integrate(o3d, volume, sequence, int(t), options, _FARTHEST * middle)
            advance()
    mesh = _tidy(volume.extract_triangle_mesh(), options.max_points)
    if not len(mesh.triangles):
        raise InputError("no surface was found: lower --min-confidence or raise --voxel-size")
    mesh.compute_vertex_normals()
    return TriangleMesh(
        vertices=np.asarray(mesh.vertices).astype(np.float32),
        triangles=np.asarray(mesh.triangles).astype(np.int32),
        colors=np.rint(np.asarray(mesh.vertex_colors) * 255).astype(np.uint8),
        normals=np.asarray(mesh.vertex_normals).astype(np.float32),
    )


def _median_depth(sequence: Sequence4D) -> float:
    """Of all valid pixels.

    Raises:
        InputError: there are none.
    """
    used = np.flatnonzero(sequence.camera_ok)
    frames = [sequence.frame(int(t)) for t in used[:: max(1, len(used) // 8)]]
    depths = [frame.depth[frame.valid] for frame in frames]
    depth = np.concatenate(depths) if depths else np.zeros(0)
    if not len(depth):
        raise InputError("no frame of this run has depth and a camera: there is no surface")
    return float(np.median(depth))


def _integrate(o3d, volume, sequence: Sequence4D, t: int, options: ExportOptions, farthest: float):
    """Let frame `t` speak; pixels with depth 0 say nothing."""
    frame = sequence.frame(t)
    keep = kept_pixels(sequence, t, frame, options, moving=False)
    depth = np.where(keep, frame.depth, 0).astype(np.float32)
    picture = o3d.geometry.RGBDImage.create_from_color_and_depth(
        o3d.geometry.Image(np.ascontiguousarray(frame.image)),
        o3d.geometry.Image(depth),
        depth_scale=1.0,
        depth_trunc=farthest,
        convert_rgb_to_intensity=False,
    )
    K = sequence.intrinsics[t]
    height, width = sequence.size
    camera = o3d.camera.PinholeCameraIntrinsic(width, height, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    volume.integrate(picture, camera, np.linalg.inv(sequence.cam2world[t]))


def _tidy(mesh, most_vertices: int | None):
    """Without dust, and with about so many vertices at most."""
    if not len(mesh.triangles):
        return mesh
    piece, sizes, _ = mesh.cluster_connected_triangles()
    dust = np.asarray(sizes) < _SMALLEST_SHARE * len(mesh.triangles)
    mesh.remove_triangles_by_mask(dust[np.asarray(piece)])
    mesh.remove_unreferenced_vertices()
    if most_vertices and len(mesh.vertices) > most_vertices:
        # Open3D counts triangles; an open surface has more vertices for each the fewer they are.
        for _ in range(3):
            share = most_vertices / len(mesh.vertices)
            mesh = mesh.simplify_quadric_decimation(max(int(share * len(mesh.triangles)), 1))
    return mesh
