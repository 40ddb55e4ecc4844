"""dpm: a video of a moving scene becomes a 4D reconstruction.

    import dpm_cli

    sequence = dpm_cli.reconstruct("video.mp4", "run")   # Sequence4D
    sequence.cam2world                                    # (T, 4, 4) float64
    sequence.frame(0).depth                               # (H, W) float32

Importing this package is cheap; torch is loaded when work starts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dpm_cli.version import __version__

if TYPE_CHECKING:
    from dpm_cli.config import ClipSettings, ReconstructSettings
    from dpm_cli.errors import DpmError
    from dpm_cli.pipeline import reconstruct
    from dpm_cli.predictors import load_predictor
    from dpm_cli.sequence import FrameResult, Sequence4D

__all__ = [
    "ClipSettings",
    "DpmError",
    "FrameResult",
    "ReconstructSettings",
    "Sequence4D",
    "__version__",
    "load_predictor",
    "reconstruct",
]

_HOME = {
    "ClipSettings": "dpm_cli.config",
    "DpmError": "dpm_cli.errors",
    "FrameResult": "dpm_cli.sequence",
    "ReconstructSettings": "dpm_cli.config",
    "Sequence4D": "dpm_cli.sequence",
    "load_predictor": "dpm_cli.predictors",
    "reconstruct": "dpm_cli.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dpm_cli' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
