"""What two-view geometry works on: pixels of both images, where the flow takes them, and how well that is known."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.twoview.lines import with_z


@dataclass(frozen=True, eq=False)
class Matches:
    """M matches of each of B pairs; index 0 of the second axis is image 1 to 2, index 1 image 2 to 1. float64."""

    source: Tensor
    """(B, 2, M, 2) pixels relative to the principal point."""
    target: Tensor
    """(B, 2, M, 2) pixels relative to the principal point of the other image."""
    covariance: Tensor
    """(B, 2, M, 3) of the target: xx, xy, yy in px^2."""
    weight: Tensor
    """(B, 2, M) 0 where the match must not be used."""

    def __getitem__(self, index) -> "Matches":
        """Some of the pairs, as a batch; also repeats them if an index occurs twice."""
        return Matches(
            self.source[index], self.target[index], self.covariance[index], self.weight[index]
        )

    @classmethod
    def of_flow(
        cls, flow: Tensor, covariance: Tensor, weight: Tensor, centre: Tensor, count: int = 3000
    ) -> "Matches":
        """About `count` matches a direction on a regular grid of dense flow.

        Args:
            flow: (B, 2, H, W, 2) pixels, image 1 to 2 and image 2 to 1.
            covariance: (B, 2, H, W, 3) of it: xx, xy, yy in px^2.
            weight: (B, 2, H, W) 0 where the flow must not be used.
            centre: (2,) float64 principal point, pixels.
            count: see above.
        """
        height, width = flow.shape[2:4]
        step = max(1, round((height * width / count) ** 0.5))
        inner = slice(step // 2, None, step)
        source = pixel_grid(height, width, dtype=torch.float64, device=flow.device)[inner, inner]
        few = flow[:, :, inner, inner].double()
        source = source.expand_as(few) - centre
        return cls(
            source.flatten(2, 3),
            (source + few).flatten(2, 3),
            covariance[:, :, inner, inner].double().flatten(2, 3),
            weight[:, :, inner, inner].double().flatten(2, 3),
        )

    def thin(self, step: int) -> "Matches":
        """Every `step`-th match."""
        return Matches(
            *(x[:, :, ::step] for x in (self.source, self.target, self.covariance, self.weight))
        )


def join(parts: list[Matches]) -> Matches:
    """Matches of several batches, which have the same number of matches a pair, as one batch."""
    return Matches(
        torch.cat([p.source for p in parts]),
        torch.cat([p.target for p in parts]),
        torch.cat([p.covariance for p in parts]),
        torch.cat([p.weight for p in parts]),
    )


def directions(pixels: Tensor, focal_px: Tensor) -> Tensor:
    """Rays (B, ..., 3) with z = 1 of centred pixels (B, ..., 2); `focal_px` is (B,)."""
    focal = focal_px.view(-1, *[1] * (pixels.ndim - 1))
    return with_z(pixels / focal)


def both_ways(rotation: Tensor, translation: Tensor) -> tuple[Tensor, Tensor]:
    """Camera 2 from 1, `rotation` (B, 3, 3) and `translation` (B, 3), stacked with camera 1 from 2 on a second axis."""
    back = rotation.mT
    t_back = -(back @ translation[..., None])[..., 0]
    return torch.stack((rotation, back), 1), torch.stack((translation, t_back), 1)
