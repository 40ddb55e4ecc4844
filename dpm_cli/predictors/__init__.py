"""The table of predictors: a name becomes a predictor on a device. The names are read without torch, for help.

`auto` is the best of those that need no download, by the table `quality.json` that `dpm evaluate --suite quick`
writes and the wheel ships.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from dpm_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from dpm_cli.predictors.protocol import Predictor

    Loader = Callable[[Path | None, torch.device, torch.dtype], Predictor]


def _geometric(weights: Path | None, device: torch.device, dtype: torch.dtype) -> Predictor:
    from dpm_cli.predictors.geometric import GeometricPredictor

    if weights is not None:
        raise UsageError("--weights: the geometric predictor has none; leave the option out")
    return GeometricPredictor(device=device)


def _mini(weights: Path | None, device: torch.device, dtype: torch.dtype) -> Predictor:
    from dpm_cli.predictors.mini import load

    return load(weights, device, dtype)


def _large(weights: Path | None, device: torch.device, dtype: torch.dtype) -> Predictor:
    from dpm_cli.predictors.large import load

    return load(weights, device, dtype)


def _vdpm(weights: Path | None, device: torch.device, dtype: torch.dtype) -> Predictor:
    from dpm_cli.predictors.vdpm import load

    return load(weights, device, dtype)


LOADERS: dict[str, Loader] = {
    "geometric": _geometric,
    "dpm-mini": _mini,
    "dpm-large": _large,
    "vdpm": _vdpm,
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
