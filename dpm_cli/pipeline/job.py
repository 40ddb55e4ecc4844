"""What the stages of one run share: its settings, its folder, where it runs at the moment, what it has said."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from dpm_cli.config import ReconstructSettings
from dpm_cli.errors import MemoryExhaustedError
from dpm_cli.pipeline.machine import Machine, memory_ends_in_one_line
from dpm_cli.pipeline.memory import MemoryPlan, plan_memory
from dpm_cli.pipeline.run_state import WORK
from dpm_cli.pipeline.stopwatch import Stopwatch
from dpm_cli.progress import Reporter
from dpm_cli.sequence import RunWriter

Result = TypeVar("Result")

_FELL_BACK = "out_of_memory"
"""Key of the manifest: the device whose memory ended."""


class Job:
    """One run while it is computed."""

    def __init__(
        self,
        settings: ReconstructSettings,
        machine: Machine,
        writer: RunWriter,
        watch: Stopwatch,
        reporter: Reporter,
    ):
        self.settings, self.writer, self.watch, self.reporter = settings, writer, watch, reporter
        fell_back = _FELL_BACK in writer.manifest and machine.device.type != "cpu"
        self.machine = machine.on_cpu() if fell_back else machine
        """Where the predictor is; an interrupted run that went to the CPU stays there."""

    @property
    def work(self) -> Path:
        """Folder of what only an unfinished run needs."""
        return self.writer.folder / WORK

    def say(self, notes: list[str]) -> list[str]:
        """The notes, told."""
        for note in notes:
            self.reporter.note(note)
        return notes

    def memory_plan(self, size: tuple[int, int]) -> MemoryPlan:
        """How much is held at a time; the batch is what an unfinished run has frozen, else what the user wants."""
        machine = self.machine
        settled = self.writer.manifest.get("batch_size") or self.settings.batch_size
        most = self.settings.max_memory
        return plan_memory(most, machine.device, machine.predictor.info, size, settled)

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
