"""Alignment: from passes (directed pairs, each with a scale of its own) to cameras in one world."""

from dpm_cli.align.bundle import Bundle, adjust
from dpm_cli.align.bundle_problem import FlowGrid
from dpm_cli.align.correction import DepthCorrection, confidence_change, smooth_correction
from dpm_cli.align.depth import fuse_log_depth
from dpm_cli.align.passes import Passes
from dpm_cli.align.result import Alignment
from dpm_cli.align.solve import align

__all__ = [
    "Alignment",
    "Bundle",
    "DepthCorrection",
    "FlowGrid",
    "Passes",
    "adjust",
    "align",
    "confidence_change",
    "fuse_log_depth",
    "smooth_correction",
]
