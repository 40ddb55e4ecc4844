"""Finding things in data-set folders, with one line for the user where they are not what was expected."""

import re
from pathlib import Path

from dpm_cli.errors import InputError


def wrong_layout(dataset: str, root: Path, expected: str) -> InputError:
    """The error for a folder that does not hold what the reader of `dataset` needs."""
    if not root.exists():
        return InputError(f"{root} does not exist: {dataset} expects {expected} in it")
    if root.is_dir():
        names = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())
        found = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "nothing"
    else:
        found = "a file"
    return InputError(f"{root} is no {dataset} folder: expected {expected}, found {found}")


def first_folder(root: Path, *names: str) -> Path:
    """The first of the sub-folders `names` that exists, else `root` itself ("" stands for root)."""
    return next((root / n for n in names if (root / n).is_dir()), root)


def folders(root: Path) -> list[Path]:
    """Sub-folders in natural order."""
    return sorted((p for p in root.iterdir() if p.is_dir()), key=natural) if root.is_dir() else []


def files(root: Path, *patterns: str) -> list[Path]:
    """Files of a folder that match one of the patterns, in natural order."""
    return sorted({p for pattern in patterns for p in root.glob(pattern)}, key=natural)


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that counts: frame_2 before frame_10."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)
    ]


def number(path: Path) -> int:
    """The last number in a file's name without its suffix."""
    found = re.findall(r"\d+", path.stem)
    if not found:
        raise InputError(f"{path}: expected a frame number in the file name")
    return int(found[-1])


def require(dataset: str, path: Path) -> Path:
    """`path` itself; an error that names it if it is missing."""
    if not path.exists():
        raise InputError(f"{path} is missing: {dataset} expects it beside the other files")
    return path
