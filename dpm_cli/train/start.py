"""From what a user asks of `dpm train` to a finished run."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dpm_cli.datasets.training_mix import RealPairs, open_training_set
from dpm_cli.errors import UsageError
from dpm_cli.losses import LossWeights
from dpm_cli.network.mini import PRESETS, MiniConfig
from dpm_cli.progress import Reporter
from dpm_cli.synthetic import write_cache
from dpm_cli.train.batches import PairSource
from dpm_cli.train.checkpoint import NAME
from dpm_cli.train.loop import TrainJob, TrainResult, train
from dpm_cli.train.processes import joined
from dpm_cli.train.settings import CPU_STAGES, GPU_STAGES, TrainSettings
from dpm_cli.train.sources import CachedPairs, MixedPairs, RenderedPairs, fixed_batches
from dpm_cli.train.speed import product_flops, training_flops
from dpm_cli.weights.mini_file import load_mini

CACHE_SIZE = (96, 128)
"""Of clips that `--cache-clips` renders."""
_VALIDATION = (4, 16, (96, 128))
"""Batches, pairs a batch, size."""


@dataclass(frozen=True)
class TrainOptions:
    """What the command line collects."""

    out: Path
    minutes: float | None = None
    steps: int | None = None
    preset: str | None = None
    """None: that of `initial`, else mini."""
    initial: Path | None = None
    caches: tuple[Path, ...] = ()
    cache_clips: int | None = None
    """Render this many clips into the (one) folder of `caches` first; those already there are kept."""
    validation_cache: Path | None = None
    data: tuple[tuple[str, Path], ...] = ()
    """Public data sets as (name, folder)."""
    data_share: float = 0.5
    """Share of pairs from `data`; the rest is synthetic."""
    learning_rate: float | None = None
    batch_scale: float = 1.0
    strides: tuple[int, int] = (1, 8)
    still_fraction: float = 0.25
    seed: int = 0
    device: str = "cpu"
    workers: int = 1
    compile: bool = False
    overwrite: bool = False


def settings_of(options: TrainOptions, world: int) -> TrainSettings:
    """The frozen settings of a run: stages by device, a gentler rate where weights are given."""
    if (options.minutes is None) == (options.steps is None):
        raise UsageError("say how long to train: either --minutes or --steps")
    gpu = torch.device(options.device).type == "cuda"
    stages = tuple(
        replace(s, batch=max(world, round(s.batch * options.batch_scale) // world * world))
        for s in (GPU_STAGES if gpu else CPU_STAGES)
    )
    if options.initial is not None and not gpu:
        stages = (replace(stages[-1], start=0.0),)
    rate = options.learning_rate or (5e-4 if options.initial else 1e-3 if gpu else 1.5e-3)
    return TrainSettings(
        preset=options.preset or _preset_of(options.initial),
        minutes=options.minutes,
        steps=options.steps,
        stages=stages,
        shards=world,
        learning_rate=rate,
        seed=options.seed,
        loss=LossWeights(),
    )


def run_training(options: TrainOptions, reporter: Reporter) -> TrainResult:
    """Train, resuming what `options.out` holds; see `TrainOptions`.

    Raises:
        UsageError: no length, unknown preset, a foreign or different run in `out`.
        WeightsError: `initial` is not ours or does not fit the preset.
    """
    device = torch.device(options.device)
    if options.preset is not None and options.preset not in PRESETS:
        raise UsageError(f"unknown preset {options.preset!r}: choose one of {', '.join(PRESETS)}")
    with joined(device) as processes:
        settings = settings_of(options, processes.world)
        if processes.chief:
            _prepare_folder(options)
            if options.cache_clips is not None:
                _fill_cache(options, reporter)
        processes.agree(0.0)  # the others wait for the cache
        initial = load_mini(options.initial) if options.initial else None
        if initial and initial.network.config != PRESETS[settings.preset]:
            raise UsageError(
                f"{options.initial} is another size than preset {settings.preset}: leave --preset out"
            )
        source, data = _source(options)
        validation = _validation(options) if processes.chief else []
        if processes.chief:
            share = _share_line(settings, device)
            reporter.note(f"{settings.preset}, {data}; {share[0]}")
        with reporter.task("train", 1000) as advance:
            shown = 0

            def report(line: str, progress: float) -> None:
                nonlocal shown
                target = int(1000 * progress)
                advance(target - shown)
                shown = target
                reporter.note(f"{progress:6.1%}  {line}")

            job = TrainJob(
                settings,
                source,
                validation,
                options.out,
                device,
                data,
                initial.network.state_dict() if initial else None,
                options.workers,
                processes,
                report,
                options.compile,
            )
            result = train(job)
        if processes.chief:
            reporter.note(
                f"{result.pairs_per_s:.1f} pairs/s = {result.pairs_per_s * share[1] / processes.world:.0%} of that"
            )
        return result


def _fill_cache(options: TrainOptions, reporter: Reporter) -> None:
    if len(options.caches) != 1 or options.cache_clips is None:
        raise UsageError("--cache-clips fills one folder: give exactly one --cache")
    frames = options.strides[1] + 1
    workers = max(1, min(8, os.cpu_count() or 1))
    write_cache(
        options.caches[0],
        "train",
        options.cache_clips,
        frames,
        CACHE_SIZE,
        workers=workers,
        reporter=reporter,
    )


def _source(options: TrainOptions) -> tuple[PairSource, str]:
    """Where pairs come from, and one line that says so."""
    source: PairSource
    if options.caches:
        source = CachedPairs(options.caches, options.strides)
        line = f"dpm synth, {len(source)} clips rendered to disk"
    else:
        source = RenderedPairs(options.device, "train", options.strides, options.still_fraction)
        line = "dpm synth, train split, new scenes for every batch"
    if not options.data:
        return source, line
    sequences = [s for name, path in options.data for s in open_training_set(name, path)]
    real = RealPairs(sequences, options.strides)
    names = ", ".join(dict.fromkeys(name for name, _ in options.data))
    share = options.data_share
    return MixedPairs(((real, share), (source, 1 - share))), f"{line}; {share:.0%} {names}"


def _preset_of(initial: Path | None) -> str:
    if initial is None:
        return "mini"
    config: MiniConfig = load_mini(initial).network.config
    names = [n for n, c in PRESETS.items() if c == config]
    if not names:
        raise UsageError(f"{initial} has a size that is no preset: {config.to_json()}")
    return names[0]


def _prepare_folder(options: TrainOptions) -> None:
    """An empty folder, a run to go on with, or an error; only our own files are ever removed."""
    out = options.out
    if options.overwrite and (out / NAME).exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not (out / NAME).exists() and not (out / "train.csv").exists():
        raise UsageError(f"{out} is not empty and holds no training run: choose another -o")


def _validation(options: TrainOptions) -> list:
    count, batch, size = _VALIDATION
    device = options.device
    if options.validation_cache is not None:
        return fixed_batches(CachedPairs([options.validation_cache]), count, batch, size)
    return fixed_batches(RenderedPairs(device, "val", (1, 8)), count, batch, size)


def _share_line(settings: TrainSettings, device: torch.device) -> tuple[str, float]:
    """A line for people, and the share of the device that one pair a second takes."""
    peak = product_flops(device)
    stage = settings.stages[-1]
    flops = training_flops(settings.preset, stage.sizes[0])
    return (
        f"{flops / 1e9:.1f} GFLOP a pair, matrix products here {peak / 1e12:.2f} TFLOP/s",
        flops / peak,
    )
