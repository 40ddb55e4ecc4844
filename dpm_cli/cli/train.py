"""`dpm train`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def train(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Run folder; a run in it goes on.")
    ] = Path("dpm_train"),
    minutes: Annotated[
        float | None,
        typer.Option(help="Wall clock to spend; the schedule ends with it whatever the speed."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps instead of minutes: exactly reproducible.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Network: mini, mini-gpu (given flow), large (the paper's, 607 M parameters), base-pair (the same at "
            "79 M), tiny, tiny-pair (tests). Default: that of --init, or mini; a deeper one makes --init deeper."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start from these weights: of an earlier run, 'shipped', or a DUSt3R or MonST3R file, whose licence "
            "the result then has."
        ),
    ] = None,
    cache: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of clips rendered before (repeatable); default: new scenes."),
    ] = None,
    cache_clips: Annotated[
        int | None, typer.Option(help="Render this many clips into the --cache folder first.")
    ] = None,
    val_cache: Annotated[
        Path | None, typer.Option(help="Folder of clips of the validation split.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER of a public data set (repeatable): movi, pointodyssey, waymo, spring, scannetpp, "
            "blendedmvs, megadepth."
        ),
    ] = None,
    data_share: Annotated[
        float, typer.Option(help="Share of pairs from --data; the rest is synthetic.")
    ] = 0.5,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate of AdamW.")] = None,
    batch_scale: Annotated[float, typer.Option(help="Multiplies the batch of every stage.")] = 1.0,
    max_stride: Annotated[
        int, typer.Option(help="Frames between the images of a pair, at most.")
    ] = 8,
    still: Annotated[
        float, typer.Option(help="Share of pairs with a still camera (new scenes only).")
    ] = 0.25,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Threads that make batches ahead.")] = None,
    compile_network: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="torch.compile of network and renderer: minutes to start, pays off on long GPU runs.",
        ),
    ] = False,
    ema: Annotated[
        bool, typer.Option(help="Keep averaged weights; without, a fifth less memory.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option(help="Start anew where a run with other settings lies.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Train a network on synthetic scenes, public data sets or both; the result is OUT/weights.safetensors.

    Killed runs go on when the same command is given again. Several GPUs: start it with torchrun.

    [bold]Examples[/bold]

      dpm train --minutes 30 -o my_run

      dpm train --init shipped --minutes 30 --device cuda -o better

      dpm train --cache clips --cache-clips 5000 --minutes 90

      dpm train --minutes 600 --data movi=/data/movi_f --data blendedmvs=/data/BlendedMVS

      torchrun --nproc-per-node 4 -m dpm_cli train --minutes 30 -o many

      dpm train --preset large --init DUSt3R_512_dpt/model.safetensors --minutes 1200 --device cuda -o paper

      dpm reconstruct video.mp4 --model dpm-mini --weights my_run/weights.safetensors

      dpm reconstruct video.mp4 --model dpm-large --weights paper/weights.safetensors
    """
    import os

    import torch

    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.devices import pick_device
    from dpm_cli.errors import UsageError
    from dpm_cli.weights.store import SHIPPED
    from dpm_cli.workshop.train.start import TrainOptions, run_training

    rank = int(os.environ.get("LOCAL_RANK", "0"))
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if pick_device(device) == torch.device("cuda"):
        device = f"cuda:{rank}"
    gpu = device.startswith("cuda")
    named = [entry.partition("=") for entry in data or ()]
    if any(not folder for _, _, folder in named):
        raise UsageError(
            f"--data {' '.join(data or ())}: write NAME=FOLDER, for example movi=/data/movi_f"
        )
    options = TrainOptions(
        out=out,
        minutes=minutes,
        steps=steps,
        preset=preset,
        initial=SHIPPED if str(init) == "shipped" else init,
        caches=tuple(cache or ()),
        cache_clips=cache_clips,
        validation_cache=val_cache,
        data=tuple((name, Path(folder)) for name, _, folder in named),
        data_share=data_share,
        learning_rate=learning_rate,
        batch_scale=batch_scale,
        strides=(1, max_stride),
        still_fraction=still,
        seed=seed,
        device=device,
        workers=workers or (max(1, min(16, (os.cpu_count() or 1) // beside)) if gpu else 1),
        compile=compile_network,
        average=ema,
        overwrite=overwrite,
    )
    result = run_training(options, reporter(quiet or rank > 0))
    if rank == 0 and as_json:
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
    elif rank == 0:
        emit(str(result.folder / "weights.safetensors"))
