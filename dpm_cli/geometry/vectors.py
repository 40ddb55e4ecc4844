"""Plain vector algebra on numpy arrays."""

import numpy as np


def length(vectors: np.ndarray) -> np.ndarray:
    """Euclidean length (...) of vectors (..., D); several times faster than `numpy.linalg.norm` over a short axis."""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
