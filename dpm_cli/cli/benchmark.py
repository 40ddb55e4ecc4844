"""`dpm benchmark`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from dpm_cli.cli.options import Json, Quiet, fields, with_options
from dpm_cli.workshop.settings import BenchmarkSettings

if TYPE_CHECKING:
    from dpm_cli.workshop.benchmark import BenchmarkResult
    from dpm_cli.workshop.clip_speed import ClipSpeed
    from dpm_cli.workshop.synthetic.speed import RenderSpeed

Part = tuple[dict[str, Any], list[str]]
"""Numbers for machines, lines for people."""

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
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.errors import UsageError
    from dpm_cli.workshop.benchmark import benchmark_networks, benchmark_rendering
    from dpm_cli.workshop.clip_speed import clip_speed

    if settings.what not in ("all", "networks", "clip", "synth"):
        raise UsageError(f"--what {settings.what}: choose all, networks, clip or synth")
    if settings.what == "synth":
        parts = [_rendering(benchmark_rendering(settings, reporter(quiet)))]
    else:
        parts = []
        if settings.what != "clip":
            parts.append(_networks(benchmark_networks(settings, reporter(quiet))))
        if settings.what != "networks":
            parts.append(_clip(clip_speed(settings, reporter(quiet))))
    if as_json:
        emit(json.dumps({key: value for numbers, _ in parts for key, value in numbers.items()}))
    else:
        emit("\n".join(line for _, lines in parts for line in lines))


def _networks(found: "BenchmarkResult") -> Part:
    width, height = found.size[1], found.size[0]
    numbers = {
        "networks": asdict(found),
        "network_speedup": found.ratio,
        "network_speedup_same_directions": found.ratio_same_directions,
        "pairs_per_second": found.pairs_per_second,
        "share_of_peak": found.share_of_peak,
    }
    return numbers, [
        f"network    {found.ratio:.2f}x the published way, {found.ratio_same_directions:.2f}x with both "
        f"directions: {found.pairs_per_second:.2f} pairs/s ({found.model}, {width}x{height}, "
        f"{found.device}); {found.frames} frames, {found.pairs} pairs: {found.ours_s:.1f} s, published "
        f"{found.published_s:.1f} s; largest difference {found.largest_difference:.0e}",
        f"           {found.operations / 1e9:.1f} G operations, {found.bytes_moved / 1e9:.1f} GB moved; a large matrix "
        f"product does {found.peak_operations_per_s / 1e9:.0f} G/s here: {found.share_of_peak:.0%} of that",
    ]


def _clip(found: "ClipSpeed") -> Part:
    numbers = {
        "clip": asdict(found),
        "alignment_speedup": found.alignment_speedup,
        "end_to_end_s": found.end_to_end_s,
        "frames_per_second": found.frames_per_second,
    }
    return numbers, [
        f"alignment  {found.alignment_speedup:.0f}x the published way: {found.align_s:.1f} s, published "
        f"{found.published_align_s:.0f} s",
        f"whole clip {found.end_to_end_s:.1f} s, {found.frames_per_second:.2f} frames/s: {found.frames} frames, "
        f"{found.pairs} pairs at {found.size[1]}x{found.size[0]} ({found.model}, {found.device})",
    ]


def _rendering(found: "RenderSpeed") -> Part:
    size, rate = found.size, found.compiled_pairs_per_second
    area = size[0] * size[1] / 1e6
    lines = [
        f"{found.pairs_per_second:.1f} pairs/s, {found.frames_per_second:.1f} frames/s "
        f"({size[1]}x{size[0]}, {found.device}, {found.batch} pairs at a time); a frame is "
        f"{found.operations_per_pixel * area:.0f} M operations and moves "
        f"{found.eager_bytes_per_pixel * area:.0f} MB, {found.fused_bytes_per_pixel * area:.0f} MB fused"
    ]
    if rate is not None and found.compile_s is not None:
        lines.append(
            f"{rate:.1f} pairs/s, {2 * rate:.1f} frames/s compiled = {rate / found.pairs_per_second:.2f}x; "
            f"compiling took {found.compile_s:.0f} s"
        )
    return asdict(found), lines
