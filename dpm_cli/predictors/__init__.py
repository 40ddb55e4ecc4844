"""The table of predictors: a name becomes a predictor on a device. The names are read without torch, for help.

A new predictor is a module here with `load(weights, device, dtype)`, and a line in `LOADERS`.

`auto` is the best of those that need no download, by the table `quality.json` that `dpm evaluate --suite quick`
writes and the wheel ships.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from dpm_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from dpm_cli.predictors.protocol import Predictor

    Loader = Callable[[Path | None, torch.device, torch.dtype], Predictor]


def _load_of(module: str) -> Loader:
    """`load` of a module of this package, which is imported when it is called."""

    def load(weights: Path | None, device: torch.device, dtype: torch.dtype) -> Predictor:
        return import_module(f"dpm_cli.predictors.{module}").load(weights, device, dtype)

    return load


LOADERS: dict[str, Loader] = {
    "geometric": _load_of("geometric"),
    "dpm-mini": _load_of("mini"),
    "dpm-large": _load_of("large"),
    "vdpm": _load_of("vdpm"),
}
OFFLINE = ("geometric", "dpm-mini")


def resolve_auto() -> str:
    """Name of the offline predictor with the best score in the shipped table (lower is better)."""
    scores = json.loads(files("dpm_cli.predictors").joinpath("quality.json").read_text())["score"]
    return min((name for name in OFFLINE if name in scores), key=lambda name: scores[name])


def load_predictor(
    name: str,
    *,
    weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Predictor:
    """Load predictor `name` (`auto` allowed) with its own or the given weights; `dtype` is float32 if None.

    Raises:
        UsageError: no such name.
        WeightsError: the weights are missing or wrong.
    """
    import torch

    name = resolve_auto() if name == "auto" else name
    if name not in LOADERS:
        raise UsageError(f"--model {name}: choose auto, {', '.join(LOADERS)}")
    return LOADERS[name](
        Path(weights) if weights else None, torch.device(device), dtype or torch.float32
    )
