"""The same table for people and for programs: Rich, markdown, csv and JSON."""

import csv
import io
import json
from collections.abc import Callable

from rich.console import Console
from rich.table import Table as RichTable

from dpm_cli.workshop.evaluate.published import published_rows
from dpm_cli.workshop.evaluate.results import MORE_IS_BETTER, Score, Table, table

Rows = list[tuple[str, dict[str, float]]]


def as_json(scores: list[Score]) -> str:
    """{model: {dataset: {metric: value}}}."""
    return json.dumps(table(scores), indent=2, allow_nan=False)


def as_csv(scores: list[Score]) -> str:
    """One line a number: model, dataset, sequence (`mean` for the mean over them), metric, value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("model", "dataset", "sequence", "metric", "value"))
    for s in scores:
        writer.writerows(
            (s.model, s.dataset, s.sequence, k, f"{v:.6g}") for k, v in s.values.items()
        )
    for model, dataset, metric, value in _flat(table(scores)):
        writer.writerow((model, dataset, "mean", metric, f"{value:.6g}"))
    return out.getvalue()


def _flat(means: Table) -> list[tuple[str, str, str, float]]:
    return [
        (m, d, k, v)
        for m, sets in means.items()
        for d, values in sets.items()
        for k, v in values.items()
    ]


def as_markdown(scores: list[Score]) -> str:
    """One table a data set: models across, metrics down, the best of ours bold; then every sequence's numbers."""
    parts = []
    for dataset, rows in _by_dataset(scores).items():
        head = [f"{name} {'↑' if name in MORE_IS_BETTER else '↓'}" for name in _metrics(rows)]
        lines = [
            f"### {dataset}",
            "",
            _line(["", *(model for model, _ in rows)]),
            _line(["---"] * (len(rows) + 1)),
        ]
        for label, name in zip(head, _metrics(rows), strict=True):
            lines.append(_line([label, *_cells(rows, name)]))
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _markdown_sequences(scores)]) + "\n"


def _markdown_sequences(scores: list[Score]) -> str:
    parts = []
    for dataset in dict.fromkeys(s.dataset for s in scores):
        rows = [s for s in scores if s.dataset == dataset]
        if len({s.sequence for s in rows}) < 2:
            continue
        names = [n for n in dict.fromkeys(k for s in rows for k in s.values) if n in _SHORT]
        lines = [f"#### {dataset}, each case", "", _line(["case", "model", *names, "seconds"])]
        lines.append(_line(["---"] * (len(names) + 3)))
        for s in rows:
            numbers = [_number(s.values[n]) if n in s.values else "-" for n in names]
            lines.append(_line([s.sequence, s.model, *numbers, f"{s.seconds:.2f}"]))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


_SHORT = (
    *("epe", "absrel", "absrel_shift", "scene_flow_movers", "flow_epe", "flow_fl", "motion_iou"),
    *("rot_deg", "trans_dir_deg", "ate", "rpe_rot_deg", "focal_error"),
)


def print_rich(scores: list[Score], console: Console) -> None:
    """Print the tables on `console`."""
    for dataset, rows in _by_dataset(scores).items():
        view = RichTable(title=dataset, title_justify="left")
        view.add_column("")
        for model, _ in rows:
            view.add_column(model, justify="right")
        for name in _metrics(rows):
            cells = [
                c.replace("**", "[bold]", 1).replace("**", "[/bold]") for c in _cells(rows, name)
            ]
            view.add_row(f"{name} {'↑' if name in MORE_IS_BETTER else '↓'}", *cells)
        console.print(view)


def _by_dataset(scores: list[Score]) -> dict[str, Rows]:
    """Rows of each data set: our models, then published ones of the same protocol."""
    means, out = table(scores), {}
    for dataset in dict.fromkeys(s.dataset for s in scores):
        rows: Rows = [(model, sets[dataset]) for model, sets in means.items() if dataset in sets]
        names = {s.sequence.split(" ")[0] for s in scores if s.dataset == dataset}
        published: dict[str, dict[str, float]] = {}
        for row in published_rows(dataset, names):
            published.setdefault(row.model, {}).update(row.values)
        out[dataset] = rows + list(published.items())
    return out


def _metrics(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for _, values in rows for name in values))


def _cells(rows: Rows, name: str) -> list[str]:
    """Numbers of one metric; the best is bold where there are several."""
    known = [values[name] for _, values in rows if name in values]
    best = None
    if len(known) > 1 and name not in ("cases", "seconds", "match_count"):
        best = max(known) if name in MORE_IS_BETTER else min(known)
    cells = []
    for _, values in rows:
        text = _number(values[name]) if name in values else "-"
        cells.append(f"**{text}**" if values.get(name) == best and best is not None else text)
    return cells


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.3g}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


WRITERS: dict[str, Callable[[list[Score]], str]] = {
    "json": as_json,
    "csv": as_csv,
    "markdown": as_markdown,
}
"""Text formats by name; `rich` is printed, not written."""
