"""Image pairs with optical flow: Middlebury and FlyingChairs.

Middlebury: other-data/<sequence>/frame10.png, frame11.png with other-gt-flow/<sequence>/flow10.flo (unknown = 1e10).
FlyingChairs: data/00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo; also 0000000-img0.ppm, -img1.ppm, -gt.flo.
"""

from pathlib import Path

from dpm_cli.workshop.datasets.layout import files, first_folder, folders, require, wrong_layout
from dpm_cli.workshop.datasets.rasters import read_flow, read_rgb
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth


def read_middlebury(root: Path) -> list[SequenceTruth]:
    """Sequences with public flow.

    Raises:
        InputError: no such folders.
    """
    images, flows = first_folder(root, "other-data"), first_folder(root, "other-gt-flow")
    found = []
    for folder in folders(flows):
        flow = folder / "flow10.flo"
        if flow.exists():
            pair = [require("middlebury", images / folder.name / f"frame{i}.png") for i in (10, 11)]
            found.append(_pair("middlebury", folder.name, pair, flow))
    if not found:
        raise wrong_layout(
            "middlebury",
            root,
            "other-data/<sequence>/frame10.png and other-gt-flow/<sequence>/flow10.flo",
        )
    return found


def read_flyingchairs(root: Path) -> list[SequenceTruth]:
    """All pairs of the folder.

    Raises:
        InputError: no such files.
    """
    base = first_folder(root, "data")
    found = []
    for flow in files(base, "*_flow.flo", "*-gt.flo"):
        published = flow.name.endswith("_flow.flo")
        stem = flow.name.removesuffix("_flow.flo" if published else "-gt.flo")
        ends = ("_img1.ppm", "_img2.ppm") if published else ("-img0.ppm", "-img1.ppm")
        pair = [require("flyingchairs", base / (stem + end)) for end in ends]
        found.append(_pair("flyingchairs", stem, pair, flow))
    if not found:
        raise wrong_layout(
            "flyingchairs", root, "data/00001_img1.ppm, data/00001_img2.ppm and data/00001_flow.flo"
        )
    return found


def _pair(dataset: str, name: str, images: list[Path], flow: Path) -> SequenceTruth:
    return SequenceTruth(
        dataset=dataset,
        name=name,
        images=Lazy(tuple(images), read_rgb),
        flow_pairs=((0, 1),),
        flow=Lazy((flow,), read_flow),
    )
