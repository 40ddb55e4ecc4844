"""What is on this machine: one small record per entry of the table, and where a predictor finds its weights.

A record says where the file is, its size, sha256, licence and origin. Files pulled from the hub stay in the hub's
own cache; imported ones lie beside their record. The folder is $DPM_WEIGHTS_DIR, else dpm/weights in the user's
cache folder.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from dpm_cli.errors import WeightsError
from dpm_cli.files import atomic_path, write_json
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.weights.table import TABLE, WeightsEntry

SHIPPED = Path(__file__).parent / "dpm-mini.safetensors"
"""The weights inside the wheel."""
WHEEL = "wheel"
"""Origin of the weights that are part of this installation."""
BLOCK = 1 << 22


@dataclass(frozen=True)
class Record:
    """What is known of a file that is here."""

    name: str
    path: str
    size_bytes: int
    sha256: str
    licence: str
    origin: str
    """`hub REPOSITORY@COMMIT`, `import FILE` or `wheel`."""
    commit: str | None = None
    """Of the hub repository; a later pull asks for this one again."""
    modified_ns: int | None = None
    """Time of the last change of the file: a later one makes the remembered check sum worthless."""


def store_folder() -> Path:
    """Folder of records and imported files; not created here."""
    named = os.environ.get("DPM_WEIGHTS_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(cache) / "dpm" / "weights"


def sha256_of(path: Path, reporter: Reporter | None = None) -> str:
    """Check sum of a file, read in blocks."""
    digest = hashlib.sha256()
    blocks = -(-path.stat().st_size // BLOCK)
    with path.open("rb") as file, (reporter or SilentReporter()).task("sha256", blocks) as advance:
        while block := file.read(BLOCK):
            digest.update(block)
            advance()
    return digest.hexdigest()


def read_record(entry: WeightsEntry) -> Record | None:
    """Record of an entry; None if it was never pulled or imported, or its file is gone."""
    if entry.name == SHIPPED.stem:
        return _shipped(entry)
    path = store_folder() / f"{entry.name}.json"
    if not path.is_file():
        return None
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: damaged record; pull or import {entry.name} again") from error
    return record if Path(record.path).is_file() else None


def write_record(record: Record) -> None:
    """Remember a file, atomically."""
    write_json(store_folder() / f"{record.name}.json", asdict(record))


def keep_file(entry: WeightsEntry, source: Path, licence: str, reporter: Reporter) -> Record:
    """Copy an imported file into the store (a link where the file system allows) and remember it."""
    target = store_folder() / entry.name / source.name
    digest = sha256_of(source, reporter)
    if not (target.exists() and target.samefile(source)):
        with atomic_path(target) as temporary:
            _link_or_copy(source.resolve(), temporary)
    record = record_of(entry.name, target, digest, licence, f"import {source}")
    write_record(record)
    return record


def record_of(
    name: str, path: Path, sha256: str, licence: str, origin: str, commit: str | None = None
) -> Record:
    """Record of a file as it is now."""
    stat = path.stat()
    return Record(name, str(path), stat.st_size, sha256, licence, origin, commit, stat.st_mtime_ns)


def find_weights(predictor: str) -> Path:
    """File of the first entry of the table that is here and that `predictor` runs."""
    fitting = [entry for entry in TABLE if entry.predictor == predictor]
    for entry in fitting:
        record = read_record(entry)
        if record is not None:
            return Path(record.path)
    pull = " or ".join(f"`dpm models pull {entry.name}`" for entry in fitting if entry.repository)
    raise WeightsError(f"no weights for {predictor} on this machine: {pull}, or --weights FILE")


def known_sha256(path: Path) -> str | None:
    """Check sum from the records, for a file that is in one and was not touched since."""
    stat = path.stat()
    for entry in TABLE:
        record = read_record(entry) if entry.name != SHIPPED.stem else None
        if record is None or Path(record.path) != path:
            continue
        if (record.size_bytes, record.modified_ns) == (stat.st_size, stat.st_mtime_ns):
            return record.sha256
    return None


def _shipped(entry: WeightsEntry) -> Record | None:
    if not SHIPPED.is_file():
        return None
    return record_of(entry.name, SHIPPED, sha256_of(SHIPPED), entry.licence, WHEEL)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
