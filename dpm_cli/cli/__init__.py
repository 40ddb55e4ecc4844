"""The command line: the table of commands, and the boundary where errors become one line and an exit code."""

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from dpm_cli.cli.benchmark import benchmark
from dpm_cli.cli.console import complain, emit
from dpm_cli.cli.doctor import doctor
from dpm_cli.cli.evaluate import evaluate
from dpm_cli.cli.export import export
from dpm_cli.cli.flow import flow
from dpm_cli.cli.info import info
from dpm_cli.cli.models import models_app
from dpm_cli.cli.objects import objects
from dpm_cli.cli.reconstruct import reconstruct
from dpm_cli.cli.report import report
from dpm_cli.cli.synth import synth
from dpm_cli.cli.track import track
from dpm_cli.cli.train import train
from dpm_cli.cli.view import view
from dpm_cli.errors import DpmError
from dpm_cli.files import unwritable

app = typer.Typer(
    name="dpm",
    help="Video of a moving scene in, 4D reconstruction out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from dpm_cli.version import __version__

        emit(f"dpm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Video of a moving scene in, 4D reconstruction out."""


app.command()(reconstruct)
app.command()(flow)
app.command()(export)
app.command()(track)
app.command()(objects)
app.command()(view)
app.command()(report)
app.command()(info)
app.add_typer(models_app, name="models")
app.command()(synth)
app.command()(evaluate)
app.command()(benchmark)
app.command()(doctor)
app.command()(train)


def yield_waiting_threads() -> None:
    """Let OpenMP threads sleep while they wait, unless the user has said otherwise; torch must not be loaded yet.

    By default they spin, and on processors that others use too they keep those from the thread that they wait for: a
    clip of 8 frames took 181 s (50 s of them computing) instead of 30 s (6 s) on two cores with seven jobs waiting.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def stop_as_by_ctrl_c() -> None:
    """Let SIGTERM (a scheduler, `kill`, a shutdown) and SIGHUP (a closed terminal) end a command as Ctrl-C does.

    Who started dpm with SIGHUP ignored (`nohup`) keeps that.
    """

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, stop)


def main() -> None:
    """Entry point of `dpm`: user errors are one line on stderr, the exit code says their kind."""
    yield_waiting_threads()
    stop_as_by_ctrl_c()
    try:
        app()
    except DpmError as error:
        _complain(str(error), error.exit_code)
    except OSError as error:
        line = unwritable(error)
        if line is None:
            raise
        _complain(line, 1)


def _complain(message: str, exit_code: int) -> NoReturn:
    complain(message)
    sys.exit(exit_code)
