"""The mini network: images and flow in, four dynamic point maps out; knows no file, device or download."""

from dpm_cli.network.mini.compose import compose, corrected_flow, without_offset
from dpm_cli.network.mini.config import MULTIPLE, PRESETS, MiniConfig
from dpm_cli.network.mini.model import MiniNetwork, MiniOutput

__all__ = [
    "MULTIPLE",
    "PRESETS",
    "MiniConfig",
    "MiniNetwork",
    "MiniOutput",
    "compose",
    "corrected_flow",
    "without_offset",
]
