"""Optical flow and motion masks as image files at the source size."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dpm_cli.ahead import WRITERS, in_order
from dpm_cli.config import ExportOptions
from dpm_cli.export.source_size import flow_to_source, known_at_source, resample
from dpm_cli.formats.flo import FlowField, write_flo
from dpm_cli.formats.kitti_flow import write_kitti_flow
from dpm_cli.formats.mask_png import write_mask
from dpm_cli.sequence import FrameResult, Sequence4D


def export_flo(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/fwd_000000_000001.flo and bwd_000001_000000.flo ..."""
    _export_flows(sequence, path, options, ".flo", write_flo)


def export_kitti_flow(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/fwd_000000_000001.png and bwd_000001_000000.png ..."""
    _export_flows(sequence, path, options, ".png", write_kitti_flow)


def export_masks(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/dynamic_000000.png ..., 255 where the motion score exceeds the threshold."""
    shown = known_at_source(
        np.ones(sequence.size, bool), sequence.source_from_working, sequence.source_size
    )

    def write(t: int) -> None:
        score = sequence.read(t, "dynamic")
        assert score is not None
        at_source = resample(score, sequence.source_from_working, sequence.source_size)
        write_mask(path / f"dynamic_{t:06d}.png", (at_source > sequence.motion_threshold) & shown)

    with options.reporter.task("masks", len(sequence)) as advance:
        for _ in in_order(write, range(len(sequence)), WRITERS):
            advance()


def _export_flows(
    sequence: Sequence4D,
    folder: Path,
    options: ExportOptions,
    suffix: str,
    write: Callable[[Path, FlowField], None],
) -> None:
    def write_frame(t: int) -> None:
        for name, flow, known in flows_of_frame(sequence.frame(t), t):
            field = flow_to_source(flow, known, sequence.source_from_working, sequence.source_size)
            write(folder / f"{name}{suffix}", field)

    with options.reporter.task("flow", len(sequence)) as advance:
        for _ in in_order(write_frame, range(len(sequence)), WRITERS):
            advance()


def flows_of_frame(frame: FrameResult, t: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """File stem, flow (H, W, 2) and where it is known (H, W) of the flows that start in frame `t`.

    Known is wider than matched: of a point that gets hidden the flow is estimated too, so it is written wherever
    there is an estimate of the point or a match in the other image.
    """
    if frame.flow_fwd is not None and frame.flow_fwd_valid is not None:
        yield f"fwd_{t:06d}_{t + 1:06d}", frame.flow_fwd, frame.valid | frame.flow_fwd_valid
    if frame.flow_bwd is not None and frame.flow_bwd_valid is not None:
        yield f"bwd_{t:06d}_{t - 1:06d}", frame.flow_bwd, frame.valid | frame.flow_bwd_valid
