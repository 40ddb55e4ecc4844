"""From what a user asks of `dpm train` to a finished run."""

import os
import shutil
from dataclasses import replace

import torch

from dpm_cli.devices import pick_device
from dpm_cli.errors import UsageError
from dpm_cli.progress import Reporter
from dpm_cli.weights.store import SHIPPED
from dpm_cli.workshop.datasets.training_mix import RealPairs, open_training_set
from dpm_cli.workshop.losses import LossWeights
from dpm_cli.workshop.settings import TrainOptions
from dpm_cli.workshop.synthetic import write_cache
from dpm_cli.workshop.synthetic.cache import RULER
from dpm_cli.workshop.train.batches import Batch, PairSource
from dpm_cli.workshop.train.checkpoint import NAME
from dpm_cli.workshop.train.loop import TrainJob, TrainResult, train
from dpm_cli.workshop.train.processes import joined
from dpm_cli.workshop.train.recipe import Recipe, choose_recipe
from dpm_cli.workshop.train.settings import TrainSettings
from dpm_cli.workshop.train.sources import CachedPairs, MixedPairs, RenderedPairs, fixed_batches
from dpm_cli.workshop.train.speed import product_flops

CACHE_SIZE = (96, 128)
"""Of clips that `--cache-clips` renders."""
_KNOWN_BESIDE_PRIOR = 0.75
"""Share of pairs whose focal length is told beside a prior: in a clip it nearly always is."""


def settings_of(options: TrainOptions, recipe: Recipe, world: int) -> TrainSettings:
    """The frozen settings of a run: what the recipe plans for the device, and what the user said."""
    if (options.minutes is None) == (options.steps is None):
        raise UsageError("say how long to train: either --minutes or --steps")
    plan = recipe.plan(_is_gpu(options))
    stages = tuple(
        replace(s, batch=max(world, round(s.batch * options.batch_scale) // world * world))
        for s in plan.stages
    )
    return TrainSettings(
        preset=recipe.preset,
        minutes=options.minutes,
        steps=options.steps,
        stages=stages,
        shards=world,
        learning_rate=options.learning_rate or plan.learning_rate,
        muon=plan.muon,
        ema=TrainSettings.ema if options.ema else 0.0,
        known_focal=_KNOWN_BESIDE_PRIOR if options.prior else TrainSettings.known_focal,
        prior=options.prior,
        seed=options.seed,
        checkpoint_every=plan.checkpoint_every,
        loss=LossWeights(),
    )


def on_this_machine(options: TrainOptions) -> TrainOptions:
    """What depends on the machine and on the process (of torchrun) filled in: device, threads, shipped weights."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if pick_device(device) == torch.device("cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    gpu = torch.device(device).type == "cuda"
    threads = max(1, min(16, (os.cpu_count() or 1) // processes)) if gpu else 1
    initial = SHIPPED if str(options.initial) == "shipped" else options.initial
    return replace(options, device=device, workers=options.workers or threads, initial=initial)


def _is_gpu(options: TrainOptions) -> bool:
    return torch.device(options.device).type == "cuda"


def run_training(options: TrainOptions, reporter: Reporter) -> TrainResult:
    """Train, resuming what `options.out` holds; see `TrainOptions`.

    Raises:
        UsageError: no length, unknown preset, a foreign or different run in `out`.
        WeightsError: `initial` holds no network that can be trained.
    """
    options = on_this_machine(options)
    device = torch.device(options.device)
    recipe = choose_recipe(options.preset, options.initial, options.prior)
    with joined(device) as processes:
        settings = settings_of(options, recipe, processes.world)
        if processes.chief:
            _prepare_folder(options)
            if options.cache_clips is not None:
                _fill_cache(options, reporter)
        processes.agree(0.0)  # the others wait for the cache
        source, data = _source(options)
        validation = _validation(options, recipe) if processes.chief else []
        share = _share_line(recipe, settings, device) if processes.chief else ("", 0.0)
        if processes.chief:
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
                recipe,
                settings,
                source,
                validation,
                options.out,
                device,
                data,
                options.workers or 1,
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
    workers = max(1, min(8, os.cpu_count() or 1))
    write_cache(
        options.caches[0],
        "train",
        options.cache_clips,
        [t for t in RULER if t <= options.strides[1]],
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
        source = RenderedPairs(
            options.device, "train", options.strides, options.still, options.compile
        )
        line = "dpm synth, train split, new scenes for every batch"
    if not options.data:
        return source, line
    sequences = [s for name, path in options.data for s in open_training_set(name, path)]
    real = RealPairs(sequences, options.strides)
    names = ", ".join(dict.fromkeys(name for name, _ in options.data))
    share = options.data_share
    return MixedPairs(((real, share), (source, 1 - share))), f"{line}; {share:.0%} {names}"


def _prepare_folder(options: TrainOptions) -> None:
    """An empty folder, a run to go on with, or an error; only our own files are ever removed."""
    out = options.out
    if options.overwrite and (out / NAME).exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not (out / NAME).exists() and not (out / "train.csv").exists():
        raise UsageError(f"{out} is not empty and holds no training run: choose another -o")


def _validation(options: TrainOptions, recipe: Recipe) -> list[Batch]:
    device, cache = options.device, options.validation_cache
    source = CachedPairs([cache]) if cache else RenderedPairs(device, "val", (1, 8))
    plan = recipe.plan(_is_gpu(options))
    return fixed_batches(source, *plan.validation, device, recipe.needs_flow, options.prior)


def _share_line(recipe: Recipe, settings: TrainSettings, device: torch.device) -> tuple[str, float]:
    """A line for people, and the share of the device that one pair a second takes."""
    peak = product_flops(device)
    flops = recipe.pair_flops(settings.stages[-1].sizes[0])
    return (
        f"{flops / 1e9:.1f} GFLOP a pair, matrix products here {peak / 1e12:.2f} TFLOP/s",
        flops / peak,
    )
