"""What this installation can do: a list of checks, each with what was found and, where it fails, the way out."""

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass

from dpm_cli.devices import free_memory_bytes, pick_device
from dpm_cli.version import __version__


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    state: str
    """`ok`, `warning` (works now, may break), `missing` (optional) or `failed` (dpm cannot work without it)."""
    found: str
    hint: str = ""


_OPENCV = "opencv-contrib-python-headless"
"""The distribution of OpenCV that dpm asks for; the others write over the same files."""
_OTHER_OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
_EXTRAS = (
    ("hub", "huggingface_hub", "huggingface_hub"),
    ("usd", "pxr", "usd-core"),
    ("rerun", "rerun", "rerun-sdk"),
    ("exr", "OpenEXR", "OpenEXR"),
    ("heif", "pillow_heif", "pillow-heif"),
    ("ray", "ray", "ray"),
    ("eval", "h5py", "h5py"),
)
"""Name, module and distribution of the optional dependencies that a user may miss."""


def examine() -> list[Check]:
    """Run every check; takes a second or two because torch and open3d are imported."""
    checks = [
        Check("dpm", "ok", __version__),
        Check("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        _try("torch", _torch, "pip install torch", required=True),
        _try("device", _device, "use --device cpu", required=True),
        _try(
            "ffmpeg",
            _ffmpeg,
            "pip install imageio-ffmpeg, or set DPM_FFMPEG",
            required=True,
        ),
        *_opencv(),
        _try(
            "open3d",
            _version_of("open3d", "open3d"),
            "voxels, outliers, normals and meshes of dpm export need it, nothing else; "
            "apt install libgl1 libusb-1.0-0, or pip install open3d==0.19.0",
            required=False,
        ),
        *(
            _try(
                f"extra: {extra}",
                _version_of(module, distribution),
                f'pip install "dpm-cli[{extra}]"',
                required=False,
            )
            for extra, module, distribution in _EXTRAS
        ),
    ]
    return checks + [_model(name) for name in _models()]


def _try(name: str, probe: Callable[[], str], hint: str, *, required: bool) -> Check:
    # Broken wheels raise anything from ImportError to OSError; a report that dies of one would be useless.
    try:
        return Check(name, "ok", probe())
    except Exception as error:
        reason = str(error).strip().splitlines()
        return Check(
            name, "failed" if required else "missing", reason[0] if reason else repr(error), hint
        )


def _version_of(module: str, distribution: str) -> Callable[[], str]:
    def probe() -> str:
        importlib.import_module(module)
        return importlib.metadata.version(distribution)

    return probe


def _opencv() -> list[Check]:
    """OpenCV itself, and a warning where several distributions of it share one folder.

    They all install the module `cv2`, so the one installed last hides the contrib parts or breaks the other's, and
    uninstalling one takes files of the other with it.
    """
    others = [name for name in _OTHER_OPENCVS if _is_installed(name)]
    way_out = f"pip uninstall {' '.join(others + [_OPENCV])} && pip install {_OPENCV}"
    checks = [_try("opencv", _opencv_version, way_out, required=True)]
    if others and _is_installed(_OPENCV):
        both = f"{' and '.join(others)} beside {_OPENCV}: they write over each other's files"
        checks.append(Check("opencv twice", "warning", both, way_out))
    return checks


def _opencv_version() -> str:
    import cv2

    if not hasattr(cv2, "ximgproc"):
        raise ImportError(f"{cv2.__version__} without the contrib modules")
    return cv2.__version__


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _torch() -> str:
    import torch

    return f"{torch.__version__}, {torch.get_num_threads()} threads"


def _device() -> str:
    import torch

    device = pick_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{name}, {free_memory_bytes(device) / 2**30:.1f} GiB free"


def _ffmpeg() -> str:
    from dpm_cli.video.ffmpeg import ask, executable

    return f"{ask('-version').stdout.split()[2]} at {executable()}"


def _models() -> list[str]:
    from dpm_cli.predictors import LOADERS

    return list(LOADERS)


def _model(name: str) -> Check:
    from dpm_cli.errors import DpmError
    from dpm_cli.predictors import OFFLINE, load_predictor, resolve_auto

    if name not in OFFLINE:
        return Check(
            f"model {name}",
            "missing",
            "weights are not in the wheel",
            "dpm models list says what can be pulled, or give --weights FILE",
        )
    try:
        info = load_predictor(name).info
    except DpmError as error:
        return Check(f"model {name}", "failed", str(error), "reinstall dpm-cli")
    default = ", the default of --model auto" if resolve_auto() == name else ""
    return Check(f"model {name}", "ok", f"weights licence: {info.weights_licence}{default}")


def healthy(checks: list[Check]) -> bool:
    """True if nothing that dpm needs has failed."""
    return all(check.state != "failed" for check in checks) and sys.version_info >= (3, 11)
