"""Alignment: from passes (directed pairs, each with a scale of its own) to cameras in one world."""

from dpm_cli.align.bundle_problem import FlowGrid
from dpm_cli.align.correction import DepthCorrection
from dpm_cli.align.depth import fuse_log_depth
from dpm_cli.align.passes import Passes, views_of_frame
from dpm_cli.align.refine import Refined, ToldDepth, refine_on_flows
from dpm_cli.align.result import Alignment
from dpm_cli.align.solve import align

__all__ = [
    "Alignment",
    "DepthCorrection",
    "FlowGrid",
    "Passes",
    "Refined",
    "ToldDepth",
    "align",
    "fuse_log_depth",
    "refine_on_flows",
    "views_of_frame",
]
