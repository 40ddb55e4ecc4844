"""`dpm benchmark`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dpm_cli.cli.options import RUN, setting


def benchmark(
    what: Annotated[
        str, typer.Option(help="networks, or synth: how fast training pairs are rendered.")
    ] = "networks",
    model: Annotated[
        str,
        typer.Option(help="random (a quarter-size network, no weights needed), dpm-large or vdpm."),
    ] = "random",
    weights: Annotated[Path | None, setting("weights")] = None,
    frames: Annotated[int, typer.Option(min=2, help="Length of the clip.")] = 8,
    size: Annotated[str, typer.Option(help="Working size, WIDTHxHEIGHT in pixels.")] = "192x112",
    pairs: Annotated[
        str, typer.Option(help="auto, complete, or strides such as 1,2,4,8.")
    ] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Pairs at a time. Default: 4; synth 16, on a GPU 256."),
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="synth: also with fused kernels, which takes minutes to compile. Default: on a GPU.",
        ),
    ] = None,
    device: Annotated[str, setting("device")] = RUN.device,
    dtype: Annotated[str, setting("dtype")] = RUN.dtype,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Pairs per second here, against the published way of running such networks, with the same weights.

    With --what synth: pairs per second that `dpm synth` renders for training, and the bytes and operations of a pixel.

    [bold]Examples[/bold]

      dpm benchmark

      dpm benchmark --model dpm-large --frames 12 --size 512x288 --batch-size 8

      dpm benchmark --what synth --size 256x192 --device cuda
    """
    import numpy as np
    import torch

    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.devices import pick_device, pick_dtype
    from dpm_cli.errors import UsageError
    from dpm_cli.passes.pairs import pair_graph
    from dpm_cli.predictors import load_predictor
    from dpm_cli.predictors.protocol import Predictor
    from dpm_cli.workshop.benchmark import random_images, random_predictor, run_benchmark

    on = pick_device(device)
    if what not in ("networks", "synth"):
        raise UsageError(f"--what {what}: choose networks or synth")
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise UsageError(f"--size {size}: give WIDTHxHEIGHT, for example 512x288")
    if what == "synth":
        batch = batch_size or (256 if on.type == "cuda" else 16)
        fused = compiled if compiled is not None else on.type == "cuda"
        _benchmark_synth((int(height), int(width)), on, batch, fused, as_json, quiet)
        return
    number_format = pick_dtype(dtype, on)
    if model not in ("random", "dpm-large", "vdpm"):
        raise UsageError(f"--model {model}: choose random, dpm-large or vdpm")

    def predictor_in(form: torch.dtype) -> Predictor:
        if model == "random":
            return random_predictor(on, form)
        return load_predictor(model, weights=weights, device=on, dtype=form)

    predictor = predictor_in(number_format)
    published = predictor if number_format == torch.float32 else predictor_in(torch.float32)
    graph = torch.from_numpy(pair_graph(np.zeros(frames, np.int64), pairs))
    images = random_images(frames, (int(height), int(width)), on)
    result = run_benchmark(
        predictor, published, images, graph, batch_size=batch_size or 4, reporter=reporter(quiet)
    )
    if as_json:
        ratios = {"ratio": result.ratio, "ratio_same_directions": result.ratio_same_directions}
        emit(json.dumps({**asdict(result), **ratios, "pairs_per_second": result.pairs_per_second}))
        return
    emit(
        f"{result.pairs_per_second:.2f} pairs/s ({result.model}, {size}, {result.device}): a clip of {frames} frames, "
        f"{result.pairs} pairs, in {result.ours_s:.1f} s; published way {result.published_s:.1f} s = "
        f"{result.ratio:.2f}x, {result.ratio_same_directions:.2f}x with both directions; "
        f"largest difference {result.largest_difference:.0e}"
    )


def _benchmark_synth(size: tuple[int, int], on, batch: int, compiled: bool, as_json, quiet) -> None:
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.workshop.synthetic.speed import render_speed

    speed = render_speed(on, size, batch, compile=compiled, reporter=reporter(quiet))
    if as_json:
        emit(json.dumps(asdict(speed)))
        return
    area = size[0] * size[1] / 1e6
    emit(
        f"{speed.pairs_per_second:.1f} pairs/s, {speed.frames_per_second:.1f} frames/s "
        f"({size[1]}x{size[0]}, {speed.device}, {batch} pairs at a time); a frame is "
        f"{speed.operations_per_pixel * area:.0f} M operations and moves "
        f"{speed.eager_bytes_per_pixel * area:.0f} MB, {speed.fused_bytes_per_pixel * area:.0f} MB fused"
    )
    rate = speed.compiled_pairs_per_second
    if rate is not None and speed.compile_s is not None:
        emit(
            f"{rate:.1f} pairs/s, {2 * rate:.1f} frames/s compiled = {rate / speed.pairs_per_second:.2f}x; "
            f"compiling took {speed.compile_s:.0f} s"
        )
