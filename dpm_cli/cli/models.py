"""`dpm models`: the weights that dpm knows, and those that are on this machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dpm_cli.cli.console import emit, reporter
from dpm_cli.cli.options import Json, Quiet

models_app = typer.Typer(
    no_args_is_help=True,
    help="Weights: name, size, sha256, licence, what they can do.\n\nExamples:\n\n"
    "  dpm models list\n\n  dpm models pull vdpm\n\n  dpm models pull moge-2-small\n\n"
    "  dpm models import DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth",
)


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """One table of all weights, and which of them are here.

    Example: dpm models list --json
    """
    from dpm_cli.weights.store import read_record
    from dpm_cli.weights.table import TABLE

    rows: list[dict[str, Any]] = []
    for entry in TABLE:
        record = read_record(entry)
        rows.append(
            {
                **asdict(entry),
                "option": entry.option,
                "size_bytes": record.size_bytes if record else entry.size_bytes,
                "sha256": record.sha256 if record else entry.sha256,
                "here": record.path if record else None,
                "origin": record.origin if record else None,
            }
        )
    emit(json.dumps({"models": rows})) if as_json else _print_table(rows)


@models_app.command()
def pull(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Rows of `dpm models list`.")
    ],
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit; default: that of an earlier pull, else main."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch weights from the Hugging Face hub: resumed, checked, pinned to the commit.

    HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN work as usual. Example: dpm models pull vdpm
    """
    from dpm_cli.weights.hub import pull as fetch
    from dpm_cli.weights.table import entry_named

    entries = [entry_named(name) for name in names]
    progress = reporter(quiet)
    for entry in entries:
        progress.note(f"{entry.name}: licence {entry.licence}")
        record = fetch(entry, revision=revision, reporter=progress)
        emit(json.dumps(asdict(record)) if as_json else record.path)


@models_app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|FILE]...", help="Default: all that are here."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check sums and contents of the weights on this machine; exit code 4 for a wrong one.

    Examples: dpm models verify, dpm models verify vdpm, dpm models verify my.safetensors
    """
    from dpm_cli.weights.store import read_record
    from dpm_cli.weights.table import TABLE, entry_named
    from dpm_cli.weights.verify import verify_entry, verify_file

    progress = reporter(quiet)
    for name in names or [entry.name for entry in TABLE if read_record(entry)]:
        known = any(entry.name == name for entry in TABLE)
        is_file = not known and (Path(name).suffix or Path(name).exists())
        verdict = (
            verify_file(Path(name), progress)
            if is_file
            else verify_entry(entry_named(name), progress)
        )
        line = f"{name}: ok, {verdict.network}, sha256 {verdict.sha256} (checked against {verdict.checked_against})"
        values = {**asdict(verdict), "path": str(verdict.path), "name": name}
        emit(json.dumps(values) if as_json else f"{line}, licence {verdict.licence}")


@models_app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A .pth, .pt or .safetensors file.")],
    name: Annotated[
        str | None,
        typer.Option(help="Row of `dpm models list` to keep it as; default: by what it holds."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Recognise what a weights file is by its tensors and keep it for `--model` or `--prior`.

    Example: dpm models import MonST3R_PO-TA-S-W_ViTLarge_BaseDecoder_512_dpt.pth --name monst3r
    """
    from dpm_cli.weights.imports import import_weights

    progress = reporter(quiet)
    record, found = import_weights(file, name, progress)
    progress.note(
        f"{found['network']}, {found['parameters']:,} parameters, licence {record.licence}"
    )
    emit(json.dumps({**asdict(record), "network": found["network"]}) if as_json else record.path)


def _print_table(rows: list[dict[str, Any]]) -> None:
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        size = f"{row['size_bytes'] / 1e9:.2f} GB" if row["size_bytes"] else "size unknown"
        digest = f"sha256 {row['sha256'][:16]}" if row["sha256"] else "sha256 unknown"
        here = "here" if row["here"] else "not here"
        emit(f"{row['name']:<{width}}  {row['option']:<20}  {size:>12}  {digest}  {here}")
        emit(f"{'':<{width}}  {row['abilities']}")
        emit(f"{'':<{width}}  licence: {row['licence']}")
