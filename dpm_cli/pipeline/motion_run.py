"""The clip's own stage after alignment: depth and motion of every frame from all passes that see it.

First each frame for itself, written to the work folder; then each with its neighbours in time. Nothing holds the clip.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dpm_cli.files import atomic_path
from dpm_cli.motion.carry import NEIGHBOURS, Neighbour, motion_scores
from dpm_cli.motion.edges import sharpened
from dpm_cli.motion.evidence import Evidence, motion_evidence
from dpm_cli.motion.look import measured
from dpm_cli.motion.static_depth import DepthChange, improved_log_depth, triangulate
from dpm_cli.passes.fusion import AlignedPasses, FusedDepth, fuse_depth, looks_at
from dpm_cli.progress import Reporter
from dpm_cli.structures import MOTION_THRESHOLD, FrameReader

_KEPT = 2 * NEIGHBOURS + 2
"""Frames in memory."""


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """A frame by itself."""

    depth: FusedDepth
    evidence: Evidence
    wanted: DepthChange


class ClipMotion:
    """Depth and evidence of the frames of a clip, on disk in `folder`, read when asked for."""

    def __init__(self, passes: AlignedPasses, folder: Path):
        self.passes, self.folder = passes, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._kept: OrderedDict[int, SeenFrame] = OrderedDict()

    def prepare(self, frames: FrameReader, reporter: Reporter) -> None:
        """Look at every frame that an earlier run has not looked at."""
        with reporter.task("motion", len(frames)) as advance:
            for t in range(len(frames)):
                if not self._path(t).is_file():
                    depth = fuse_depth(t, self.passes)
                    looks = [measured(depth.log_depth, k) for k in looks_at(t, self.passes)]
                    evidence = motion_evidence(depth.confidence, depth.opinion, looks)
                    wanted = triangulate(frames.read([t])[0], looks)
                    with atomic_path(self._path(t)) as path:
                        np.savez(path, **vars(depth), **vars(evidence), **vars(wanted))
                advance()

    def frame(self, t: int) -> SeenFrame:
        """What was found of frame `t`."""
        if t not in self._kept:
            with np.load(self._path(t)) as data:
                depth, evidence, wanted = (
                    {k: data[k] for k in kind.__dataclass_fields__}
                    for kind in (FusedDepth, Evidence, DepthChange)
                )
            self._kept[t] = SeenFrame(
                FusedDepth(**depth), Evidence(**evidence), DepthChange(**wanted)
            )
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(t)
        return self._kept[t]

    def score(self, t: int, image: np.ndarray) -> np.ndarray:
        """(H, W) float32 motion score of frame `t`."""
        near = [
            Neighbour(k.flow, k.comes_back(k.error()), self.frame(k.other).evidence)
            for k in looks_at(t, self.passes, farthest=NEIGHBOURS)
        ]
        return motion_scores(image, self.frame(t).evidence, near)

    def depth(self, t: int, image: np.ndarray, dynamic: np.ndarray) -> FusedDepth:
        """Depth of frame `t` by all its looks, where by `dynamic` (H, W) it does not move."""
        found = self.frame(t)
        depth = found.depth
        still = np.clip(1 - dynamic / MOTION_THRESHOLD, 0, 1)
        log_depth = improved_log_depth(
            image, depth.log_depth, depth.confidence, found.wanted, still
        )
        return replace(depth, log_depth=sharpened(image, log_depth))

    def _path(self, t: int) -> Path:
        return self.folder / f"{t:06d}.npz"
