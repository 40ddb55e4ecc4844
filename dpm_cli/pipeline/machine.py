"""A predictor where it runs, and where it goes when the memory of a GPU ends even for the smallest piece of work."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from dpm_cli.config import ReconstructSettings
from dpm_cli.devices import is_out_of_memory, pick_device, pick_dtype
from dpm_cli.errors import MemoryExhaustedError
from dpm_cli.predictors import load_predictor
from dpm_cli.predictors.protocol import Predictor
from dpm_cli.prior.choose import find_prior
from dpm_cli.progress import Reporter


@dataclass(frozen=True)
class Machine:
    """A predictor where it runs."""

    predictor: Predictor
    device: torch.device
    dtype: torch.dtype
    settings: ReconstructSettings
    """What it was loaded by."""

    def on_cpu(self) -> "Machine":
        """The same predictor, loaded again, on the CPU."""
        return _loaded(self.settings, torch.device("cpu"))


def load_machine(settings: ReconstructSettings, reporter: Reporter) -> Machine:
    """The model on its device; its notes are told.

    Raises:
        DpmError: an unknown device or model, or weights or a prior that are not here.
    """
    device = pick_device(settings.device)
    find_prior(settings.prior, device)  # what is wrong with it is said before any work
    machine = _loaded(settings, device)
    for note in machine.predictor.info.notes:
        reporter.note(note)
    return machine


def _loaded(settings: ReconstructSettings, device: torch.device) -> Machine:
    dtype = pick_dtype(settings.dtype, device)
    predictor = load_predictor(settings.model, weights=settings.weights, device=device, dtype=dtype)
    return Machine(predictor, device, dtype, settings)


@contextmanager
def memory_ends_in_one_line() -> Iterator[None]:
    """Make of the allocators' errors one that says what would help.

    Raises:
        MemoryExhaustedError: memory ended inside.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryExhaustedError(
            "out of memory: use a smaller --size, fewer frames (--max-frames, --stride), or end other programs"
        ) from error
