"""Smooth completion: a map that follows its data where they are sure and its neighbours where they are not.

Minimises  sum w (z - data)^2 + sum over neighbours g (z_i - z_j)^2  with g small across image edges, robustly in the
data term. Solved from coarse to fine: conjugate gradients (Jacobi) on each level of a pyramid started by the level
above. Coarse edges are the series conductance of the fine ones, so that an image edge insulates at every level.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Grid:
    """One level: weights and links of N maps."""

    weight: Tensor
    """(N, H, W) of the data."""
    product: Tensor
    """(N, H, W) weight times data."""
    right: Tensor
    """(N, H, W) link to the right neighbour, 0 in the last column."""
    down: Tensor
    """(N, H, W) link to the lower neighbour, 0 in the last row."""

    def apply(self, z: Tensor) -> Tensor:
        """The system matrix times z (N, H, W)."""
        out = self.weight * z
        dx = self.right[:, :, :-1] * (z[:, :, 1:] - z[:, :, :-1])
        dy = self.down[:, :-1] * (z[:, 1:] - z[:, :-1])
        out[:, :, :-1] -= dx
        out[:, :, 1:] += dx
        out[:, :-1] -= dy
        out[:, 1:] += dy
        return out

    def diagonal(self) -> Tensor:
        """Diagonal (N, H, W) of the system matrix."""
        out = self.weight + self.right + self.down
        out[:, :, 1:] += self.right[:, :, :-1]
        out[:, 1:] += self.down[:, :-1]
        return out.clamp_min(1e-12)


def edge_links(image: Tensor, contrast: float) -> tuple[Tensor, Tensor]:
    """Links (N, H, W) to the right and down in 0..1 from images (N, C, H, W): 1 on flat areas, small across edges."""
    right = torch.zeros_like(image[:, 0])
    down = torch.zeros_like(image[:, 0])
    dx = (image[:, :, :, 1:] - image[:, :, :, :-1]).square().sum(1) / contrast**2
    dy = (image[:, :, 1:] - image[:, :, :-1]).square().sum(1) / contrast**2
    right[:, :, :-1] = 1 / (1 + dx) + 1e-3
    down[:, :-1] = 1 / (1 + dy) + 1e-3
    return right, down


def complete(
    data: Tensor,
    weight: Tensor,
    right: Tensor,
    down: Tensor,
    *,
    rounds: int = 3,
    width: float = 1.5,
    finest: int = 0,
    jump: Tensor | None = None,
) -> Tensor:
    """Maps (N, H, W) from data and weight (N, H, W) = 1 / variance and links `right`, `down` in the same unit.

    Data further than about `width` standard deviations from the solution lose their weight, round by round. The last
    round goes down to level `finest` of the pyramid (1 = half resolution), the others to half resolution. If `jump`
    (N, 1, 1) is given, links across which the solution differs by more lose their strength in the same way: data may
    then break a surface where the image shows no edge.
    """
    links = right, down
    robust = weight
    solution = data
    for number in range(rounds):
        last = number == rounds - 1
        grid = Grid(robust, robust * data, *links)
        solution = _cascade(grid, stop=finest if last else 1)
        if not last:
            off2 = weight * (solution - data).square() / width**2
            robust = weight / (1 + off2).square()
            if jump is not None:
                links = _broken(solution, right, down, jump)
    return solution


def _broken(solution: Tensor, right: Tensor, down: Tensor, jump: Tensor) -> tuple[Tensor, Tensor]:
    """Links (N, H, W), a quarter where neighbours differ by `jump` (N, 1, 1), and less beyond."""
    dx = torch.nn.functional.pad(solution.diff(dim=2), (0, 1)) / jump
    dy = torch.nn.functional.pad(solution.diff(dim=1), (0, 0, 0, 1)) / jump
    return right / (1 + dx.square()).square(), down / (1 + dy.square()).square()


def _cascade(grid: Grid, stop: int, iterations: int = 12) -> Tensor:
    """Solve on the coarsest level, then on each finer one down to level `stop`; the result has the grid's size."""
    levels = [grid]
    while min(levels[-1].weight.shape[1:]) > 12:
        levels.append(_coarsen(levels[-1]))
    top = levels[-1]
    mean = top.product.sum((1, 2), keepdim=True) / top.weight.sum((1, 2), keepdim=True).clamp_min(
        1e-12
    )
    z = _solve(top, mean.expand_as(top.weight).clone(), 60)
    for level in reversed(levels[stop:-1]):
        z = _solve(level, _enlarge(z, level.weight.shape[1:]), iterations)
    return _enlarge(z, grid.weight.shape[1:]) if stop else z


def _enlarge(z: Tensor, size) -> Tensor:
    return torch.nn.functional.interpolate(
        z[:, None], size=size, mode="bilinear", align_corners=False
    )[:, 0]


def _solve(grid: Grid, z: Tensor, iterations: int) -> Tensor:
    """Jacobi-preconditioned conjugate gradients, every map with its own step lengths."""
    inverse = 1 / grid.diagonal()
    r = grid.product - grid.apply(z)
    p = inverse * r
    rz = (r * p).sum((1, 2), keepdim=True)
    for _ in range(iterations):
        Ap = grid.apply(p)
        alpha = rz / (p * Ap).sum((1, 2), keepdim=True).clamp_min(1e-30)
        z = z + alpha * p
        r = r - alpha * Ap
        y = inverse * r
        rz_new = (r * y).sum((1, 2), keepdim=True)
        p = y + (rz_new / rz.clamp_min(1e-30)) * p
        rz = rz_new
    return z


def _blocks(x: Tensor) -> Tensor:
    """Maps (N, H, W) as 2 x 2 blocks (N, h, 2, w, 2), padded by zeros."""
    height, width = x.shape[1:]
    x = torch.nn.functional.pad(x, (0, width % 2, 0, height % 2))
    return x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))


def _coarsen(fine: Grid) -> Grid:
    return Grid(
        _blocks(fine.weight).sum((2, 4)),
        _blocks(fine.product).sum((2, 4)),
        _coarse_right(fine.right),
        _coarse_right(fine.down.mT).mT,
    )


def _coarse_right(right: Tensor) -> Tensor:
    """Links between 2 x 2 blocks: half a link inside, one across, half inside, in series; rows in parallel."""
    blocks = _blocks(right)
    resist = 1 / blocks.clamp_min(1e-12)
    inside, across = resist[..., 0], resist[..., 1]
    following = torch.nn.functional.pad(inside[..., 1:], (0, 1), value=1e12)
    return (1 / (0.5 * inside + across + 0.5 * following)).sum(2)
