"""The truth that `dpm synth` renders, in memory or as the npz file beside each clip."""

import itertools
from pathlib import Path

import numpy as np

from dpm_cli.workshop.datasets.layout import files, folders, wrong_layout
from dpm_cli.workshop.datasets.truth import FlowTruth, Lazy, ObjectTruth, SequenceTruth
from dpm_cli.workshop.synthetic import ClipTruth
from dpm_cli.workshop.synthetic.sequence_truth import moving_pixels, read_truth

_KEEPS = 1e-3
"""Change of shape or place, in scene units, below which a thing is rigid: poses are in single precision."""


def read_synth(root: Path) -> list[SequenceTruth]:
    """A truth file of `dpm synth`, or every one in a folder and its sub-folders.

    Raises:
        InputError: there is none, or one is of something else.
    """
    candidates = (
        [root]
        if root.is_file()
        else [p for f in (root, *folders(root)) for p in files(f, "*_truth.npz")]
    )
    found = [p for p in candidates if p.suffix == ".npz"]
    if not found:
        raise wrong_layout("synth", root, "<clip>_truth.npz as `dpm synth` writes it")
    return [truth_of_clip(read_truth(p), p.stem.removesuffix("_truth")) for p in found]


def truth_of_clip(clip: ClipTruth, name: str) -> SequenceTruth:
    """A rendered clip (B = 1); four maps of any two frames."""
    frames = tuple(range(clip.depth.shape[1]))
    pairs = tuple(itertools.pairwise(frames))

    def flow(pair: tuple[int, int]) -> FlowTruth:
        truth = clip.pair(*pair)
        known = np.ones(clip.size, bool)
        return FlowTruth(truth.flow[0, 0].numpy(), known, truth.visible[0, 0].numpy())

    return SequenceTruth(
        dataset="synth",
        name=name,
        images=Lazy(frames, lambda t: clip.images[0, t].permute(1, 2, 0).numpy()),
        depth=Lazy(frames, lambda t: clip.depth[0, t].numpy()),
        intrinsics=clip.intrinsics[0].double().numpy(),
        cam2world=clip.cam2world[0].double().numpy(),
        masks=Lazy(frames, lambda t: _moving(clip, t)),
        flow_pairs=pairs,
        flow=Lazy(pairs, flow) if pairs else None,
        four_maps=clip.pair,
        object_ids=Lazy(frames, lambda t: clip.object_id[0, t].numpy().astype(np.int64)),
        objects=_objects(clip),
    )


def _objects(clip: ClipTruth) -> ObjectTruth | None:
    """Movers whose parts keep their shapes and places in the whole, each one object. None where nothing moves so."""
    instance, mover = clip.instance[0].numpy(), clip.mover[0].numpy().astype(bool)
    poses = clip.pose[0].double().numpy()
    shape = np.concatenate((clip.scale[0].numpy(), clip.deform[0].numpy()), -1)
    things = []
    for n in np.unique(instance[mover]):
        slots = np.flatnonzero((instance == n) & mover)
        inside = np.linalg.inv(poses[:, slots[:1]]) @ poses[:, slots]
        if max(np.ptp(shape[:, slots], axis=0).max(), np.ptp(inside, axis=0).max()) < _KEEPS:
            things.append(slots)
    if not things:
        return None
    # Beside the slots one place more, for the sky, which has number -1.
    thing_of = np.full(len(instance) + 1, -1)
    for number, slots in enumerate(things):
        thing_of[slots] = number
    frames = tuple(range(clip.depth.shape[1]))
    ids = Lazy(frames, lambda t: thing_of[clip.object_id[0, t].numpy().astype(np.int64)])
    return ObjectTruth(ids, poses[:, [slots[0] for slots in things]])


def _moving(clip: ClipTruth, t: int) -> np.ndarray:
    return moving_pixels(clip, t).numpy().astype(np.int8)
