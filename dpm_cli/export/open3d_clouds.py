"""What Open3D does for point clouds: voxel averages, outliers, normals. It is imported when one of these is asked for.

Everything else of dpm works where Open3D cannot be imported.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.formats.ply import PointCloud

_NEIGHBOURS = 16
"""Points around a point that decide whether it stands alone, itself counted."""
_DEVIATIONS = 2.0
"""Standard deviations above the mean from which a point stands alone."""
_NORMAL_NEIGHBOURS = 30
"""Points around a point through which the plane is laid that gives its normal."""


def open3d_for(what: str) -> Any:
    """The module, which has no usable type stubs.

    Raises:
        InputError: it cannot be imported here.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise InputError(
            f"{what} needs Open3D, which cannot be imported ({error}): leave it out, or see dpm doctor"
        ) from error
    return open3d


def voxel_average(cloud: PointCloud, voxel_size: float) -> PointCloud:
    """One mean point a voxel: position, colour, confidence and normal are averaged.

    Raises:
        InputError: Open3D cannot be imported here.
    """
    o3d = open3d_for("--voxel-size")
    if not len(cloud):
        return cloud
    assert cloud.confidence is not None
    tensors = o3d.t.geometry.PointCloud(o3d.core.Tensor(cloud.points))
    tensors.point["colors"] = o3d.core.Tensor(cloud.colors.astype(np.float32))
    tensors.point["confidence"] = o3d.core.Tensor(cloud.confidence[:, None])
    if cloud.normals is not None:
        tensors.point["toward"] = o3d.core.Tensor(cloud.normals)
    small = tensors.voxel_down_sample(voxel_size)
    return PointCloud(
        points=small.point["positions"].numpy(),
        colors=np.rint(small.point["colors"].numpy()).astype(np.uint8),
        confidence=small.point["confidence"].numpy()[:, 0],
        dynamic=np.zeros(len(small.point["positions"]), np.uint8),
        normals=None if cloud.normals is None else small.point["toward"].numpy(),
    )


def standing_alone(points: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """(N,) bool: points (N, 3) that are far from their neighbours, as flying pixels at edges are.

    This is the statistical outlier test (mean distance to the neighbours, above mean + 2 standard deviations of the
    cloud), with distances divided by that from the camera `eye` (3,): what one camera sees lies the wider apart the
    farther it is, and the plain test would take the background away.

    Raises:
        InputError: Open3D cannot be imported here.
    """
    o3d = open3d_for("--remove-outliers")
    if len(points) < _NEIGHBOURS:
        return np.zeros(len(points), bool)
    tensor = o3d.core.Tensor(np.ascontiguousarray(points, np.float32))
    search = o3d.core.nns.NearestNeighborSearch(tensor)
    search.knn_index()
    _, squared = search.knn_search(tensor, _NEIGHBOURS)
    apart = np.sqrt(squared.numpy()[:, 1:]).mean(1)
    apart = apart / np.maximum(np.linalg.norm(points - eye, axis=1), 1e-12)
    return apart > apart.mean() + _DEVIATIONS * apart.std()


def estimate_normals(cloud: PointCloud) -> PointCloud:
    """The cloud with unit normals of planes through its neighbourhoods, towards the side that it was seen from.

    Args:
        cloud: its `normals` say where it was seen from: directions from each point to its camera, of any length.

    Raises:
        InputError: Open3D cannot be imported here.
    """
    o3d = open3d_for("--normals")
    assert cloud.normals is not None
    if len(cloud) < 3:
        return replace(cloud, normals=np.zeros_like(cloud.points))
    tensors = o3d.t.geometry.PointCloud(o3d.core.Tensor(cloud.points))
    tensors.estimate_normals(max_nn=_NORMAL_NEIGHBOURS)
    normals = tensors.point["normals"].numpy()
    away = (normals * cloud.normals).sum(1) < 0
    return replace(cloud, normals=np.where(away[:, None], -normals, normals).astype(np.float32))
