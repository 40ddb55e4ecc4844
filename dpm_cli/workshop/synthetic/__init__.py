"""Dynamic scenes made of numbers, rendered with exact truth: four-map pairs, sequences, training caches."""

from dpm_cli.workshop.synthetic.cache import PairCache, write_cache
from dpm_cli.workshop.synthetic.camera_paths import CAMERA_KINDS
from dpm_cli.workshop.synthetic.pairs import sample_pairs
from dpm_cli.workshop.synthetic.render import render_at, render_clip, render_clips
from dpm_cli.workshop.synthetic.seeds import SPLITS, scene_seed
from dpm_cli.workshop.synthetic.truth import ClipTruth

__all__ = [
    "CAMERA_KINDS",
    "SPLITS",
    "ClipTruth",
    "PairCache",
    "render_at",
    "render_clip",
    "render_clips",
    "sample_pairs",
    "scene_seed",
    "write_cache",
]
