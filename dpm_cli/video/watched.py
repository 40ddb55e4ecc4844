"""Programs that decode what strangers have made, under watch: they may hang, crash, never end, or want all memory.

A watched program is killed when it says nothing for too long, with all that it has started. Its memory is limited where
the system can do that for another process (Linux).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from dpm_cli.errors import DpmError, UsageError

MOST_MEMORY = 8 * 2**30
"""Bytes that a decoder may take: frames of 8K that depend on sixteen others need four GiB."""
MOST_TEXT = 2**28
"""Bytes that a program may say in all: a line for every frame of a day."""
_SILENT_S = 120.0
"""The longest wait for a frame that was seen is half a minute: a far seek into 8K on one slow core."""
_POSIX = os.name == "posix"


def silent_s() -> float:
    """Seconds without a word after which a decoder is taken to hang: `DPM_DECODE_TIMEOUT`, or two minutes.

    Raises:
        UsageError: it is no positive number.
    """
    text = os.environ.get("DPM_DECODE_TIMEOUT") or str(_SILENT_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"DPM_DECODE_TIMEOUT={text}: give a positive number of seconds")
    return seconds


class Watched:
    """A running program with its pipes; use as a context manager, at whose end it does not run any more."""

    def __init__(self, command: list[str], *, talks: bool = False, logs: bool = True):
        """Start `command`; it `talks` with us if it reads what we `say`, and `logs` if somebody reads its stderr.

        Raises:
            DpmError: it cannot be run at all.
        """
        self.name = os.path.basename(command[0])
        self._silent_s = silent_s()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if logs else subprocess.DEVNULL,
                bufsize=0,
                process_group=0 if _POSIX else None,
            )
        except OSError as error:
            raise DpmError(f"{command[0]} cannot be run: {error.strerror}") from error
        _limit_memory(self.process.pid)
        self._heard: float | None = time.monotonic()
        self._fault: str | None = None
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    @property
    def stdout(self) -> IO[bytes]:
        """What it puts out."""
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """Its log."""
        assert self.process.stderr is not None
        return self.process.stderr

    def heard(self) -> None:
        """It has said something, or nobody has listened: the watch starts anew."""
        self._heard = time.monotonic()

    def rest(self) -> None:
        """Nothing is expected of it until it is spoken to."""
        self._heard = None

    def collect(self, pipe: IO[bytes], parts: list[bytes]) -> None:
        """Read a pipe to its end."""
        total = 0
        while part := pipe.read(1 << 16):
            self.heard()
            parts.append(part)
            total += len(part)
            if total > MOST_TEXT:
                self.give_up("talks without end")
                return

    def say(self, content: memoryview) -> None:
        """Write all of `content` to its standard input; the watch runs while it does not take it."""
        assert self.process.stdin is not None
        view = content.cast("B")
        self.heard()
        while view:
            view = view[self.process.stdin.write(view) :]
            self.heard()

    def end_of_talk(self) -> None:
        """Close its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def give_up(self, fault: str) -> None:
        """Kill it, with its children, which would hold the pipes open; `fault` is what it did wrong."""
        self._fault = self._fault or fault
        self._kill()

    def wait(self) -> str | None:
        """Wait for its end; what is wrong with it, None where it ended by itself, whatever its exit code."""
        code = self.process.wait()
        if self._fault is None and (code < 0 or code > 255):
            self._fault = f"died ({_signal_name(code)}); another version may do better"
        return self._fault

    def stop(self) -> None:
        """End it, if it still runs, and the watch."""
        self._over.set()
        if self.process.poll() is None:
            self._kill()
        self._watch.join()
        self.process.wait()

    def close(self) -> None:
        """Close the pipes; call it when nobody reads them any more."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.close()

    def _look(self) -> None:
        while not self._over.wait(min(1.0, self._silent_s / 4)):
            heard = self._heard
            if heard is not None and time.monotonic() - heard > self._silent_s:
                wait = f"{self._silent_s:g} s"
                self.give_up(
                    f"has given nothing for {wait}; DPM_DECODE_TIMEOUT=SECONDS waits longer"
                )
                return

    def _kill(self) -> None:
        if not _POSIX:
            self.process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Said:
    """All that a program has said."""

    stdout: str
    stderr: str
    fault: str | None
    """See `Watched.wait`."""


def run_watched(command: list[str]) -> Said:
    """Run a program that says little, to its end."""
    with Watched(command) as child:
        parts: list[list[bytes]] = [[], []]
        pipes = (child.stdout, child.stderr)
        threads = [
            threading.Thread(target=child.collect, args=(pipe, part), daemon=True)
            for pipe, part in zip(pipes, parts, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        fault = child.wait()
    stdout, stderr = (b"".join(part).decode(errors="replace") for part in parts)
    return Said(stdout, stderr, fault)


def _limit_memory(pid: int) -> None:
    if sys.platform == "linux":
        import resource

        with suppress(OSError, ValueError):  # it has ended already, or has a lower limit
            resource.prlimit(pid, resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"code {code & 0xFFFFFFFF:#x}"
