"""`dpm train`."""

import json
import os
from typing import Annotated

from dpm_cli.cli.options import Json, Quiet, fields, with_options
from dpm_cli.workshop.settings import TrainOptions

SETTINGS = fields(
    "out",
    "minutes",
    "steps",
    "overwrite",
    Network=("preset", "initial", "prior", "learning_rate", "batch_scale", "ema", "seed"),
    Data=(
        "caches",
        "cache_clips",
        "validation_cache",
        "data",
        "data_share",
        "max_stride",
        "still",
    ),
    Machine=("device", "workers", "compile"),
)


@with_options
def train(
    options: Annotated[TrainOptions, SETTINGS] = TrainOptions(),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on synthetic scenes, public data sets or both; the result is OUT/weights.safetensors.

    Killed runs go on when the same command is given again. Several GPUs: start it with torchrun.

    [bold]Examples[/bold]

      dpm train --minutes 30 -o my_run

      dpm train --init shipped --minutes 30 --device cuda -o better

      dpm train --init shipped --prior --minutes 45 -o with_prior

      dpm train --cache clips --cache-clips 5000 --minutes 90

      dpm train --minutes 600 --data movi=/data/movi_f --data blendedmvs=/data/BlendedMVS

      torchrun --nproc-per-node 4 -m dpm_cli train --minutes 30 -o many

      dpm train --preset large --init DUSt3R_512_dpt/model.safetensors --minutes 1200 --device cuda -o paper

      dpm reconstruct video.mp4 --model dpm-mini --weights my_run/weights.safetensors

      dpm reconstruct video.mp4 --model dpm-large --weights paper/weights.safetensors
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.workshop.train.start import run_training

    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    result = run_training(options, reporter(quiet or not first))
    if first and as_json:
        scores = result.scores.row() if result.scores else None
        emit(
            json.dumps(
                {
                    "weights": str(result.folder / "weights.safetensors"),
                    "steps": result.steps,
                    "pairs": result.pairs,
                    "seconds": result.elapsed_s,
                    "pairs_per_s": result.pairs_per_s,
                    "skipped_steps": result.skipped_steps,
                    "validation": {k: v if v == v else None for k, v in (scores or {}).items()},
                }
            )
        )
    elif first:
        emit(str(result.folder / "weights.safetensors"))
