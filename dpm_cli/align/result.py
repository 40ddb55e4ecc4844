"""What the alignment says."""

from dataclasses import dataclass

import numpy as np

from dpm_cli.focal import FocalEstimate
from dpm_cli.structures import Cameras


@dataclass(frozen=True, eq=False)
class Alignment:
    """Cameras of T frames and scales of E passes."""

    cameras: Cameras
    """World = first frame of each shot; cameras that could not be registered are interpolated and marked."""
    log_scale: np.ndarray
    """(E,) float64, log of world units per pass unit; 0 for passes that could not be used at all."""
    view_log_offset: np.ndarray
    """(E, 2) what view v of a pass still needs, on top of `log_scale`, to agree with the other passes of its frame."""
    usable: np.ndarray
    """(E,) bool, False for passes without a measurement or contradicted by the others."""
    shot: np.ndarray
    """(T,) int64 number of the connected part, in order of time; parts share neither world nor scale."""
    focal: FocalEstimate
    notes: tuple[str, ...]
    """One line each: what was left out or could not be known."""

    @property
    def view_log_scale(self) -> np.ndarray:
        """(E, 2) log of world units per pass unit for the depth of each view."""
        return self.log_scale[:, None] + self.view_log_offset
