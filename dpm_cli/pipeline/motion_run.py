"""The clip's own stage after alignment: depth and motion of every frame from all passes that see it.

Rounds over the frames, each on disk before the next begins, so nothing holds the clip and a stopped run goes on: every
frame by itself, then with its neighbours' motion, then with the depth of all that see the same, then with that of its
neighbours.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

from dpm_cli.ahead import in_order
from dpm_cli.checked_array import load_arrays
from dpm_cli.config import MOTION_THRESHOLD
from dpm_cli.files import atomic_path
from dpm_cli.motion.carry import Neighbour, motion_scores
from dpm_cli.motion.edges import Alike, sharpened
from dpm_cli.motion.evidence import Evidence, motion_evidence
from dpm_cli.motion.look import Look, measured, without_camera_noise
from dpm_cli.motion.one_world import ROUNDS, HalfDepth, agreed, changed, half_depth, half_look
from dpm_cli.motion.static_depth import DepthChange, improved_log_depth, triangulate
from dpm_cli.motion.steady import Opinion, steadied, transported
from dpm_cli.passes.fusion import AlignedPasses, FusedDepth, fuse_depth, looks_at
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.prior.witness import Witness
from dpm_cli.progress import Reporter
from dpm_cli.structures import FrameReader

NEIGHBOURS = 2
"""Frames before and after that are asked."""
_KEPT = 12
"""Records in memory: those that frames under way ask for."""
_KEPT_HALF = 24
"""The same of records at half size, which farther frames ask for too."""

Record = TypeVar("Record")


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """A frame by itself."""

    depth: FusedDepth
    evidence: Evidence
    wanted: DepthChange


@dataclass(frozen=True, eq=False)
class JudgedFrame:
    """A frame after its neighbours were asked what moves."""

    log_depth: np.ndarray
    """(H, W) float32."""
    dynamic: np.ndarray
    """(H, W) float32 motion score."""


class _Kept(Generic[Record]):
    """Records of frames on disk, the last few in memory."""

    def __init__(
        self, folder: Path, parts: dict[str, type], build: Callable[..., Record], kept: int = _KEPT
    ):
        self.folder, self.parts, self.build, self.kept = folder, parts, build, kept
        folder.mkdir(parents=True, exist_ok=True)
        self._memory: OrderedDict[int, Record] = OrderedDict()
        self._lock = Lock()

    def _path(self, t: int) -> Path:
        return self.folder / f"{t:06d}.npz"

    def has(self, t: int) -> bool:
        return self._path(t).is_file()

    def write(self, t: int, *parts: object) -> None:
        with atomic_path(self._path(t)) as path:
            np.savez(path, **{k: v for part in parts for k, v in vars(part).items()})

    def __getitem__(self, t: int) -> Record:
        with self._lock:
            if t not in self._memory:
                self._memory[t] = self._read(t)
            self._memory.move_to_end(t)
            while len(self._memory) > self.kept:
                self._memory.popitem(last=False)
            return self._memory[t]

    def _read(self, t: int) -> Record:
        data = load_arrays(self._path(t))
        return self.build(
            **{
                name: kind(**{k: data[k] for k in kind.__dataclass_fields__})
                for name, kind in self.parts.items()
            }
        )


class ClipMotion:
    """Depth and motion of the frames of a clip.

    The user's masks, if any, replace the motion score; a depth prior is one more witness of depth.
    """

    def __init__(
        self,
        passes: AlignedPasses,
        frames: FrameReader,
        folder: Path,
        masks: UserMasks | None,
        prior: Witness | None,
        workers: int,
    ):
        self.passes, self.frames, self.masks, self.prior = passes, frames, masks, prior
        self.workers = workers
        parts = {"depth": FusedDepth, "evidence": Evidence, "wanted": DepthChange}
        self.seen = _Kept(folder / "seen", parts, SeenFrame)
        self.judged = _Kept(folder / "judged", {"judged": JudgedFrame}, lambda judged: judged)
        self.rounds: list[_Kept[HalfDepth]] = [
            _Kept(folder / f"round_{n}", {"half": HalfDepth}, lambda half: half, _KEPT_HALF)
            for n in range(ROUNDS + 1)
        ]

    def prepare(self, reporter: Reporter) -> None:
        """All rounds but the last, without what an earlier run has done of them."""
        count = len(self.frames)
        hear = [partial(self._hear, number) for number in range(1, ROUNDS + 1)]
        with reporter.task("motion", (2 + ROUNDS) * count) as advance:
            for work in (self._see, self._judge, *hear):
                for _ in in_order(work, range(count), self.workers):
                    advance()

    def _see(self, t: int) -> None:
        if self.seen.has(t):
            return
        depth = fuse_depth(t, self.passes, self.prior.frame(t) if self.prior else None)
        looks = looks_at(t, self.passes)
        seen = [measured(depth.log_depth, look) for look in looks]
        wanted = triangulate(self._image(t), seen)
        seen = [
            without_camera_noise(one, depth.log_depth, depth.opinion, look)
            for one, look in zip(seen, looks, strict=True)
        ]
        evidence = motion_evidence(depth.confidence, depth.opinion, seen)
        self.seen.write(t, depth, evidence, wanted)

    def _judge(self, t: int) -> None:
        if self.judged.has(t):
            return
        image, seen = self._image(t), self.seen[t]
        if self.masks:
            dynamic = self.masks.read(t).astype(np.float32)
        else:
            near = [
                Neighbour(look.flow, look.seen()[1], self.seen[look.other].evidence)
                for look in self._neighbours(t)
            ]
            dynamic = motion_scores(image, seen.evidence, near)
        still = np.clip(1 - dynamic / MOTION_THRESHOLD, 0, 1)
        depth = seen.depth
        alike = Alike(image)
        log_depth = improved_log_depth(alike, depth.log_depth, depth.confidence, seen.wanted, still)
        log_depth = sharpened(alike, log_depth, depth.confidence)
        self.rounds[0].write(t, half_depth(log_depth, depth.confidence, dynamic))
        self.judged.write(t, JudgedFrame(log_depth, dynamic))

    def _hear(self, number: int, t: int) -> None:
        """Round `number` of all frames' depth."""
        if self.rounds[number].has(t):
            return
        before = self.rounds[number - 1]
        looks = [half_look(look) for look in looks_at(t, self.passes)]
        others = [(look, before[look.other]) for look in looks]
        self.rounds[number].write(t, agreed(self.rounds[0][t], before[t], others))

    def frame(self, t: int) -> tuple[FusedDepth, np.ndarray]:
        """Depth and motion score (H, W) of frame `t`."""
        log_depth, dynamic = self._heard(t), self.judged[t].dynamic
        opinions = [self._opinion(log_depth, look) for look in self._neighbours(t)]
        depth = self.seen[t].depth
        steady = steadied(log_depth, depth.confidence, dynamic, opinions)
        return replace(depth, log_depth=steady), dynamic

    def _heard(self, t: int) -> np.ndarray:
        """Log depth (H, W) of frame `t` after all frames were heard."""
        return changed(self.judged[t].log_depth, self.rounds[0][t], self.rounds[-1][t])

    def _opinion(self, log_depth: np.ndarray, look: Look) -> Opinion:
        seen = look.seen()[1].astype(np.float32)
        return Opinion(transported(log_depth, look, self._heard(look.other)), seen)

    def _neighbours(self, t: int) -> list[Look]:
        return looks_at(t, self.passes, farthest=NEIGHBOURS)

    def _image(self, t: int) -> np.ndarray:
        return self.frames.read([t])[0]
