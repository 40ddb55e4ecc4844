"""The folders of a run that are made from its frames: `points/`, `flow/`, `masks/`, `preview/`."""

from collections.abc import Iterable
from pathlib import Path

from dpm_cli.config import ExportOptions
from dpm_cli.errors import UsageError
from dpm_cli.export.writers import writer_of
from dpm_cli.outputs import OUTPUTS, RUN_FORMATS
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import Sequence4D


def write_run_outputs(
    sequence: Sequence4D,
    folder: Path,
    formats: Iterable[str] = RUN_FORMATS,
    *,
    min_confidence: float = 0.0,
    reporter: Reporter | None = None,
) -> None:
    """Write the outputs named in `formats` into the run folder.

    Raises:
        UsageError: an unknown name.
    """
    names = list(formats)
    unknown = [name for name in names if name not in RUN_FORMATS]
    if unknown:
        raise UsageError(f"unknown format {unknown[0]}: choose from {', '.join(RUN_FORMATS)}")
    options = ExportOptions(
        min_confidence=min_confidence,
        reporter=reporter or SilentReporter(),
    )
    for name in names:
        output = OUTPUTS[name]
        writer_of(output)(sequence, folder / output.run_folder, options)
