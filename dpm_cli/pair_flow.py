"""Two images: optical flow, scene flow, motion masks, depth, relative camera and correspondences.

A pair is a clip of two frames: the pipeline makes a run of it in a work folder, from which the result is written.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.errors import UsageError
from dpm_cli.export import ExportOptions
from dpm_cli.export.npz import export_npz
from dpm_cli.files import atomic_path, write_json
from dpm_cli.formats.flo import FlowField, read_flo, write_flo
from dpm_cli.geometry.matches import Correspondences, mutual_matches
from dpm_cli.matching.at_source import flow_at_source
from dpm_cli.matching.choice import Both
from dpm_cli.matching.user_flow import UserFlow
from dpm_cli.pipeline import reconstruct_many
from dpm_cli.pipeline.lock import folder_lock
from dpm_cli.pipeline.run_state import is_empty
from dpm_cli.progress import Reporter
from dpm_cli.sequence import Sequence4D, read_manifest
from dpm_cli.video.bars import Area
from dpm_cli.video.images import read_image

WORK = ".dpm_pair"
MATCH_STRIDE_PX = 2


def flow_of_pair(
    image_a: Path,
    image_b: Path,
    folder: Path,
    settings: ReconstructSettings,
    *,
    overwrite: bool,
    reporter: Reporter,
) -> dict[str, Any]:
    """Write flow.npz, fwd.flo, bwd.flo, matches.npz, preview/ and dpm.json into `folder`; returns the summary.

    Raises:
        UsageError: the folder holds something and `overwrite` is not set.
        DpmError: see `dpm_cli.pipeline.reconstruct`.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: choose another folder with -o")
    with folder_lock(folder):
        if not is_empty(folder) and not overwrite:
            raise UsageError(
                f"{folder} is not empty: choose another folder with -o, or --overwrite"
            )
        return _flow(image_a, image_b, folder, settings, reporter)


def _flow(
    image_a: Path, image_b: Path, folder: Path, settings: ReconstructSettings, reporter: Reporter
) -> dict[str, Any]:
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    try:
        target = RunTarget((str(image_a), str(image_b)), work)
        run = reconstruct_many([target], settings, reporter=reporter)[0]
        sequence = Sequence4D.open(work)
        matches = correspondences(sequence)
        with atomic_path(folder / "matches.npz") as path:
            np.savez(path, **vars(matches))
        export_npz(sequence, folder / "flow.npz", ExportOptions())
        _write_flows((image_a, image_b), settings, work, folder)
        _move_pictures(work / "preview", folder / "preview")
        manifest = read_manifest(work)
        assert manifest is not None
        write_json(folder / "dpm.json", {**manifest, "kind": "pair"})
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {**run.summary, "run": str(folder), "matches": len(matches.distance)}


def _write_flows(
    images: tuple[Path, Path], settings: ReconstructSettings, work: Path, folder: Path
) -> None:
    """The run's flow files; flow that was measured or given is made at the source's size, wherever they know any.

    Hidden points have it too, interpolated along the image's edges: by truth that is as good there as projected points.
    """
    names = ("fwd", "fwd_000000_000001"), ("bwd", "bwd_000001_000000")
    manifest = read_manifest(work)
    assert manifest is not None
    if manifest["flow"] == "predicted":
        for name, source in names:
            (work / "flow" / f"{source}.flo").replace(folder / f"{name}.flo")
        return
    area = Area(*manifest["source_area"])
    found = _flow_at_source(images, area, settings.flow_dir)
    for (name, source), flow in zip(names, found, strict=True):
        field = read_flo(work / "flow" / f"{source}.flo")
        full = field.flow.copy()
        full[area.part] = flow
        write_flo(folder / f"{name}.flo", FlowField(full, field.valid))


def _flow_at_source(images: tuple[Path, Path], area: Area, flow_dir: str | None) -> Both:
    """Flow (h, w, 2) both ways of the part of two images that shows a picture: the user's, else measured."""
    first, second = (read_image(image) for image in images)
    if flow_dir is None:
        return flow_at_source(first[area.part], second[area.part])
    given = UserFlow(Path(flow_dir), (0, 1), first.shape[:2], area).read(0, 1, area.size)
    assert given is not None, "checked before the run"
    return given


def correspondences(sequence: Sequence4D) -> Correspondences:
    """Mutual nearest neighbours of P_1(t_1) and P_2(t_1) of a sequence of two frames, in working pixels."""
    first, second = sequence.frame(0), sequence.frame(1)
    world = [
        torch.from_numpy(f.points(sequence.cam2world[t], sequence.intrinsics[t]))
        for t, f in enumerate((first, second))
    ]
    assert second.scene_flow_bwd is not None
    back = world[1] + torch.from_numpy(second.scene_flow_bwd)
    confidence = [torch.from_numpy(f.confidence) for f in (first, second)]
    valid = [torch.from_numpy(f.valid) for f in (first, second)]
    return mutual_matches(world[0], back, *confidence, *valid, stride=MATCH_STRIDE_PX)


def _move_pictures(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for picture in sorted(source.iterdir()):
        picture.replace(target / picture.name)
