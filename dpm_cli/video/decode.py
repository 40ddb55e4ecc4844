"""Frames of a video as a stream: ffmpeg writes raw RGB into a pipe, a background thread reads ahead a few frames.

Frames are recognised by their presentation time, which ffmpeg's `showinfo` filter prints for every frame, not by
counting: edit lists, seeking and frames that cannot be decoded would shift a count. Nothing is duplicated or dropped
to fill a constant rate.
"""

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.video.bars import Area, whole_area
from dpm_cli.video.ffmpeg import (
    ShownTimes,
    every_frame_once,
    executable,
    has_filter,
    input_arguments,
    undecodable,
)
from dpm_cli.video.probe import VideoInfo
from dpm_cli.video.watched import Watched

_READ_AHEAD = 8
_TIMES_AHEAD = 4096
_LONGEST_LINE = 1 << 16
_MORE_FRAMES = 1000
_SEEK_MARGIN_S = 2.0
_ZSCALE_TRANSFER = {"hlg": "arib-std-b67", "pq": "smpte2084"}


def can_tone_map() -> bool:
    """Whether the binary can bring HDR to standard range."""
    return has_filter("zscale") and has_filter("tonemap")


def deinterlacer() -> str:
    """Filter that makes one whole frame of each interlaced one, with its time; frames that are whole pass."""
    name = "bwdif" if has_filter("bwdif") else "yadif"
    return f"{name}=mode=send_frame:deint=interlaced"


def filter_chain(info: VideoInfo, size: tuple[int, int], area: Area) -> str:
    """Filters that bring `area` of a decoded frame to RGB of `size` (height, width); ffmpeg has rotated it before.

    HDR is resized first, because tone mapping is the slow step; it goes to linear light with a nominal peak of
    100 nits, then Hable's curve, then BT.709 (the usual chain of players).
    """
    height, width = size
    enlarging = width > area.width or height > area.height
    crop = f"crop={area.width}:{area.height}:{area.x}:{area.y}:exact=1,"
    crop = "" if area == whole_area(info.size) else crop
    crop = f"{deinterlacer()},{crop}" if info.interlaced else crop
    if info.hdr and can_tone_map():
        kernel = "lanczos" if enlarging else "bicubic"
        colour = f"tin={_ZSCALE_TRANSFER[info.hdr]}:min=2020_ncl:pin=2020"
        return (
            f"{crop}zscale=w={width}:h={height}:filter={kernel}:{colour}:t=linear:npl=100,format=gbrpf32le,"
            "zscale=p=709,tonemap=hable:desat=0,zscale=t=709:m=709:r=full,format=rgb24"
        )
    kernel = "lanczos" if enlarging else "area"
    return f"{crop}scale={width}:{height}:flags={kernel}+accurate_rnd+full_chroma_int,format=rgb24"


class VideoDecoder:
    """Iterates over (index, frame) of the wanted frames of one video, in order; use as a context manager."""

    def __init__(
        self,
        info: VideoInfo,
        indices: np.ndarray,
        size: tuple[int, int],
        area: Area | None = None,
    ):
        """Decode `indices` (ascending positions in `info.pts`) of `area`, None = all, at `size` (height, width)."""
        self.info = info
        self.size = size
        self.area = area or whole_area(info.size)
        self._wanted = {int(info.pts[i]): int(i) for i in indices}
        self._first = int(indices[0])
        self._stream: _FrameStream | None = None

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        seek_s = float(self.info.timestamps[self._first]) - _SEEK_MARGIN_S
        if seek_s < _SEEK_MARGIN_S:
            yield from self._start(None)
            return
        frames = iter(self._start(seek_s))
        first = next(frames, None)
        if first is not None and first[0] == self._first:
            yield first
            yield from frames
        else:
            # Streams without an index cannot be sought, or land behind the frame.
            yield from self._start(None)

    def _start(self, seek_s: float | None) -> "_FrameStream":
        self._stop()
        command = [executable(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "info"]
        command += ["-copyts", *(["-ss", f"{seek_s:.3f}"] if seek_s is not None else [])]
        chain = f"{filter_chain(self.info, self.size, self.area)},showinfo=checksum=0"
        command += [*input_arguments(self.info.path), "-map", "0:V:0", "-vf", chain]
        command += [*every_frame_once(), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        self._stream = _FrameStream(command, self.info, self.size, self._wanted)
        return self._stream

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None

    def __enter__(self) -> "VideoDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()


class _FrameStream:
    """One run of ffmpeg: frames from its stdout, their times from its stderr, both read in the background."""

    def __init__(
        self,
        command: list[str],
        info: VideoInfo,
        size: tuple[int, int],
        wanted: dict[int, int],
    ):
        """`wanted` is presentation time, in units of the video's time base, to index; other frames are dropped."""
        self.size = size
        self._info = info
        self._wanted = wanted
        self._last_pts = max(wanted)
        self._fault: str | None = None
        self._frames: queue.Queue[tuple[int, np.ndarray] | None] = queue.Queue(_READ_AHEAD)
        self._times: queue.Queue[int | None] = queue.Queue(_TIMES_AHEAD)
        self._stopped = threading.Event()
        self.child = Watched(command)
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._read_times, self._read_frames)
        ]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        while (item := self._frames.get()) is not None:
            yield item
        if self._fault is not None:
            raise InputError(undecodable(self._info.path, self._fault))

    def _read_times(self) -> None:
        """Presentation times from the log of showinfo, in units of the stream's time base."""
        shown = ShownTimes()
        while raw := self.child.stderr.readline(_LONGEST_LINE):
            pts = shown.read(raw.decode(errors="replace"))
            if pts is not None:
                self._put(self._times, round(pts * shown.time_base / self._info.time_base))
        self._put(self._times, None)

    def _read_frames(self) -> None:
        height, width = self.size
        # A damaged file may show more frames than it lists, but not without end.
        left = 2 * len(self._info) + _MORE_FRAMES
        try:
            while not self._stopped.is_set():
                buffer = bytearray(height * width * 3)
                pts = self._times.get() if self._fill(memoryview(buffer)) else None
                if pts is None:
                    self._fault = self.child.wait()
                    break
                if pts in self._wanted:
                    frame = np.frombuffer(buffer, np.uint8).reshape(height, width, 3)
                    self._put(self._frames, (self._wanted[pts], frame))
                left -= 1
                if pts >= self._last_pts:
                    break
                if not left:
                    self._fault = f"gives many more than the {len(self._info)} frames it lists"
                    break
        finally:
            self._put(self._frames, None)

    def _fill(self, view: memoryview) -> bool:
        """Read until `view` is full; False where the stream ends before."""
        done = 0
        while done < len(view):
            count = self.child.stdout.readinto(view[done:])  # pyright: ignore
            if not count:
                return False
            self.child.heard()
            done += count
        return True

    def _put(self, into: queue.Queue[Any], item: object) -> None:
        while not self._stopped.is_set():
            try:
                return into.put(item, timeout=0.2)
            except queue.Full:
                if into is self._frames:  # ffmpeg waits for the reader of these
                    self.child.heard()

    def stop(self) -> None:
        """End ffmpeg and the threads, whether the stream was read to its end or not."""
        self._stopped.set()
        self.child.stop()
        # The thread of the frames may wait for a time that is not coming.
        with suppress(queue.Full):
            self._times.put_nowait(None)
        for thread in reversed(self._threads):
            thread.join()
        self.child.close()
