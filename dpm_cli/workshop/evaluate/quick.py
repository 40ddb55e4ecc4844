"""The quick suite: scenes rendered from seeds kept for testing, offline, minutes on a CPU.

It makes the README's table, `predictors/quality.json`, which `--model auto` goes by, and tells whether new weights are
better. One scalar decides: the mean end-point error of the four maps in unit mean norm, over all scenes at strides 2
and 8; less is better.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from dpm_cli.workshop.datasets.synth import truth_of_clip
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.evaluate.cases import STRIDES, PairCase, four_map_case
from dpm_cli.workshop.evaluate.results import Score, table
from dpm_cli.workshop.synthetic import render_at, render_clip, scene_seed

SCALAR = "mean of epe_p11, epe_p12, epe_p21, epe_p22 over synth/stride-2 and synth/stride-8; less is better"
SCENES = 24
SIZE = (216, 384)
VIDEO_SCENES = 3
VIDEO_FRAMES = 8
MOVING = "synth/moving-camera"
"""Column of those pairs, of both strides, between which the camera moved by more than a hundredth of the distance."""
QUICK_MODELS = ("constant-depth", "dis-flow", "static:geometric", "geometric", "dpm-mini")


def quick_cases(scenes: int = SCENES, size: tuple[int, int] = SIZE) -> Iterator[PairCase]:
    """Frames 0, 2 and 8 of each test scene, paired at both strides."""
    times = torch.tensor([[0.0, *map(float, STRIDES)]])
    for index in range(scenes):
        clip = render_at(torch.tensor([scene_seed("test", index)]), times, size)
        truth = truth_of_clip(clip, f"test-{index:03d}")
        for frame, stride in enumerate(STRIDES, 1):
            case = four_map_case(truth, 0, frame)
            yield dataclasses.replace(
                case, dataset=f"synth/stride-{stride}", name=f"{truth.name} 0>{stride}"
            )


def quick_clips(
    scenes: int = VIDEO_SCENES, frames: int = VIDEO_FRAMES, size: tuple[int, int] = SIZE
) -> Iterator[SequenceTruth]:
    """Short clips of further test scenes with a moving camera, for what only a whole reconstruction shows."""
    for index in range(scenes):
        seed = scene_seed("test", SCENES + index)
        camera = ("orbit", "hand", "dolly")[index % 3]
        yield truth_of_clip(
            render_clip(seed, frames, size, camera=camera), f"test-{SCENES + index:03d}-{camera}"
        )


def quality(scores: list[Score]) -> dict[str, Any]:
    """The content of `predictors/quality.json`: the deciding number of each model, and all others."""
    means = table(scores)
    pairs = {
        model: [sets[f"synth/stride-{s}"]["epe"] for s in STRIDES if f"synth/stride-{s}" in sets]
        for model, sets in means.items()
    }
    score = {
        model: round(sum(epe) / len(epe), 6)
        for model, epe in pairs.items()
        if len(epe) == len(STRIDES)
    }
    return {"scalar": SCALAR, "score": score, "table": means}
