"""Depth at the source size: 16-bit PNG with one declared factor for the whole clip, or OpenEXR."""

from pathlib import Path

import numpy as np

from dpm_cli.config import ExportOptions
from dpm_cli.export.source_size import known_at_source, nearest_to_source
from dpm_cli.files import write_json
from dpm_cli.formats.depth_exr import ExrDepth, write_depth_exr
from dpm_cli.formats.depth_png import LARGEST, DepthImage, write_depth_png
from dpm_cli.sequence import Sequence4D

MILLIMETRE = 1e-3


def export_depth(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/depth_000000.png ... and `path`/depth.json with factor, unit and file names.

    Metric depth is in millimetres where it fits; otherwise the factor is the smallest that fits the farthest point.
    Depth is taken from the nearest working pixel: interpolation would invent points between near and far.
    """
    factor = depth_factor(sequence)
    unit = _unit(sequence)
    names = [f"depth_{t:06d}.png" for t in range(len(sequence))]
    with options.reporter.task("depth", len(sequence)) as advance:
        for t, name in enumerate(names):
            write_depth_png(path / name, DepthImage(*_at_source(sequence, t), factor, unit))
            advance()
    write_json(path / "depth.json", {"depth_factor": factor, "depth_unit": unit, "files": names})


def export_depth_exr(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/depth_000000.exr ...

    Raises:
        MissingExtraError: the extra `exr` is not installed.
    """
    with options.reporter.task("depth", len(sequence)) as advance:
        for t in range(len(sequence)):
            image = ExrDepth(*_at_source(sequence, t), _unit(sequence))
            write_depth_exr(path / f"depth_{t:06d}.exr", image)
            advance()


def _at_source(sequence: Sequence4D, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth and validity of frame `t`, each (H_source, W_source)."""
    frame = sequence.frame(t)
    A, size = sequence.source_from_working, sequence.source_size
    return nearest_to_source(frame.depth, A, size), known_at_source(frame.valid, A, size)


def _unit(sequence: Sequence4D) -> str:
    return "metre" if sequence.scale == "metric" else "arbitrary"


def depth_factor(sequence: Sequence4D) -> float:
    """Depth units of one step of the 16-bit files."""
    farthest = 0.0
    for t in range(len(sequence)):
        frame = sequence.frame(t)
        farthest = max(farthest, float(frame.depth[frame.valid].max(initial=0.0)))
    smallest = max(farthest, 1e-12) / LARGEST
    return MILLIMETRE if sequence.scale == "metric" and smallest <= MILLIMETRE else smallest
