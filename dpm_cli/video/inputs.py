"""What the user named: videos, folders, globs, lists of images, sorted into clips."""

import glob
import re
from pathlib import Path

from dpm_cli.errors import InputError
from dpm_cli.video.images import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts")
    + (
        ".wmv",
        ".flv",
        ".3gp",
        ".ogv",
        ".gif",
        ".asf",
        ".vob",
        ".mxf",
        ".f4v",
        ".3g2",
        ".m2v",
        ".mpe",
    )
    + (".mod", ".tod", ".dv", ".y4m", ".divx", ".insv", ".lrv", ".mjpeg", ".h264", ".hevc")
)
"""What counts as a video in a folder; a video named by the user may be called anything."""


def natural_key(path: Path | str) -> list[tuple[int, int, str]]:
    """Sort key under which frame 2 comes before frame 10."""
    parts = re.split(r"(\d+)", Path(path).name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def is_image(path: Path) -> bool:
    """Whether the suffix is one of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def folder_images(folder: Path) -> list[Path]:
    """The images directly in a folder, in natural order; hidden files are passed over."""
    return _folder_files(folder, IMAGE_SUFFIXES)


def _folder_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    try:
        found = [
            p
            for p in folder.iterdir()
            if p.suffix.lower() in suffixes and p.is_file() and not p.name.startswith(".")
        ]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    return sorted(found, key=natural_key)


def split_inputs(inputs: list[str]) -> list[list[str]]:
    """Clips, each a list of paths: one video, one folder of images, or all single images together.

    A folder that holds videos and no images stands for its videos. Globs are expanded in natural order. Images given
    one by one keep the user's order, unless it is the plain alphabetical one that a shell makes of a glob: then natural
    order is meant.

    Raises:
        InputError: nothing given, or a glob or path that matches nothing.
    """
    if not inputs:
        raise InputError("no input: give a video, a folder of images, or images")
    paths = [path for item in inputs for path in _expand(item)]
    images = [str(path) for path in paths if not path.is_dir() and is_image(path)]
    if images == sorted(images):
        images.sort(key=natural_key)
    clips: list[list[str]] = []
    for path in paths:
        if path.is_dir() or not is_image(path):
            clips.append([str(path)])
        elif images:
            clips.append(images)
            images = []
    return clips


def _expand(item: str) -> list[Path]:
    path = Path(item)
    if path.exists():
        if path.is_dir() and not folder_images(path):
            return _folder_files(path, VIDEO_SUFFIXES) or [path]
        return [path]
    if not glob.has_magic(item):
        raise InputError(f"{item} does not exist")
    found = sorted((Path(name) for name in glob.glob(item, recursive=True)), key=natural_key)
    if not found:
        raise InputError(f"{item} matches no file")
    return found


def clip_files(inputs: list[str]) -> list[Path]:
    """Files of one clip as `split_inputs` gives it: the video alone, or the images in order.

    Raises:
        InputError: a folder without images and videos, or inputs of several clips.
    """
    paths = [Path(item) for item in inputs]
    if len(paths) == 1 and paths[0].is_dir():
        files = folder_images(paths[0]) or _folder_files(paths[0], VIDEO_SUFFIXES)
        if not files:
            raise InputError(
                f"{paths[0]} holds no images or videos: give a video, or a folder of images or videos"
            )
        paths = files
    if len(paths) > 1 and not all(is_image(path) for path in paths):
        raise InputError("several videos or folders are several clips: split_inputs separates them")
    return paths


def clip_name(inputs: list[str]) -> str:
    """Name of a clip: the stem of the video, the folder's name, or the folder of the images."""
    first = Path(inputs[0])
    if first.is_dir() or not is_image(first):
        return (first.resolve().name if first.is_dir() else first.stem) or "clip"
    return first.stem if len(inputs) == 1 else first.resolve().parent.name or "clip"
