"""Videos that the tests write themselves; frame n has the mean grey 8 * n + 4, so a frame says which one it is."""

import subprocess
from pathlib import Path

import numpy as np

from dpm_cli.clip_store import decode_clip, plan_clip
from dpm_cli.progress import SilentReporter
from dpm_cli.structures import Clip
from dpm_cli.video.ffmpeg import executable


def ffmpeg(*arguments: str | int | Path) -> None:
    subprocess.run(
        [
            executable(),
            "-hide_banner",
            "-loglevel",
            "error",
            "-nostdin",
            "-y",
            *map(str, arguments),
        ],
        check=True,
    )


def write_numbered(
    path: Path, count: int = 30, size=(48, 64), fps: int = 30, *options: str
) -> Path:
    """A video whose frames carry their number as grey level; `options` go to the output."""
    noise = np.random.default_rng(0).integers(-4, 5, (count, *size, 1))
    frames = (8 * np.arange(count)[:, None, None, None] + 4 + noise).astype(np.uint8).repeat(3, -1)
    command = [executable(), "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{size[1]}x{size[0]}", "-r", str(fps), "-i", "-"]
    command += [
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv444p",
        "-crf",
        "10",
        "-g",
        "8",
        "-threads",
        "1",
        *options,
    ]
    subprocess.run([*command, str(path)], input=frames.tobytes(), check=True)
    return path


def write_video(path: Path, images: list[np.ndarray], fps: int = 10, *options: str) -> Path:
    """A video of images (H, W, 3) uint8; `options` go to the output."""
    height, width = images[0].shape[:2]
    command = [executable(), "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", str(fps), "-i", "-", "-c:v", "libx264"]
    command += ["-pix_fmt", "yuv420p", "-crf", "12", "-threads", "1", *options, str(path)]
    subprocess.run(command, input=np.stack(images).tobytes(), check=True)
    return path


def numbers(frames: np.ndarray) -> list[int]:
    """The number that each frame (N, H, W, 3) carries."""
    return np.rint((frames.mean((1, 2, 3)) - 4) / 8).astype(int).tolist()


def write_corners(path: Path, size=(60, 90)) -> Path:
    """One second whose quarters are black, red / green, blue from the left and the top."""
    height, width = size
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, width // 2 :, 0] = 255
    frame[height // 2 :, : width // 2, 1] = 255
    frame[height // 2 :, width // 2 :, 2] = 255
    command = [executable(), "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", "10", "-i", "-", "-c:v", "libx264", "-crf", "4"]
    command += ["-pix_fmt", "yuv444p", "-threads", "1", str(path)]
    subprocess.run(command, input=np.tile(frame, (10, 1, 1, 1)).tobytes(), check=True)
    return path


def open_clip(inputs: list[str], *, store: Path, **options) -> Clip:
    """A clip decoded into `store`; options as in `plan_clip`."""
    return decode_clip(plan_clip(inputs, **options), store, SilentReporter())


class Notes(SilentReporter):
    """A reporter that remembers its notes."""

    def __init__(self):
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)
