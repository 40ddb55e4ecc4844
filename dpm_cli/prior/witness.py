"""A prior in the run's own scale, with the error that the run has found it to have.

Where the camera moves, parallax knows depth of its own: what is left between it and the prior is the prior's error. A
prior that explains no more of that depth than a constant would is not believed at all. Where nothing has parallax the
prior's own word stands.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.prior.affine import ALIKE, Affine, fit_affine, median_of, robust_spread
from dpm_cli.prior.links import Links, joint_scales
from dpm_cli.prior.store import PriorStore

_WORD = 20.0
"""Independent points of the run that count as much as the prior's own word about its error."""
_DOUBT = 1.0
"""Independent points that count as much as the presumption that a prior is right."""
_LEAST_SIGMA = 0.02
_BELIEVED, _REFUSED = 0.6, 0.9
"""Share of the spread of depth that a prior leaves unexplained, at which it is fully believed and not at all. Of
rendered clips the right prior left .2 to .5, with an error of .16 up to .8, those of other scenes 1.0 to 2.3."""
_LEAST_TRUST = 0.1
_CAP = 1.0
"""Most that one point may be off, log depth."""
_OF_MEAN = 1.2533
"""Standard deviation of a normal distribution, of its mean absolute value."""
_UNINFORMED_SIGMA = 0.3
"""Deviation of a frame's log scale that is told by a guess of its depth alone."""
_SCALE_SIGMA = 0.01
"""Deviation of a frame's log scale that many points cannot beat: their errors are alike."""
_NO_SHIFT = 1e-6
_EDGE_PX = 5
"""Pixels within which edges of a prior may be displaced."""
_EDGE_SIGMA = 0.25
"""Largest deviation that an edge makes: a blurred edge still knows more than a guess."""


@dataclass(frozen=True, eq=False)
class RunGrid:
    """What the run knows of T frames on a grid of h x w points."""

    log_depth: np.ndarray
    """(T, h, w) own-camera z, world units."""
    sigma: np.ndarray
    """(T, h, w) expected relative error."""
    informed: np.ndarray
    """(T, h, w) bool: by parallax, of what stands still."""
    shot: np.ndarray
    """(T,) int64."""


@dataclass(frozen=True, eq=False)
class PriorGrid:
    """A prior on the same grid."""

    inverse_depth: np.ndarray
    """(T, h, w)."""
    valid: np.ndarray
    """(T, h, w) bool."""
    sigma_log: float
    shift_sigma: float


@dataclass(frozen=True, eq=False)
class WitnessFrame:
    """A prior's depth of one frame in world units."""

    log_depth: np.ndarray
    """(H, W) float32."""
    sigma: np.ndarray
    """(H, W) float32 expected relative error, infinite where it knows nothing."""
    sky: np.ndarray
    """(H, W) bool."""


@dataclass(frozen=True, eq=False)
class Witness:
    """An aligned prior of T frames."""

    store: PriorStore
    affine: tuple[Affine, ...]
    typical: np.ndarray
    """(T,) inverse depth of the prior that counts as one."""
    sigma_log: float
    """Relative error that the clip has found."""
    trust: float
    """0..1, what the inverse variance is multiplied by."""
    spoken: np.ndarray
    """(T,) bool: the passes of the frame were told the prior, which has no second vote on its depth then."""

    def frame(self, t: int) -> WitnessFrame:
        """Depth of frame `t`; edges, which a prior blurs and displaces, are less certain."""
        own = self.store.read(t)
        log_inverse = self.affine[t].log_inverse(own.inverse_depth / self.typical[t])
        log_inverse = np.where(own.valid, log_inverse, 0).astype(np.float32)
        edge = cv2.morphologyEx(
            log_inverse, cv2.MORPH_GRADIENT, np.ones((_EDGE_PX, _EDGE_PX), np.uint8)
        )
        sigma = np.hypot(self.sigma_log, np.minimum(edge / 2, _EDGE_SIGMA))
        sigma = sigma / np.sqrt(max(self.trust, 1e-12))
        speaks = own.valid & (self.trust > 0) & ~self.spoken[t]
        sigma = np.where(speaks, sigma, np.inf)
        return WitnessFrame(-log_inverse, sigma.astype(np.float32), own.sky & (self.trust > 0))


