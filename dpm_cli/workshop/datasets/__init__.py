"""Readers of public data sets: those for evaluation give `SequenceTruth`, those for training are `training_*`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dpm_cli.errors import UsageError
from dpm_cli.workshop.datasets.davis import read_davis
from dpm_cli.workshop.datasets.flow_pairs import read_flyingchairs, read_middlebury
from dpm_cli.workshop.datasets.kitti import read_kitti_depth, read_kitti_flow, read_kitti_sceneflow
from dpm_cli.workshop.datasets.movi import read_movi
from dpm_cli.workshop.datasets.pointodyssey import read_pointodyssey
from dpm_cli.workshop.datasets.rgbd import read_7scenes, read_redwood, read_slambook
from dpm_cli.workshop.datasets.sintel import read_sintel
from dpm_cli.workshop.datasets.spring import read_spring
from dpm_cli.workshop.datasets.synth import read_synth
from dpm_cli.workshop.datasets.tapvid3d import read_tapvid3d
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.datasets.tum_rgbd import read_bonn, read_tum
from dpm_cli.workshop.datasets.waymo import read_waymo

READERS: dict[str, Callable[[Path], list[SequenceTruth]]] = {
    "sintel": read_sintel,
    "sintel-clean": partial(read_sintel, render_pass="clean"),
    "bonn": read_bonn,
    "kitti-depth": read_kitti_depth,
    "kitti-flow": read_kitti_flow,
    "kitti-sceneflow": read_kitti_sceneflow,
    "tum": read_tum,
    "7scenes": read_7scenes,
    "movi": read_movi,
    "pointodyssey": read_pointodyssey,
    "spring": read_spring,
    "waymo": read_waymo,
    "tapvid3d": read_tapvid3d,
    "davis": read_davis,
    "middlebury": read_middlebury,
    "flyingchairs": read_flyingchairs,
    "redwood": read_redwood,
    "slambook": read_slambook,
    "synth": read_synth,
}


def read_dataset(name: str, path: Path) -> list[SequenceTruth]:
    """All sequences of the data set in the folder `path`, read by the reader called `name`.

    Raises:
        UsageError: no reader of that name.
        InputError: the folder does not hold what was expected.
    """
    if name not in READERS:
        raise UsageError(f"unknown data set '{name}': choose one of {', '.join(READERS)}")
    return READERS[name](Path(path))
