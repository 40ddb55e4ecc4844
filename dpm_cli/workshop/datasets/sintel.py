"""MPI-Sintel: training/{clean,final,flow,occlusions,invalid,depth,camdata_left}/<sequence>/.

The same kinds inside each sequence's folder (<sequence>/{clean,final,flow,...}) are read too. Depth and cameras are a
package of their own (sintel.is.tue.mpg.de); without it there is flow only. Units are the film's.
"""

from pathlib import Path

import numpy as np

from dpm_cli.workshop.datasets.layout import files, first_folder, folders, number, wrong_layout
from dpm_cli.workshop.datasets.rasters import (
    read_flow,
    read_label,
    read_rgb,
    read_sintel_camera,
    read_sintel_depth,
)
from dpm_cli.workshop.datasets.truth import FlowTruth, Lazy, SequenceTruth

LAYOUT = "training/{PASS}/<sequence>/frame_0001.png with training/flow or training/depth beside it"
PROTOCOL_SEQUENCES = (
    *("alley_2", "ambush_4", "ambush_5", "ambush_6", "cave_2", "cave_4", "market_2", "market_5"),
    *("market_6", "shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3"),
)
"""The 14 sequences of the depth and pose protocols (MonST3R's)."""
MAX_DEPTH = 70.0


def read_sintel(root: Path, render_pass: str = "final") -> list[SequenceTruth]:
    """Every sequence under `root` in one render pass, `final` or `clean`.

    Raises:
        InputError: no such folders.
    """
    base = first_folder(root, "training")
    by_kind = (base / render_pass).is_dir()
    names = [p.name for p in folders(base / render_pass if by_kind else base)]
    sequences = [_sequence(base, name, render_pass, by_kind) for name in names]
    found = [s for s in sequences if s is not None]
    if not found:
        raise wrong_layout("sintel", root, LAYOUT.replace("{PASS}", render_pass))
    return found


def _sequence(base: Path, name: str, render_pass: str, by_kind: bool) -> SequenceTruth | None:
    def folder(kind: str) -> Path:
        return base / kind / name if by_kind else base / name / kind

    images = files(folder(render_pass), "frame_*.png")
    if not images:
        return None
    numbers = {number(p): i for i, p in enumerate(images)}
    flows = [
        p for p in files(folder("flow"), "*.flo") if {number(p), number(p) + 1} <= set(numbers)
    ]
    pairs = tuple((numbers[number(p)], numbers[number(p) + 1]) for p in flows)
    depth = [folder("depth") / f"{p.stem}.dpt" for p in images]
    cameras = [folder("camdata_left") / f"{p.stem}.cam" for p in images]
    has_depth, has_cameras = (all(p.exists() for p in paths) for paths in (depth, cameras))
    K, world = _cameras(cameras) if has_cameras else (None, None)
    return SequenceTruth(
        dataset="sintel",
        name=name,
        images=Lazy(tuple(images), read_rgb),
        depth=Lazy(tuple(depth), read_sintel_depth) if has_depth else None,
        intrinsics=K,
        cam2world=world,
        flow_pairs=pairs,
        flow=Lazy(tuple((p, folder("invalid"), folder("occlusions")) for p in flows), _flow)
        if flows
        else None,
        max_depth=MAX_DEPTH,
    )


def _flow(item: tuple[Path, Path, Path]) -> FlowTruth:
    path, invalid, occlusions = item
    truth = read_flow(path)
    unknown, hidden = (f / f"{path.stem}.png" for f in (invalid, occlusions))
    valid = truth.valid & (read_label(unknown) == 0) if unknown.exists() else truth.valid
    visible = valid & (read_label(hidden) == 0) if hidden.exists() else None
    return FlowTruth(truth.flow, valid, visible)


def _cameras(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [read_sintel_camera(p) for p in paths]
    return np.stack([K for K, _ in pairs]), np.linalg.inv(np.stack([M for _, M in pairs]))
