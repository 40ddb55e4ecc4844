"""The one structure that every evaluation reader fills: what is known about the frames of a sequence.

Arrays over frames are read when asked for, so a sequence of a thousand frames costs nothing to describe.
Conventions are those of `structures`: OpenCV cameras, z-depth, pixel centres at integers; sizes are the data set's own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from dpm_cli.structures import PairTruth

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Lazy(Generic[Item]):
    """A list whose entries are loaded when asked for."""

    items: tuple[Any, ...]
    load: Callable[[Any], Item]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.load(self.items[index])


@dataclass(frozen=True, eq=False)
class FlowTruth:
    """Optical flow from one frame to another."""

    flow: np.ndarray
    """(H, W, 2) float32 pixels; 0 where not valid."""
    valid: np.ndarray
    """(H, W) bool, there is truth."""
    visible: np.ndarray | None = None
    """(H, W) bool, the point is seen in the other frame too; None = not known."""


@dataclass(frozen=True, eq=False)
class SceneFlowTruth:
    """The same points at the times of two frames, indexed by the first frame's pixels."""

    points_first: np.ndarray
    """(H, W, 3) float32 at the first time in the first frame's camera; 0 where not valid."""
    points_second: np.ndarray
    """(H, W, 3) float32 at the second time in the second frame's camera."""
    valid: np.ndarray
    """(H, W) bool."""
    second_from_first: np.ndarray | None
    """(4, 4) camera motion; None = not known, then only camera-frame motion can be judged."""
    moving: np.ndarray | None = None
    """(H, W) int8: 1 moves by itself, 0 stands, -1 not known."""


@dataclass(frozen=True, eq=False)
class TrackTruth:
    """Points followed through the sequence."""

    points: np.ndarray
    """(T, N, 3) float64, in the world where the sequence has cameras, else in each frame's own camera."""
    pixels: np.ndarray
    """(T, N, 2) float64 where the point falls in each frame."""
    valid: np.ndarray
    """(T, N) bool, there is truth."""
    visible: np.ndarray
    """(T, N) bool, the point is seen."""


@dataclass(frozen=True, eq=False)
class ObjectTruth:
    """Rigid things that move by themselves, each as a whole, however many parts it is made of."""

    ids: Lazy[np.ndarray]
    """T maps (H, W) int64: number of the thing, -1 = none."""
    poses: np.ndarray
    """(T, N, 4, 4) float64 world from object."""


@dataclass(frozen=True, eq=False)
class SequenceTruth:
    """Frames and what is known about them; None = this data set does not say."""

    dataset: str
    name: str
    images: Lazy[np.ndarray]
    """T images (H, W, 3) uint8 RGB."""
    depth: Lazy[np.ndarray] | None = None
    """T maps (H, W) float32 z-depth in scene units, 0 = no truth."""
    intrinsics: np.ndarray | None = None
    """(T, 3, 3) float64 pixels."""
    cam2world: np.ndarray | None = None
    """(T, 4, 4) float64; NaN where a frame has no pose."""
    masks: Lazy[np.ndarray] | None = None
    """T maps (H, W) int8: 1 moves by itself (or is the main moving object), 0 not, -1 not known."""
    flow_pairs: tuple[tuple[int, int], ...] = ()
    """Frames (first, second) of each entry of `flow`."""
    flow: Lazy[FlowTruth] | None = None
    scene_flow_pairs: tuple[tuple[int, int], ...] = ()
    scene_flow: Lazy[SceneFlowTruth] | None = None
    tracks: TrackTruth | None = None
    object_ids: Lazy[np.ndarray] | None = None
    """T maps (H, W) int64: index into `object_poses`, -1 = does not move."""
    object_poses: np.ndarray | None = None
    """(T, N, 4, 4) float64 world_from_object of rigid objects."""
    objects: ObjectTruth | None = None
    """What `dpm objects` should find."""
    four_maps: Callable[[int, int], PairTruth] | None = None
    """Exact truth of any two frames where the data set itself can say; `four_maps.pair_truth` covers the rest."""
    static: bool = False
    """Nothing moves by itself."""
    partners: np.ndarray | None = None
    """(P, 2) int64 frames that share view, where the list is no video; None = neighbours do."""
    timestamps: np.ndarray | None = None
    """(T,) float64 seconds."""
    metric: bool = False
    """Scene units are metres."""
    max_depth: float = float("inf")
    """Depth beyond this is left out by the data set's protocol, scene units."""

    def __len__(self) -> int:
        return len(self.images)
