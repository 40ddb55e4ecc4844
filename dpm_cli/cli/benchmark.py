"""`dpm benchmark`."""

import json
from dataclasses import asdict
from typing import Annotated, Any

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
    """How fast dpm is here, against the published way of running such networks and of aligning their pairs.

    Same weights, pairs and images for both ways, in one run: pairs per second, the time of a whole clip, and the gain.
    With --what synth: pairs per second that `dpm synth` renders for training, and the bytes and operations of a pixel.

    [bold]Examples[/bold]

      dpm benchmark

      dpm benchmark --what networks --model dpm-large --frames 12 --size 512x288 --batch-size 8

      dpm benchmark --what clip --frames 24 --size 512x288

      dpm benchmark --what synth --size 256x192 --device cuda
    """
    from dpm_cli.cli.console import reporter
    from dpm_cli.errors import UsageError
    from dpm_cli.workshop.benchmark import benchmark_networks, benchmark_rendering
    from dpm_cli.workshop.clip_speed import clip_speed

    if settings.what not in ("all", "networks", "clip", "synth"):
        raise UsageError(f"--what {settings.what}: choose all, networks, clip or synth")
    if settings.what == "synth":
        _print_rendering(benchmark_rendering(settings, reporter(quiet)), as_json)
        return
    networks = clip = None
    if settings.what != "clip":
        networks = benchmark_networks(settings, reporter(quiet))
    if settings.what != "networks":
        clip = clip_speed(settings, reporter(quiet))
    _print_speeds(networks, clip, as_json)


def _print_speeds(networks: Any, clip: Any, as_json: bool) -> None:
    from dpm_cli.cli.console import emit

    if as_json:
        found: dict[str, Any] = {}
        if networks is not None:
            found |= {
                "networks": asdict(networks),
                "network_speedup": networks.ratio,
                "network_speedup_same_directions": networks.ratio_same_directions,
                "pairs_per_second": networks.pairs_per_second,
            }
        if clip is not None:
            found |= {
                "clip": asdict(clip),
                "alignment_speedup": clip.alignment_speedup,
                "end_to_end_s": clip.end_to_end_s,
                "frames_per_second": clip.frames_per_second,
            }
        emit(json.dumps(found))
        return
    if networks is not None:
        size = networks.size
        emit(
            f"network    {networks.ratio:.2f}x the published way, {networks.ratio_same_directions:.2f}x with both "
            f"directions: {networks.pairs_per_second:.2f} pairs/s ({networks.model}, {size[1]}x{size[0]}, "
            f"{networks.device}); {networks.frames} frames, {networks.pairs} pairs: {networks.ours_s:.1f} s, published "
            f"{networks.published_s:.1f} s; largest difference {networks.largest_difference:.0e}"
        )
    if clip is not None:
        size = clip.size
        emit(
            f"alignment  {clip.alignment_speedup:.0f}x the published way: {clip.align_s:.1f} s, published "
            f"{clip.published_align_s:.0f} s\n"
            f"whole clip {clip.end_to_end_s:.1f} s, {clip.frames_per_second:.2f} frames/s: {clip.frames} frames, "
            f"{clip.pairs} pairs at {size[1]}x{size[0]} ({clip.model}, {clip.device})"
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
