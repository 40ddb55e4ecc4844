"""Images decoded in a process of their own, so that one that crashes the libraries is an error and not the end.

The process is started when it is first asked and again after it has died. Question and answer are one line of JSON each
with its length before it; the pixels follow the answer. What has been opened there once is safe to open here.
"""

import atexit
import functools
import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from dpm_cli.errors import DpmError, InputError, UsageError
from dpm_cli.video.bars import Area
from dpm_cli.video.images import image_size, read_image, resize_image
from dpm_cli.video.watched import MOST_MEMORY, Watched

_LENGTH = struct.Struct(">I")
_START = (
    "import sys; sys.path[:] = {path!r}; from dpm_cli.video.image_decoder import serve; serve()"
)
"""Not `-m`, which would import from the folder that the user stands in."""


class ImageDecoder:
    """Asks the process; any thread may."""

    def __init__(self):
        self._child: Watched | None = None
        self._lock = threading.Lock()

    def size(self, path: Path) -> tuple[int, int]:
        """See `images.image_size`."""
        height, width = self._ask(path, do="size")[0]["value"]
        return height, width

    def read(self, path: Path, area: Area, size: tuple[int, int]) -> np.ndarray:
        """`area` of an image as (H, W, 3) uint8 RGB of `size` (height, width); see `images.read_image`."""
        x, y, width, height = area.x, area.y, area.width, area.height
        answer, pixels = self._ask(path, do="read", area=[x, y, width, height], size=list(size))
        return np.frombuffer(pixels, np.uint8).reshape(answer["shape"])

    def rest(self) -> None:
        """End the process until it is asked again."""
        with self._lock:
            self._drop()

    def _ask(self, path: Path, **question: Any) -> tuple[dict[str, Any], bytearray]:
        """The answer and its pixels.

        Raises:
            InputError: the image cannot be read, or the process hangs or dies of it.
            UsageError: a library is not installed.
        """
        # The process may have been started when the user stood elsewhere.
        asked = {"here": os.getcwd(), "path": str(path), **question}
        with self._lock:
            child = self._child = self._child or _started()
            try:
                child.say(memoryview(_message(asked)))
                answer = json.loads(_exactly(child, _LENGTH.unpack(_exactly(child, 4))[0]))
                pixels = _exactly(child, int(np.prod(answer.get("shape", [0]))))
                child.rest()
            except (EOFError, OSError):
                fault = child.wait() or "ended before its time"
                self._drop()
                raise InputError(f"{path} cannot be decoded: the image decoder {fault}") from None
            except BaseException:  # interrupted in the middle of an answer
                self._drop()
                raise
        if "error" in answer:
            kinds: dict[str, type[DpmError]] = {"usage": UsageError}
            raise kinds.get(answer["kind"], InputError)(answer["error"])
        return answer, pixels

    def _drop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child.close()
            self._child = None


@functools.cache
def image_decoder() -> ImageDecoder:
    """The one of this process."""
    decoder = ImageDecoder()
    atexit.register(decoder.rest)
    return decoder


def _started() -> Watched:
    command = [sys.executable, "-P", "-c", _START.format(path=sys.path)]
    return Watched(command, talks=True, logs=False)


def _exactly(child: Watched, count: int) -> bytearray:
    """The next bytes of its answer."""
    content = bytearray(count)
    view, done = memoryview(content), 0
    while done < count:
        more = child.stdout.readinto(view[done:])  # pyright: ignore
        if not more:
            raise EOFError
        child.heard()
        done += more
    return content


def _message(value: dict[str, Any]) -> bytes:
    text = json.dumps(value).encode()
    return _LENGTH.pack(len(text)) + text


def serve() -> None:
    """The process: answers until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks will end it
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while len(head := questions.read(4)) == 4:
        question = json.loads(questions.read(_LENGTH.unpack(head)[0]))
        _answer(question, answers)
        answers.flush()


def _answer(question: dict[str, Any], answers: IO[bytes]) -> None:
    work: dict[str, Callable[..., Any]] = {"size": _size, "read": _read}
    os.chdir(question.pop("here"))
    path = Path(question.pop("path"))
    try:
        found = work[question.pop("do")](path, **question)
    except MemoryError:
        most = f"{MOST_MEMORY / 2**30:.0f} GiB"
        found = {"error": f"{path} needs more than {most} of memory to be decoded", "kind": "input"}
    except DpmError as error:
        kind = "usage" if isinstance(error, UsageError) else "input"
        found = {"error": str(error), "kind": kind}
    if isinstance(found, np.ndarray):
        answers.write(_message({"shape": found.shape}))
        answers.write(np.ascontiguousarray(found).data)
    else:
        answers.write(_message(found))


def _size(path: Path) -> dict[str, Any]:
    return {"value": image_size(path)}


def _read(path: Path, area: list[int], size: list[int]) -> np.ndarray:
    x, y, width, height = area
    inside = read_image(path)[y : y + height, x : x + width]
    return resize_image(inside, (size[0], size[1]))
