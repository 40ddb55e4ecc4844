"""Is a weights file what it should be: check sum against the record or table, tensors against a network."""

from dataclasses import dataclass
from pathlib import Path

from dpm_cli.errors import WeightsError
from dpm_cli.progress import Reporter
from dpm_cli.weights.inspect import describe
from dpm_cli.weights.mini_file import load_mini
from dpm_cli.weights.store import WHEEL, read_record, sha256_of
from dpm_cli.weights.table import WeightsEntry


@dataclass(frozen=True)
class Verdict:
    """What was found of a file that is right; a wrong one raises."""

    path: Path
    sha256: str
    checked_against: str
    """What the check sum was held against: table, record, its own metadata, or nothing."""
    network: str
    licence: str


def verify_entry(entry: WeightsEntry, reporter: Reporter) -> Verdict:
    """Check an entry's file on this machine; raises WeightsError if it is missing or changed."""
    record = read_record(entry)
    if record is None:
        raise WeightsError(f"{entry.name} is not on this machine: `dpm models pull {entry.name}`")
    path = Path(record.path)
    if record.origin == WHEEL:
        weights = load_mini(path)  # holds the tensors against the check sum in the file's metadata
        licence = weights.metadata.get("licence", record.licence)
        return Verdict(path, record.sha256, "its own metadata", entry.name, licence)
    digest = sha256_of(path, reporter)
    imported = record.origin.startswith("import")  # a file of the user's own choice
    expected = record.sha256 if imported else entry.sha256 or record.sha256
    if digest != expected:
        raise WeightsError(
            f"{path}: sha256 {digest} instead of {expected}: pull or import {entry.name} again"
        )
    found = describe(path)
    if found["predictor"] != entry.predictor:
        raise WeightsError(f"{path}: holds {found['network']}, which is not {entry.name}")
    source = "table" if entry.sha256 == expected else "record"
    return Verdict(path, digest, source, found["network"], found["licence"])


def verify_file(path: Path, reporter: Reporter) -> Verdict:
    """Check a file that is in no record: that it is whole and holds a known network."""
    found = describe(path)
    return Verdict(path, sha256_of(path, reporter), "nothing", found["network"], found["licence"])
