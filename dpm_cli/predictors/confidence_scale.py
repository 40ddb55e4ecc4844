"""What dpm-mini's raw confidences are worth as relative errors: fitted on validation pairs, kept with the weights."""

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ConfidenceScale:
    """From raw confidences to relative errors: log(error) = offset + slope * softplus(raw), per [view][time]."""

    offset: tuple[tuple[float, float], tuple[float, float]] = ((-1.9, -1.9), (-1.9, -1.9))
    slope: tuple[tuple[float, float], tuple[float, float]] = ((-0.5, -0.5), (-0.5, -0.5))
    motion_bias: float = 0.0
    """Added to the motion logit, so that 0 is the best threshold."""

    @classmethod
    def from_json(cls, text: str) -> "ConfidenceScale":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        offset, slope = (
            ((k[0][0], k[0][1]), (k[1][0], k[1][1])) for k in (values["offset"], values["slope"])
        )
        return cls(offset, slope, float(values["motion_bias"]))

    def to_json(self) -> str:
        """One line for the weights' metadata."""
        return json.dumps(
            {"offset": self.offset, "slope": self.slope, "motion_bias": self.motion_bias}
        )

    def confidence(self, raw: Tensor) -> Tensor:
        """1 / expected relative error of raw confidences (B, 2, 2, H, W)."""
        offset, slope = (
            torch.tensor(v, dtype=raw.dtype, device=raw.device)[..., None, None]
            for v in (self.offset, self.slope)
        )
        return (-(offset + slope * F.softplus(raw))).exp().clamp(0.5, 1e3)
