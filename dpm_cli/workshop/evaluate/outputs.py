"""What an evaluation leaves on disk: tables, every number, pictures of the worst cases."""

import re
from pathlib import Path

import cv2
import numpy as np

from dpm_cli.errors import UsageError
from dpm_cli.files import atomic_path, write_json
from dpm_cli.workshop.evaluate.quick import quality
from dpm_cli.workshop.evaluate.results import Score, primary, worst
from dpm_cli.workshop.evaluate.tables import as_csv, as_json, as_markdown

_MARK = "scores.csv"


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder with things in it that are no earlier evaluation, unless told to overwrite.

    Raises:
        UsageError: it is not ours, or holds an earlier evaluation.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        what = "holds an evaluation" if (folder / _MARK).is_file() else "is not empty"
        raise UsageError(f"{folder} {what}: choose another folder with -o, or --overwrite")


def worst_cases(scores: list[Score]) -> list[str]:
    """One line for each of the worst cases: data set, model, case, metric and value."""
    ranked = [(s, primary(s.values)) for s in worst(scores)]
    return [
        f"{s.dataset}: {s.model} on {s.sequence}, {m} {s.values[m]:.3g}"
        for s, m in ranked
        if m is not None
    ]


def write_outputs(scores: list[Score], folder: Path, *, quick: bool) -> None:
    """Write scores.json, scores.csv, table.md, worst/*.png and, for the quick suite, quality.json."""
    _write(folder / "scores.json", as_json(scores) + "\n")
    _write(folder / _MARK, as_csv(scores))
    for rank, score in enumerate(worst(scores)):
        name = (
            re.sub(r"[^\w.-]+", "_", f"{score.dataset}-{score.model}-{rank}-{score.sequence}")
            + ".png"
        )
        if score.picture is not None:
            _write_picture(folder / "worst" / name, score.picture)
    listed = "\n".join(f"* {line}" for line in worst_cases(scores))
    _write(folder / "table.md", f"{as_markdown(scores)}\n#### Worst cases\n\n{listed}\n")
    if quick:
        write_json(folder / "quality.json", quality(scores))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_picture(path: Path, picture: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), np.ascontiguousarray(picture[..., ::-1]))
