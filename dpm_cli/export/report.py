"""One web page about a run: what it looks like, what it measured, what it decided and what to be wary of.

The page holds everything, pictures too. It has no script and forbids any, so that nothing in a name or a manifest runs.
"""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpm_cli.config import ExportOptions
from dpm_cli.export.preview import colour_scale, contact_sheet, still_pictures, stills_of
from dpm_cli.export.report_pictures import path_from_above, report_cloud, turntable
from dpm_cli.files import atomic_path
from dpm_cli.sequence import Sequence4D, sequence_facts
from dpm_cli.version import __version__

_FEW_VALID = 0.5
_LITTLE_CONFIDENCE = 4.0
"""Median confidence below which the page warns: an expected error of a quarter of the depth."""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} - dpm</title>
<style>
  body {{ margin: 2em auto; max-width: 1200px; padding: 0 1em; font: 15px/1.5 system-ui, sans-serif; color: #1c2026; }}
  h1 {{ font-size: 1.6em; }} h2 {{ font-size: 1.15em; margin-top: 2em; }}
  img {{ max-width: 100%; display: block; }}
  .maps {{ display: grid; grid-template-columns: repeat(2, 1fr); gap: 6px; align-items: start; }}
  .views {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; }}
  table {{ border-collapse: collapse; }}
  td {{ padding: 2px 14px 2px 0; vertical-align: top; overflow-wrap: anywhere; }}
  td:first-child {{ color: #5a6472; white-space: nowrap; }}
  .warnings li {{ color: #a03000; }}
  figcaption, .small {{ color: #5a6472; font-size: 13px; }}
  figure {{ margin: 0; }}
  svg {{ width: 100%; height: 70px; background: #f4f6f8; display: block; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def export_report(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write the page `path`."""
    figures = _figures(sequence, options)
    facts = sequence_facts(sequence)
    notes = [str(note) for note in facts.pop("notes", [])]
    parts = [
        f"<h1>{_text(sequence.name)}</h1>",
        _list("Warnings", _warnings(sequence, figures), "warnings"),
        "<h2>What was found</h2>",
        _picture(
            _sheet(sequence, options),
            "image, depth, optical flow, motion mask, points from the side",
        ),
        *_scene(sequence, options),
        "<h2>Through the clip</h2>",
        *(_curve(name, values) for name, values in figures.items()),
        _list("Notes", notes, "notes"),
        "<h2>Numbers</h2>",
        _table(facts),
        f'<p class="small">Made by dpm {_text(__version__)}. {_text(sequence.convention)}.</p>',
    ]
    page = _PAGE.format(name=_text(sequence.name), body="\n".join(parts))
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _figures(sequence: Sequence4D, options: ExportOptions) -> dict[str, np.ndarray]:
    """Curves of the clip by name, each (T,)."""
    rows = []
    with options.reporter.task("report", len(sequence)) as advance:
        for t in range(len(sequence)):
            frame = sequence.frame(t)
            known = frame.confidence[frame.valid]
            rows.append(
                (
                    frame.valid.mean(),
                    np.median(known) if len(known) else 0.0,
                    (frame.dynamic > sequence.motion_threshold).mean(),
                )
            )
            advance()
    valid, confidence, moving = np.array(rows, np.float64).T
    steps = np.linalg.norm(np.diff(sequence.cam2world[:, :3, 3], axis=0), axis=1)
    return {
        "share of pixels with an estimate": valid,
        "median confidence": confidence,
        "share of pixels that move by themselves": moving,
        "camera's step from the frame before, world units": np.concatenate(([0.0], steps)),
    }


def _warnings(sequence: Sequence4D, figures: dict[str, np.ndarray]) -> list[str]:
    """What a reader should know before trusting the rest."""
    valid, confidence, *_ = figures.values()
    lost = np.flatnonzero(~sequence.camera_ok)
    found = []
    if len(lost):
        named = ", ".join(map(str, lost[:12])) + (" ..." if len(lost) > 12 else "")
        found.append(f"{len(lost)} of {len(sequence)} cameras are not registered: frames {named}")
    if len(np.unique(sequence.shot)) > 1:
        found.append(f"{len(np.unique(sequence.shot))} shots, each a world of its own")
    if valid.mean() < _FEW_VALID:
        found.append(f"only {valid.mean():.0%} of the pixels have an estimate")
    if np.median(confidence) < _LITTLE_CONFIDENCE:
        found.append(
            f"confidence is low: expected error {1 / max(np.median(confidence), 1e-9):.0%} of the depth"
        )
    if sequence.scale == "arbitrary":
        found.append("the scale is arbitrary: lengths are not metres")
    return found


def _sheet(sequence: Sequence4D, options: ExportOptions) -> np.ndarray:
    scale = colour_scale(sequence, options)
    stills = {t: still_pictures(sequence, t, scale, options) for t in stills_of(sequence)}
    return contact_sheet(sequence, stills, scale)


def _scene(sequence: Sequence4D, options: ExportOptions) -> Iterable[str]:
    """Turntable and map."""
    cloud = report_cloud(sequence, options)
    if cloud is not None:
        yield "<h2>The scene from around</h2>"
        yield '<div class="views">'
        yield from (_picture(view, "") for view in turntable(sequence, cloud))
        yield "</div>"
    yield "<h2>The camera's path from above</h2>"
    caption = "The first camera looks up; wedges: first and last camera; red dots: not registered; the bar: world units"
    yield '<div class="maps">'
    yield _picture(path_from_above(sequence, cloud), caption)
    if cloud is not None:
        yield _picture(path_from_above(sequence, None), "The path alone")
    yield "</div>"


def _picture(picture: np.ndarray, caption: str) -> str:
    """A picture (H, W, 3) uint8 as part of the page."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=88)
    source = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
    said = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{_text(caption)}" src="{source}">{said}</figure>'


def _curve(name: str, values: np.ndarray) -> str:
    """A line of values (T,) over the frames, from 0 to their largest."""
    top = max(float(values.max()), 1e-12)
    x = np.linspace(0, 1000, len(values)) if len(values) > 1 else np.array([500.0])
    points = " ".join(f"{a:.1f},{65 - 60 * b / top:.1f}" for a, b in zip(x, values, strict=True))
    said = f"{name}: {values.min():.3g} to {values.max():.3g}, median {np.median(values):.3g}"
    return (
        f"<figure><figcaption>{_text(said)}</figcaption>"
        f'<svg viewBox="0 0 1000 70" preserveAspectRatio="none"><polyline points="{points}" fill="none" '
        'stroke="#2a6fdb" stroke-width="2" vector-effect="non-scaling-stroke"/></svg></figure>'
    )


def _list(title: str, items: list[str], kind: str) -> str:
    if not items:
        return ""
    lines = "".join(f"<li>{_text(item)}</li>" for item in items)
    return f'<h2>{_text(title)}</h2><ul class="{kind}">{lines}</ul>'


def _table(facts: dict[str, Any]) -> str:
    rows = (
        f"<tr><td>{_text(key)}</td><td>{_text(_value(v))}</td></tr>" for key, v in facts.items()
    )
    return f"<table>{''.join(rows)}</table>"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    """Anything as text that cannot become markup; names of files may hold what is no text."""
    return html.escape(str(value).encode(errors="replace").decode(), quote=True)
