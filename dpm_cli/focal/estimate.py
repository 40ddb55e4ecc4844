"""A focal length, how sure it is, and who says so."""

from dataclasses import dataclass
from typing import Any, Literal

from dpm_cli.geometry.camera import fov_from_focal

Source = Literal["given", "clip", "camera", "network", "prior", "assumed", "passes", "flows"]


@dataclass(frozen=True)
class FocalEstimate:
    """Of a whole clip, square pixels."""

    focal_px: float
    """Pixels of the working size; the median where frames have their own."""
    sigma_log: float
    """Standard deviation of its logarithm; 0 where it was given."""
    source: Source
    """given by the user, found by the clip's own geometry, written by the camera, a network's guess, a depth prior's
    beside the clip's, assumed for want of anything better, what the predictor's point maps hold, or refined on all
    flows together."""
    seen: str = ""
    """What the source saw, for people; empty where there is nothing to say."""

    def note(self, width: int) -> str | None:
        """One line for people where it was not given; `width` is that of the working images, pixels."""
        fov = fov_from_focal(self.focal_px, width)
        if self.source == "clip":
            found = f"focal {self.focal_px:.0f} px (field of view {fov:.0f} deg)"
            return f"{found} +-{100 * self.sigma_log:.0f} % from the clip ({self.seen})"
        if self.source == "camera":
            found = f"focal {self.focal_px:.0f} px (field of view {fov:.0f} deg)"
            error = f"+-{100 * self.sigma_log:.0f} %"
            return f"{found} {error} from what the camera wrote ({self.seen}); --fov overrides it"
        if self.source == "prior":
            found = f"focal {self.focal_px:.0f} px (field of view {fov:.0f} deg)"
            return f"{found} +-{100 * self.sigma_log:.0f} % from {self.seen} and the clip"
        if self.source == "network":
            return f"field of view taken as {fov:.0f} degrees, a rough guess: give --fov if you know it"
        if self.source == "assumed":
            return f"focal length cannot be told from this clip ({self.seen}); taking a field of view of {fov:.0f} deg"
        return None

    def to_json(self, width: int) -> dict[str, Any]:
        """Plain values for the manifest; `width` as for `note`."""
        return {
            "focal_px": self.focal_px,
            "fov_deg": fov_from_focal(self.focal_px, width),
            "sigma_log": self.sigma_log,
            "source": self.source,
        }
