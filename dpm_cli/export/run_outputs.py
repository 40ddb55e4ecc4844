"""The folders of a run that are made from its frames: `points/`, `flow/`, `masks/`, `preview/`."""

from collections.abc import Callable, Iterable
from pathlib import Path

from dpm_cli.errors import UsageError
from dpm_cli.export.motion import export_flo, export_masks
from dpm_cli.export.options import ExportOptions
from dpm_cli.export.ply import export_ply
from dpm_cli.export.preview import write_previews
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import Sequence4D


def _previews(sequence: Sequence4D, folder: Path, options: ExportOptions) -> None:
    write_previews(
        sequence,
        folder,
        min_confidence=options.min_confidence,
        reporter=options.reporter,
    )


RUN_OUTPUTS: dict[str, tuple[str, Callable[[Sequence4D, Path, ExportOptions], None]]] = {
    "ply": ("points", export_ply),
    "flo": ("flow", export_flo),
    "masks": ("masks", export_masks),
    "preview": ("preview", _previews),
}
"""Name of `--format`: folder in the run, writer."""


def write_run_outputs(
    sequence: Sequence4D,
    folder: Path,
    formats: Iterable[str] = tuple(RUN_OUTPUTS),
    *,
    min_confidence: float = 0.0,
    reporter: Reporter | None = None,
) -> None:
    """Write the outputs named in `formats` into the run folder.

    Raises:
        UsageError: an unknown name.
    """
    names = list(formats)
    unknown = [name for name in names if name not in RUN_OUTPUTS]
    if unknown:
        raise UsageError(f"unknown format {unknown[0]}: choose from {', '.join(RUN_OUTPUTS)}")
    options = ExportOptions(
        min_confidence=min_confidence,
        reporter=reporter or SilentReporter(),
    )
    for name in names:
        subfolder, write = RUN_OUTPUTS[name]
        write(sequence, folder / subfolder, options)
