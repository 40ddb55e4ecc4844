"""What the stages of one run share: its settings, its folder, where it runs at the moment, what it has said."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from dpm_cli.clip_store import ClipPlan
from dpm_cli.config import ReconstructSettings
from dpm_cli.errors import MemoryExhaustedError
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline.machine import Machine, memory_ends_in_one_line
from dpm_cli.pipeline.memory import MemoryPlan, plan_memory, task_of
from dpm_cli.pipeline.pass_work import PassWork, Spread
from dpm_cli.pipeline.run_state import WORK
from dpm_cli.pipeline.stopwatch import Stopwatch
from dpm_cli.predictors.protocol import MeasuresFlow
from dpm_cli.progress import Reporter
from dpm_cli.ram import give_back_ram
from dpm_cli.sequence import RunWriter

Result = TypeVar("Result")

_FELL_BACK = "out_of_memory"
"""Key of the manifest: the device whose memory ended."""


class Job:
    """One run while it is computed."""

    def __init__(
        self,
        plan: ClipPlan,
        settings: ReconstructSettings,
        machine: Machine,
        writer: RunWriter,
        watch: Stopwatch,
        reporter: Reporter,
        spread: Spread | None = None,
    ):
        self.plan, self.settings, self.writer = plan, settings, writer
        self.watch, self.reporter, self.spread = watch, reporter, spread
        fell_back = _FELL_BACK in writer.manifest and machine.device.type != "cpu"
        self.machine = machine.on_cpu() if fell_back else machine
        """Where the predictor is; an interrupted run that went to the CPU stays there."""
        self.memory = self.plan_memory()
        """How much is held at a time there."""

    @property
    def work(self) -> Path:
        """Folder of what only an unfinished run needs."""
        return self.writer.folder / WORK

    def say(self, notes: list[str]) -> list[str]:
        """The notes, told."""
        for note in notes:
            self.reporter.note(note)
        return notes

    def plan_memory(self) -> MemoryPlan:
        """How much is held at a time, told; batch and window are what an unfinished run has frozen, if it has.

        Raises:
            MemoryExhaustedError: the user allows too little.
        """
        machine, most = self.machine, self.settings.max_memory
        predictor, manifest = machine.predictor, self.writer.manifest
        give_back_ram()
        task = task_of(self.plan, self.settings, predictor, manifest)
        found = plan_memory(most, machine.device, predictor.info, task)
        (self.reporter.note if most or found.short else self.reporter.detail)(found.text(most))
        if isinstance(predictor, MeasuresFlow):
            predictor.matcher.make_do_with(found.matching)
        return found

    def attempt(self, work: Callable[[], Result]) -> Result:
        """`work`, once more on the CPU where the memory of another device is not enough for it.

        Raises:
            MemoryExhaustedError: nor is that of the CPU.
        """
        while True:
            try:
                with memory_ends_in_one_line():
                    return work()
            except MemoryExhaustedError:
                if self.machine.device.type == "cpu":
                    raise
            # Not in the handler: the error holds what has filled the memory.
            self._fall_back()

    def halve_window(self) -> bool:
        """Predict smaller windows from now on, from the start; False where they are no windows or the smallest."""
        before = self.memory.window or 0
        if before <= 2:
            return False
        self.memory = replace(self.memory, window=max(before // 2, 2))
        shutil.rmtree(self.work / "passes", ignore_errors=True)
        self.writer.write_manifest({"window": self.memory.window})
        self.reporter.note(f"out of memory: going on with windows of {self.memory.window} frames")
        return True

    def make_passes(self, work: PassWork) -> PassStore:
        """All passes, some of them in other processes; not where this one had to go to another device than theirs."""
        if self.spread is not None and _FELL_BACK not in self.writer.manifest:
            elsewhere = self.spread(work, self.machine)
            self.writer.write_manifest({"pieces_elsewhere": elsewhere})
        return work.run(self.machine, self.reporter)

    def memory_notes(self) -> list[str]:
        """What the manifest says where a device was given up."""
        device = self.writer.manifest.get(_FELL_BACK)
        if device is None:
            return []
        return [f"out of memory on {device}, even for one pair: the rest was done on the CPU"]

    def _fall_back(self) -> None:
        device = self.machine.device
        self.machine = self.machine.on_cpu()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        # Not the batch of the device: the CPU's is planned anew.
        self.writer.manifest.pop("batch_size", None)
        self.writer.write_manifest({_FELL_BACK: str(device), "device": "cpu"})
        self.say(self.memory_notes())
        self.memory = self.plan_memory()
