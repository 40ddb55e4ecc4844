"""`dpm benchmark`."""

import json
from dataclasses import asdict
from typing import Annotated

from dpm_cli.cli.options import Json, Quiet, fields, with_options
from dpm_cli.workshop.settings import BenchmarkSettings

SETTINGS = fields(
    "what",
    "model",
    "weights",
    "frames",
    "size",
    "pairs",
    "batch_size",
    "compiled",
    "device",
    "dtype",
)


@with_options
def benchmark(
    settings: Annotated[BenchmarkSettings, SETTINGS] = BenchmarkSettings(),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pairs per second here, against the published way of running such networks, with the same weights.

    With --what synth: pairs per second that `dpm synth` renders for training, and the bytes and operations of a pixel.

    [bold]Examples[/bold]

      dpm benchmark

      dpm benchmark --model dpm-large --frames 12 --size 512x288 --batch-size 8

      dpm benchmark --what synth --size 256x192 --device cuda
    """
    from dpm_cli.cli.console import reporter
    from dpm_cli.errors import UsageError
    from dpm_cli.workshop.benchmark import benchmark_networks, benchmark_rendering

    if settings.what == "networks":
        _print_networks(benchmark_networks(settings, reporter(quiet)), as_json)
    elif settings.what == "synth":
        _print_rendering(benchmark_rendering(settings, reporter(quiet)), as_json)
    else:
        raise UsageError(f"--what {settings.what}: choose networks or synth")


def _print_networks(result, as_json: bool) -> None:
    from dpm_cli.cli.console import emit

    if as_json:
        ratios = {"ratio": result.ratio, "ratio_same_directions": result.ratio_same_directions}
        emit(json.dumps({**asdict(result), **ratios, "pairs_per_second": result.pairs_per_second}))
        return
    size = result.size
    emit(
        f"{result.pairs_per_second:.2f} pairs/s ({result.model}, {size[1]}x{size[0]}, {result.device}): "
        f"a clip of {result.frames} frames, {result.pairs} pairs, in {result.ours_s:.1f} s; "
        f"published way {result.published_s:.1f} s = "
        f"{result.ratio:.2f}x, {result.ratio_same_directions:.2f}x with both directions; "
        f"largest difference {result.largest_difference:.0e}"
    )


def _print_rendering(speed, as_json: bool) -> None:
    from dpm_cli.cli.console import emit

    if as_json:
        emit(json.dumps(asdict(speed)))
        return
    size = speed.size
    area = size[0] * size[1] / 1e6
    emit(
        f"{speed.pairs_per_second:.1f} pairs/s, {speed.frames_per_second:.1f} frames/s "
        f"({size[1]}x{size[0]}, {speed.device}, {speed.batch} pairs at a time); a frame is "
        f"{speed.operations_per_pixel * area:.0f} M operations and moves "
        f"{speed.eager_bytes_per_pixel * area:.0f} MB, {speed.fused_bytes_per_pixel * area:.0f} MB fused"
    )
    rate = speed.compiled_pairs_per_second
    if rate is not None and speed.compile_s is not None:
        emit(
            f"{rate:.1f} pairs/s, {2 * rate:.1f} frames/s compiled = {rate / speed.pairs_per_second:.2f}x; "
            f"compiling took {speed.compile_s:.0f} s"
        )
