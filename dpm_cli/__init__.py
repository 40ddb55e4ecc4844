"""dpm: a video of a moving scene becomes a 4D reconstruction.

Importing this package is cheap; torch is loaded when work starts.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dpm-cli")
except PackageNotFoundError:
    __version__ = "0+unknown"

__all__ = ["__version__"]
