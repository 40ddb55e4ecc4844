"""Taking a file of weights into the store under the row of the table that fits what it holds."""

from pathlib import Path
from typing import Any

from dpm_cli.errors import UsageError, WeightsError
from dpm_cli.progress import Reporter
from dpm_cli.weights.inspect import Kind, describe
from dpm_cli.weights.store import Record, keep_file
from dpm_cli.weights.table import WeightsEntry, entry_named

ROWS = {Kind.DUST3R.value: "dust3r", Kind.VDPM.value: "vdpm", Kind.VGGT.value: "vggt"}
"""Row by what a file holds. MonST3R's tensors have DUSt3R's names: only the user can tell them apart."""
OWN_ROWS = {"dpm-large": "my-large", "vdpm": "vdpm"}
"""Row of files that this tool has written, by the predictor that runs them."""


def import_weights(
    file: Path, name: str | None, reporter: Reporter
) -> tuple[Record, dict[str, Any]]:
    """Recognise `file`, keep it in the store, and say what it is.

    Raises:
        WeightsError: not weights, damaged, or of a network that nothing here runs.
        UsageError: `name` is a row that the file does not fit.
    """
    found = describe(file)
    if found["predictor"] is None:
        raise WeightsError(f"{file}: holds {found['network']}, which no predictor here runs")
    entry = _row(file, name, found)
    return keep_file(entry, Path(file), found["licence"], reporter), found


def _row(file: Path, name: str | None, found: dict[str, Any]) -> WeightsEntry:
    predictor = found["predictor"]
    if name is None:
        name = ROWS.get(found["network"]) or OWN_ROWS.get(predictor)
    if name is None:
        raise UsageError(
            f"{file}: {found['network']} is used as it is: --model {predictor} --weights {file}"
        )
    entry = entry_named(name)
    if entry.predictor != predictor:
        raise UsageError(f"{file}: holds {found['network']}, which cannot be kept as {name}")
    return entry
