"""A sequence as files for other tools and for eyes; one file per format, `EXPORTERS` is the table of names."""

from dpm_cli.export.options import ExportOptions
from dpm_cli.export.preview import write_previews
from dpm_cli.export.run_outputs import RUN_OUTPUTS, write_run_outputs
from dpm_cli.export.table import EXPORTERS, suffix_of

__all__ = [
    "EXPORTERS",
    "RUN_OUTPUTS",
    "ExportOptions",
    "suffix_of",
    "write_previews",
    "write_run_outputs",
]
