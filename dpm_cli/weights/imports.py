"""Taking a file of weights into the store under the row of the table that fits what it holds."""

from pathlib import Path
from typing import Any

from dpm_cli.errors import UsageError, WeightsError
from dpm_cli.progress import Reporter
from dpm_cli.weights.inspect import Kind, describe
from dpm_cli.weights.store import Record, keep_file
from dpm_cli.weights.table import MOGE, TABLE, WeightsEntry, entry_named

ROWS = {Kind.DUST3R.value: "dust3r", Kind.VDPM.value: "vdpm", Kind.VGGT.value: "vggt"}
"""Row by what a file holds. MonST3R's tensors have DUSt3R's names: only the user can tell them apart."""
OWN_ROWS = {"dpm-large": "my-large", "vdpm": "vdpm"}
"""Row of files that this tool has written, by the predictor that runs them."""
_SAME_SIZE = 0.02
"""Relative difference of the numbers of parameters of two files of one size, with and without a head."""


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
        name = ROWS.get(found["network"]) or OWN_ROWS.get(predictor) or _row_by_size(found)
    if name is None:
        if predictor == MOGE:
            raise UsageError(f"{file}: {found['network']} of another size than the released ones")
        raise UsageError(
            f"{file}: {found['network']} is used as it is: --model {predictor} --weights {file}"
        )
    entry = entry_named(name)
    if entry.predictor != predictor:
        raise UsageError(f"{file}: holds {found['network']}, which cannot be kept as {name}")
    return entry


def _row_by_size(found: dict[str, Any]) -> str | None:
    """The row of a network that comes in several sizes."""
    for entry in TABLE:
        fits = entry.predictor == found["predictor"] == MOGE and entry.parameters is not None
        if fits and abs(found["parameters"] / entry.parameters - 1) < _SAME_SIZE:
            return entry.name
    return None
