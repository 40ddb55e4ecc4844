"""`dpm doctor`."""

import json
from dataclasses import asdict

import typer

from dpm_cli.cli.options import Json


def doctor(
    as_json: Json = False,
) -> None:
    """Report what this installation can do: device, ffmpeg, Open3D, extras, weights.

    Exit code 1 if something that dpm needs is broken.

    [bold]Examples[/bold]

      dpm doctor

      dpm doctor --json
    """
    from dpm_cli.cli.console import emit
    from dpm_cli.doctor import examine, healthy

    checks = examine()
    if as_json:
        emit(json.dumps({"healthy": healthy(checks), "checks": [asdict(c) for c in checks]}))
    else:
        mark = {"ok": "ok", "warning": "! ", "missing": "--", "failed": "!!"}
        width = max(len(c.name) for c in checks)
        for check in checks:
            emit(f"{mark[check.state]}  {check.name:<{width}}  {check.found}")
            if check.hint and check.state != "ok":
                emit(f"    {'':<{width}}  -> {check.hint}")
    if not healthy(checks):
        raise typer.Exit(1)
