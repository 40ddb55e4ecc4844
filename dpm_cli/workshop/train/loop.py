"""The training loop: batches in, weights out. Knows no network by name and no files but its own run folder.

OUT/checkpoint.pt   resume state        OUT/weights.safetensors   averaged weights, ready for --weights
OUT/train.csv       loss terms          OUT/validation.csv        scores        OUT/curves.png
"""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_cli.errors import DpmError
from dpm_cli.workshop.train.batches import Batch, PairSource, prefetch
from dpm_cli.workshop.train.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from dpm_cli.workshop.train.curves import CsvLog, plot_run
from dpm_cli.workshop.train.optimiser import MuonAdamW
from dpm_cli.workshop.train.processes import Processes
from dpm_cli.workshop.train.recipe import Recipe
from dpm_cli.workshop.train.settings import TrainSettings
from dpm_cli.workshop.train.validate import Scores

WEIGHTS = "weights.safetensors"
_LOG_EVERY = 20
_GIVE_UP = 100
"""Steps in a row without a finite gradient: the network is lost."""
_AHEAD = 4
"""Batches made ahead of use, at least; a batch of large pictures is hundreds of megabytes."""


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    folder: Path
    steps: int
    pairs: int
    elapsed_s: float
    pairs_per_s: float
    skipped_steps: int
    """Steps whose gradient was not finite."""
    scores: Scores | None
    """Last validation of the averaged weights."""


@dataclass(frozen=True, eq=False)
class TrainJob:
    """What to train on, where, and what to tell."""

    recipe: Recipe
    settings: TrainSettings
    source: PairSource
    validation: list[Batch]
    folder: Path
    device: torch.device
    data: str
    """One line for the weights' metadata."""
    workers: int = 1
    processes: Processes = field(default_factory=Processes)
    report: Callable[[str, float], None] = lambda message, progress: None
    """Called every few steps with a line and the share done."""
    compile: bool = False


