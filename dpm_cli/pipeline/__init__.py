"""Whole runs: a video in, a run folder out."""

from dpm_cli.pipeline.plan import Plan, plan_runs
from dpm_cli.pipeline.reconstruct import FinishedRun, reconstruct, reconstruct_many

__all__ = ["FinishedRun", "Plan", "plan_runs", "reconstruct", "reconstruct_many"]
