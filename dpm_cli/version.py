"""The version of what is installed, below everything that writes it into files."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dpm-cli")
except PackageNotFoundError:
    __version__ = "0+unknown"
