"""A sequence as files for other tools and for eyes; one file per format, `EXPORTERS` is the table of names."""

from dpm_cli.export.options import ExportOptions, parse_profile
from dpm_cli.export.preview import write_previews
from dpm_cli.export.run_outputs import RUN_OUTPUTS, write_run_outputs
from dpm_cli.export.table import EXPORTERS, ExportResult
from dpm_cli.export.write import export_sequence

__all__ = [
    "EXPORTERS",
    "RUN_OUTPUTS",
    "ExportOptions",
    "ExportResult",
    "export_sequence",
    "parse_profile",
    "write_previews",
    "write_run_outputs",
]
