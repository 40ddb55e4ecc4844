"""A coloured triangle mesh."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """N vertices and M triangles, counted from 0, anticlockwise where seen from outside."""

    vertices: np.ndarray
    """(N, 3) float32, world."""
    triangles: np.ndarray
    """(M, 3) int32 numbers of vertices."""
    colors: np.ndarray
    """(N, 3) uint8 RGB."""
    normals: np.ndarray
    """(N, 3) float32, unit length, outwards."""
