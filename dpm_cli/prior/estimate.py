"""What a prior says of one frame, whatever it comes from."""

from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

NETWORK_SIGMA_LOG = 0.1
"""Relative error of a depth network where the clip cannot say; MoGe-2's mean over test sets is .08."""
NETWORK_SHIFT_SIGMA = 0.03
"""A wrong focal length bends depth a little; more freedom would flatten it, for the prior itself has errors."""
NETWORK_FOCAL_SIGMA = 0.08
"""Deviation of log focal length; no published figure was found, so this is a guess to the safe side."""


@dataclass(frozen=True, eq=False)
class PriorEstimate:
    """Depth of one frame by its picture alone, at the working size."""

    inverse_depth: np.ndarray
    """(H, W) float32 1 / z up to one scale and one shift; 0 where not valid."""
    valid: np.ndarray
    """(H, W) bool: there is an estimate."""
    sky: np.ndarray
    """(H, W) bool: there is nothing to have a depth."""
    sigma_log: float
    """Expected relative error after scale and shift, before the clip itself has been asked."""
    shift_sigma: float
    """Deviation of the unknown shift, in medians of the inverse depth."""
    metric: bool
    """The scale is that of 1 / metre."""
    focal_px: float | None = None
    """Focal length along x at the working size, where the source knows one."""
    focal_sigma_log: float = 0.0

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "PriorEstimate":
        """Inverse of `to_arrays`."""
        focal_px = float(arrays["focal_px"])
        return cls(
            inverse_depth=arrays["inverse_depth"],
            valid=arrays["valid"],
            sky=arrays["sky"],
            sigma_log=float(arrays["sigma_log"]),
            shift_sigma=float(arrays["shift_sigma"]),
            metric=bool(arrays["metric"]),
            focal_px=focal_px if focal_px > 0 else None,
            focal_sigma_log=float(arrays["focal_sigma_log"]),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a file; a focal length that is not known is 0."""
        known = replace(self, focal_px=self.focal_px or 0.0)
        return {f.name: np.asarray(getattr(known, f.name)) for f in fields(self)}


@dataclass(frozen=True)
class PriorInfo:
    """What the manifest says of a prior."""

    name: str
    weights_sha256: str | None
    weights_licence: str
    """Of the weights, or what is known of the user's depth."""
    said: str
    """How a person would name it."""

    def to_json(self) -> dict[str, str | None]:
        """Plain values."""
        return {
            "name": self.name,
            "weights_sha256": self.weights_sha256,
            "weights_licence": self.weights_licence,
        }


class PriorSource(Protocol):
    """Something that knows the depth of single frames."""

    @property
    def info(self) -> PriorInfo:
        """Name and licence."""
        ...

    def estimate(self, t: int, image: np.ndarray) -> PriorEstimate:
        """Of frame `t` of the clip; `image` (H, W, 3) uint8 at the working size."""
        ...
