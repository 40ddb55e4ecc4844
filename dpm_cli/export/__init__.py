"""A sequence as files for other tools and for eyes; one file per format; `dpm_cli.outputs` is the table of them."""

from dpm_cli.config import ExportOptions
from dpm_cli.export.preview import write_previews
from dpm_cli.export.run_outputs import write_run_outputs
from dpm_cli.export.write import ExportResult, export_sequence

__all__ = [
    "ExportOptions",
    "ExportResult",
    "export_sequence",
    "write_previews",
    "write_run_outputs",
]