def typical_inverse(prior: PriorGrid, shot: np.ndarray) -> np.ndarray:
    """(T,) median inverse depth of the prior over each frame's shot."""
    out = np.ones(len(shot))
    for s in np.unique(shot):
        mine = prior.inverse_depth[shot == s][prior.valid[shot == s]]
        out[shot == s] = np.median(mine) if len(mine) else 1.0
    return out


def own_fits(
    run: RunGrid, prior: PriorGrid, typical: np.ndarray
) -> tuple[list[Affine], np.ndarray]:
    """Scale and shift of every frame by its own depth, near those of its shot, and the deviation (T,) of log scale."""
    relative = prior.inverse_depth / typical[:, None, None]
    weight = prior.valid / (run.sigma**2 + prior.sigma_log**2)
    told = weight * run.informed
    fits: list[Affine] = [Affine(0, 0)] * len(run.shot)
    sigma = np.full(len(run.shot), _UNINFORMED_SIGMA)
    for s in np.unique(run.shot):
        frames = run.shot == s
        q, log_inverse = relative[frames].ravel(), -run.log_depth[frames].ravel()
        if (told[frames] > 0).sum() > ALIKE:
            clip = fit_affine(q, log_inverse, told[frames].ravel(), prior.shift_sigma)
        else:  # a guess of depth knows the clip's scale, if anything
            clip = fit_affine(q, log_inverse, weight[frames].ravel(), _NO_SHIFT)
        for t in np.flatnonzero(frames):
            q, log_inverse, w = relative[t].ravel(), -run.log_depth[t].ravel(), told[t].ravel()
            fits[t] = fit_affine(q, log_inverse, w, prior.shift_sigma / 2, clip)
            effective = (w > 0).sum() / ALIKE
            if effective >= 1:
                spread = robust_spread(log_inverse - fits[t].log_inverse(q), w)
                sigma[t] = np.hypot(spread / np.sqrt(effective), _SCALE_SIGMA)
    return fits, sigma


def linked_fits(fits: list[Affine], sigma: np.ndarray, links: Links) -> tuple[Affine, ...]:
    """The fits with scales that are consistent over time."""
    scales = joint_scales(links, np.array([f.log_scale for f in fits]), sigma)
    return tuple(Affine(float(s), f.shift) for s, f in zip(scales, fits, strict=True))


def found_error(
    run: RunGrid, prior: PriorGrid, typical: np.ndarray, fits: tuple[Affine, ...]
) -> tuple[float, float]:
    """(relative error, trust 0..1) of the aligned prior by what the run knows.

    By mean absolute differences: a prior that is right on the half of a picture must not pass for right.
    """
    told = run.informed & prior.valid
    points = told.sum() / ALIKE
    if points < 1:
        return prior.sigma_log, 1.0
    weight = np.where(told, 1 / (run.sigma**2 + prior.sigma_log**2), 0)
    log_inverse = -run.log_depth
    off, plain = np.empty_like(log_inverse), np.empty_like(log_inverse)
    for t, fit in enumerate(fits):
        off[t] = log_inverse[t] - fit.log_inverse(prior.inverse_depth[t] / typical[t])
        plain[t] = log_inverse[t] - median_of(log_inverse[t].ravel(), weight[t].ravel())
    left, whole, own = (
        float(np.average(np.minimum(np.abs(x), _CAP), weights=weight))
        for x in (off, plain, run.sigma)
    )
    measured = max(_OF_MEAN**2 * left**2 - own**2, _LEAST_SIGMA**2)
    variance = (_WORD * prior.sigma_log**2 + points * measured) / (_WORD + points)
    explained = np.clip((_REFUSED - left / max(whole, 1e-9)) / (_REFUSED - _BELIEVED), 0, 1)
    trust = (_DOUBT + points * explained) / (_DOUBT + points)
    return float(np.sqrt(variance)), float(trust) if trust > _LEAST_TRUST else 0.0
