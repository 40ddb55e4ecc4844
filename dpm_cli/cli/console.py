"""The console of progress and logs: always stderr, so that stdout stays the result."""

import io
import sys

from rich.console import Console

from dpm_cli.progress import Reporter, RichReporter, SilentReporter


def stderr_console() -> Console:
    """A Rich console on stderr; honours NO_COLOR and the terminal's width."""
    return Console(file=sys.stderr, stderr=True)


def reporter(quiet: bool = False, verbose: bool = False) -> Reporter:
    """The reporter that a command passes to the library; `verbose` adds what `Reporter.detail` says."""
    return SilentReporter() if quiet else RichReporter(stderr_console(), verbose)


def complain(message: str) -> None:
    """Print one line of an error on stderr; a name may hold line breaks and what terminals take for commands."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    stderr_console().print(
        f"dpm: {line}", style="red", markup=False, highlight=False, soft_wrap=True
    )


def emit(text: str) -> None:
    """Print one result line on stdout, unwrapped and uncoloured; a path that is no text comes out as its bytes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    sys.stdout.write(text + "\n")
