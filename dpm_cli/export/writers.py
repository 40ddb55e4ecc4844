"""The writer of a format, imported when it is asked for."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from dpm_cli.config import ExportOptions
from dpm_cli.outputs import Output
from dpm_cli.sequence import Sequence4D

Writer = Callable[[Sequence4D, Path, ExportOptions], None]


def writer_of(output: Output) -> Writer:
    """The function that writes a sequence to a path."""
    module, function = output.writer.split(":")
    return getattr(import_module(f"dpm_cli.export.{module}"), function)
