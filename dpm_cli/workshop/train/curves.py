"""The log of a run: CSV rows appended as they come, and a picture of the curves."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from dpm_cli.files import atomic_path

_PANEL = (300, 460)
_COLOURS = (
    (200, 90, 20),
    (30, 120, 220),
    (60, 160, 60),
    (160, 60, 160),
    (30, 30, 30),
    (0, 160, 200),
)


class CsvLog:
    """Rows with fixed columns; a resumed run drops rows of steps it will do again."""

    def __init__(self, path: Path, first_step: int):
        self.path = path
        kept = [r for r in read_log(path) if int(r["step"]) < first_step] if path.exists() else []
        self.columns: list[str] = list(kept[0]) if kept else []
        with (
            atomic_path(path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            if kept:
                writer = csv.DictWriter(file, self.columns)
                writer.writeheader()
                writer.writerows(kept)

    def add(self, row: Mapping[str, float]) -> None:
        """Append one row; the first one fixes the columns."""
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns or list(row))
            if not self.columns:
                self.columns = list(row)
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def read_log(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV log."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def draw_curves(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], path: Path, x_label: str
) -> None:
    """A PNG of panels side by side (three a row): panel title -> line name -> (x, y); y logarithmic."""
    images = [_panel(title, lines, x_label) for title, lines in panels.items()]
    while len(images) % 3:
        images.append(np.full((*_PANEL, 3), 255, np.uint8))
    rows = [np.hstack(images[i : i + 3]) for i in range(0, len(images), 3)]
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), np.vstack(rows))


def plot_run(folder: Path, path: Path) -> None:
    """Curves of a run folder over pairs seen."""
    training, scores = _columns(folder / "train.csv"), _columns(folder / "validation.csv")

    def lines(
        table: dict[str, np.ndarray], *names: str
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {n: (table["pairs"], table[n]) for n in names if n in table}

    panels = {
        "four maps, EPE (validation)": lines(scores, "epe_11", "epe_12", "epe_21", "epe_22"),
        "depth AbsRel, focal (validation)": lines(scores, "absrel", "focal_error"),
        "motion IoU, movers' error / size": lines(scores, "motion_iou", "mover_error"),
        "training: log depth, points": lines(training, "depth", "gradient", "coarse", "distance"),
        "training: motion, pose, certainty": lines(
            training, "movers", "static", "motion", "pose", "log_certainty"
        ),
        "pairs/s, learning rate x 1000": {
            "pairs/s": (training["pairs"], training["speed"]),
            "rate": (training["pairs"], training["rate"] * 1000),
        }
        if training
        else {},
    }
    draw_curves(panels, path, "pairs")


def _columns(path: Path) -> dict[str, np.ndarray]:
    rows = read_log(path)
    return {k: np.array([float(r[k]) for r in rows]) for k in rows[0]} if rows else {}


def _panel(
    title: str, lines: Mapping[str, tuple[np.ndarray, np.ndarray]], x_label: str
) -> np.ndarray:
    height, width = _PANEL
    image = np.full((height, width, 3), 255, np.uint8)
    left, right, top, bottom = 60, width - 15, 30, height - 40
    good = [(x[y > 0], y[y > 0]) for x, y in lines.values()]
    values = np.concatenate([y for _, y in good]) if good else np.empty(0)
    _text(image, title, (left, 20), 0.5)
    if not values.size:
        return image
    low, high = math.log(values.min()) - 0.05, math.log(np.percentile(values, 99)) + 0.05
    last = max(float(x.max()) for x, _ in good if x.size) or 1.0
    cv2.rectangle(image, (left, top), (right, bottom), (200, 200, 200))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = round(bottom - share * (bottom - top))
        cv2.line(image, (left, y), (right, y), (235, 235, 235))
        _text(image, f"{math.exp(low + share * (high - low)):.3g}", (8, y + 4), 0.36)
        _text(
            image,
            f"{share * last:.3g}",
            (round(left + share * (right - left - 25)) - 12, bottom + 15),
            0.36,
        )
    _text(image, x_label, (width // 2 - 20, height - 8), 0.4)
    for number, (name, (x, y)) in enumerate(zip(lines, good, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        px = left + x / last * (right - left)
        py = bottom - (np.log(y).clip(low, high) - low) / (high - low) * (bottom - top)
        line = np.stack((px, py), 1).round().astype(np.int32)
        cv2.polylines(image, [line], False, colour, 1, cv2.LINE_AA)
        _text(image, name, (right - 120, top + 16 + 15 * number), 0.4, colour)
    return image


def _text(
    image: np.ndarray, text: str, at: tuple[int, int], size: float, colour=(40, 40, 40)
) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