class _Run:
    """Mutable state of one run; `train` drives it."""

    def __init__(self, job: TrainJob):
        self.job, self.settings, self.recipe = job, job.settings, job.recipe
        torch.manual_seed(job.settings.seed)
        network = self.recipe.network().to(device=job.device)
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = deepcopy(self.network).eval() if self.settings.ema else self.network
        # A plain AdamW is this with no matrix for Muon.
        inner = self.recipe.inner if self.settings.muon else ()
        self.optimizer = MuonAdamW(self.network, inner, self.settings.weight_decay)
        self.step = self.pairs = self.skipped = self.in_a_row = 0
        self.before_s = 0.0
        self.began = time.monotonic()
        self.scores: Scores | None = None
        self._restore()
        self.forward: Any = torch.compile(self.network) if job.compile else self.network

    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self.began

    def _restore(self) -> None:
        found = load_checkpoint(self.job.folder, self.settings.to_json())
        if found is None:
            return
        self.network.load_state_dict(found.network)
        if self.settings.ema:
            self.average.load_state_dict(found.average)
        self.optimizer.load_state_dict(found.optimizer)
        self.step, self.pairs, self.before_s = found.step, found.pairs, found.elapsed_s

    def learn(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """One step and its numbers, still on the device; a gradient that is not finite changes nothing."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.step, progress)
        self.optimizer.zero_grad(set_to_none=True)
        device = self.job.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.autocast):
            out = self.recipe.forward(self.forward, batch)
        loss, terms = self.recipe.loss(out, batch.truth, self.settings.loss)
        loss.backward()
        self.job.processes.mean_gradients(self.network)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
            self._follow()
            self.in_a_row = 0
        else:
            self._skip()
        self.step += 1
        self.pairs += len(batch.truth.images) * self.job.processes.world
        return {"loss": loss.detach(), "gradient_norm": norm} | terms

    def _skip(self) -> None:
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == _GIVE_UP:
            raise DpmError(
                f"{_GIVE_UP} steps in a row without a finite gradient at step {self.step}: start anew with a lower "
                "--learning-rate and --overwrite"
            )

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; faster at the start, where old weights are worth nothing."""
        if not self.settings.ema:
            return
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        own = self.network.parameters()
        for mean, new in zip(self.average.parameters(), own, strict=True):
            mean.lerp_(new, 1 - decay)

    def save(self) -> None:
        if not self.job.processes.chief:
            return
        save_checkpoint(
            self.job.folder,
            TrainingState(
                self.step,
                self.pairs,
                self.elapsed_s(),
                self.settings.to_json(),
                self.network.state_dict(),
                self.average.state_dict() if self.settings.ema else {},
                self.optimizer.state_dict(),
            ),
        )
        metadata = {
            "data": self.job.data,
            "settings": self.settings.to_json(),
            "steps": str(self.step),
            "pairs": str(self.pairs),
            "hours": f"{self.elapsed_s() / 3600:.3f}",
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "long_side": str(max(max(size) for size in self.settings.stages[-1].sizes)),
        }
        path = self.job.folder / WEIGHTS
        self.recipe.save(path, self.average, metadata, self.job.validation)


def train(job: TrainJob) -> TrainResult:
    """Train to the end of the schedule, resuming what `job.folder` holds."""
    run, settings, chief = _Run(job), job.settings, job.processes.chief
    log = CsvLog(job.folder / "train.csv", run.step) if chief else None
    scores_log = CsvLog(job.folder / "validation.csv", run.step) if chief else None
    first_pairs, first_s = run.pairs, run.elapsed_s()
    clock = lambda: job.processes.agree(run.elapsed_s())  # noqa: E731
    batches = prefetch(
        job.source,
        settings,
        run.step,
        clock,
        ahead=max(_AHEAD, job.workers),
        workers=job.workers,
        rank=job.processes.rank,
        world=job.processes.world,
        device=job.device,
        needs_flow=job.recipe.needs_flow,
    )
    for step, progress, batch in batches:
        if progress >= 1:
            break
        found = run.learn(batch, progress)
        if log is not None and step % _LOG_EVERY == 0:
            speed = (run.pairs - first_pairs) / (run.elapsed_s() - first_s)
            _report(run, log, step, progress, speed, found)
        if run.step % settings.validate_every == 0 and scores_log is not None:
            _validate(run, scores_log)
        if run.step % settings.checkpoint_every == 0:
            run.save()
    batches.close()
    run.save()
    if scores_log is not None:
        _validate(run, scores_log)
    elapsed = run.elapsed_s()
    speed = (run.pairs - first_pairs) / max(elapsed - first_s, 1e-9)
    return TrainResult(job.folder, run.step, run.pairs, elapsed, speed, run.skipped, run.scores)


def _report(
    run: _Run, log: CsvLog, step: int, progress: float, speed: float, found: dict[str, Tensor]
) -> None:
    """A row of the log, and a line for people."""
    terms = {name: float(value) for name, value in found.items()}
    place = {"step": step, "pairs": run.pairs, "seconds": run.elapsed_s()}
    log.add(place | {"rate": run.settings.rate(step, progress), "speed": speed} | terms)
    shown = run.job.recipe.shown
    line = f"{speed:.1f} pairs/s  loss {terms['loss']:.3f}  {shown} {terms[shown]:.3f}"
    run.job.report(line, progress)


def _validate(run: _Run, log: CsvLog) -> None:
    """Score the averaged weights, add a row, draw the curves."""
    if not run.job.validation:
        return
    batches, autocast = run.job.validation, run.settings.autocast
    run.scores = run.recipe.validate(run.average, batches, autocast)
    log.add(
        {"step": run.step - 1, "pairs": run.pairs, "seconds": run.elapsed_s()} | run.scores.row()
    )
    folder = run.job.folder
    plot_run(folder, folder / "curves.png")
