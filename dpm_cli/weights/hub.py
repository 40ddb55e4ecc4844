"""Weights from the Hugging Face hub: resumed, held against size and check sum, pinned to a commit.

The hub's own client downloads, so HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and tokens work as everywhere. It goes on
where a cut connection left off, but it never checks the content; that is done here.
"""

from pathlib import Path
from typing import Any

from dpm_cli.errors import MissingExtraError, UsageError, WeightsError
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.weights.store import Record, read_record, record_of, sha256_of, write_record
from dpm_cli.weights.table import WeightsEntry

ATTEMPTS = 3
"""Downloads that may be cut, and files that may come out wrong, before giving up."""
SHA256_DIGITS = 64


def pull(
    entry: WeightsEntry, *, revision: str | None = None, reporter: Reporter | None = None
) -> Record:
    """Fetch an entry's file, or use the one in the hub's cache, and check it.

    Args:
        entry: row of the table.
        revision: branch, tag or commit; None = the commit of an earlier pull, else the table's.
        reporter: told of retries.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        UsageError: the entry is not on the hub.
        WeightsError: not reachable, no such file or revision, cut too often, or the content is wrong.
    """
    hub = _client()
    if entry.repository is None:
        raise UsageError(f"{entry.name} is not on the hub: there is nothing to pull")
    reporter = reporter or SilentReporter()
    if isinstance(reporter, SilentReporter):
        hub.utils.disable_progress_bars()
    earlier = read_record(entry)
    wanted = revision or (earlier.commit if earlier and earlier.commit else entry.revision)
    expected, commit = _announced(hub, entry, wanted, reporter)
    force, digest, path = False, "", Path()
    for _ in range(ATTEMPTS):
        path = _download(hub, entry, commit or wanted, force, reporter)
        digest = sha256_of(path, reporter)
        if expected is None or digest == expected:
            break
        reporter.note(
            f"{entry.file}: sha256 is {digest[:12]}, not {expected[:12]}: fetching it again"
        )
        force = True
    else:
        path.resolve().unlink()  # the wrong file must not be taken from the cache next time
        path.unlink(missing_ok=True)
        raise WeightsError(
            f"{entry.repository}/{entry.file}: sha256 {digest} after {ATTEMPTS} downloads, expected {expected}"
        )
    commit = commit or _commit_of(path)
    origin = f"hub {entry.repository}@{commit or wanted}"
    record = record_of(entry.name, path, digest, entry.licence, origin, commit)
    write_record(record)
    return record


def _client() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    return huggingface_hub


def _announced(
    hub: Any, entry: WeightsEntry, revision: str, reporter: Reporter
) -> tuple[str | None, str | None]:
    """(sha256, commit) that the table or the hub states; (table's, None) without a connection."""
    if hub.constants.HF_HUB_OFFLINE:
        return entry.sha256, None
    url = hub.hf_hub_url(entry.repository, entry.file, revision=revision)
    try:
        metadata = hub.get_hf_file_metadata(url)
    except (
        Exception
    ) as error:  # whatever the hub's http client raises; the download says what is wrong
        reporter.note(f"{url}: {_one_line(error)}")
        return entry.sha256, None
    # The ETag of a large file is its sha256; that of a small one is git's sha1, which is no use here.
    etag = metadata.etag if metadata.etag and len(metadata.etag) == SHA256_DIGITS else None
    return entry.sha256 or etag, metadata.commit_hash


def _download(
    hub: Any, entry: WeightsEntry, revision: str, force: bool, reporter: Reporter
) -> Path:
    """Path in the hub's cache; a cut download goes on where it stopped."""
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            path = hub.hf_hub_download(
                entry.repository,
                entry.file,
                revision=revision,
                force_download=force and attempt == 0,
            )
            return Path(path)
        except (hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError) as error:
            raise WeightsError(
                f"{entry.repository}/{entry.file}@{revision}: {_one_line(error)}"
            ) from error
        except Exception as error:  # the http library of the hub's client is not ours to know
            reason = _one_line(error)
            reporter.note(f"{entry.file}: {reason}; going on (attempt {attempt + 2} of {ATTEMPTS})")
    raise WeightsError(
        f"{entry.repository}/{entry.file}: download failed {ATTEMPTS} times: {reason}"
    )


def _commit_of(path: Path) -> str | None:
    """Commit from the cache's folder `snapshots/COMMIT/file`."""
    return path.parent.name if path.parent.parent.name == "snapshots" else None


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
