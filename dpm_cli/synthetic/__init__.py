"""Dynamic scenes made of numbers, rendered with exact truth: four-map pairs, sequences, training caches."""

from dpm_cli.synthetic.cache import PairCache, write_cache
from dpm_cli.synthetic.camera_paths import CAMERA_KINDS
from dpm_cli.synthetic.pairs import sample_pairs
from dpm_cli.synthetic.render import render_at, render_clip, render_clips
from dpm_cli.synthetic.seeds import SPLITS, scene_seed
from dpm_cli.synthetic.truth import ClipTruth

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
