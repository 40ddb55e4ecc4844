"""USD (binary .usd): still points, moving points and the camera with time samples; needs the extra `usd`.

USD's axes are those of glTF. A time code is a frame where the frame rate is constant; else it is the frame's own time
at the mean rate. The camera's aperture is 36 wide, so its focal length is that of a full-frame camera.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.errors import DpmError, InputError, MissingExtraError
from dpm_cli.files import atomic_path
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.scene import FLIP, PointScene

_APERTURE = 36.0
_WIDTH = 0.003
"""Of a point, in median distances."""
_NEAREST = 0.01
"""Distance before the camera from which points are drawn, world units."""
_STILL_RATE = 24.0
"""Frames a second of a clip of one frame."""
_BEFORE = 1e-3
"""Time codes before the next sample up to which one is held."""


def write_usd(path: Path, scene: PointScene) -> None:
    """Write atomically.

    Raises:
        MissingExtraError: usd-core is not installed.
        DpmError: USD cannot write there.
    """
    Usd, Tf = _pxr("Usd", "Tf")
    with atomic_path(path) as temporary:
        try:
            stage = Usd.Stage.CreateNew(str(temporary))
            _fill(stage, scene)
            stage.GetRootLayer().Save()
        except Tf.ErrorException as error:
            raise DpmError(f"{path} cannot be written: choose another place with -o") from error


def _fill(stage, scene: PointScene) -> None:
    """Put the scene into an empty stage."""
    Usd, UsdGeom = _pxr("Usd", "UsdGeom")
    span = float(scene.timestamps[-1] - scene.timestamps[0])
    rate = (len(scene.timestamps) - 1) / span if span > 0 else _STILL_RATE
    codes = ((scene.timestamps - scene.timestamps[0]) * rate).tolist()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(rate)
    stage.SetFramesPerSecond(rate)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(codes[-1])
    root = UsdGeom.Xform.Define(stage, "/scene").GetPrim()
    stage.SetDefaultPrim(root)
    facts = {"name": scene.name, "model": scene.model, "size": str(list(scene.size))}
    for key, value in facts.items():
        root.SetCustomDataByKey(key, value)
    width = _WIDTH * scene.distance
    _add_points(stage, "/scene/still", [scene.still], [Usd.TimeCode.Default()], width)
    _add_points(stage, "/scene/moving", scene.moving, codes, width)
    _add_camera(stage, scene, codes)


def read_usd(path: Path) -> PointScene:
    """Read what `write_usd` wrote.

    Raises:
        MissingExtraError: usd-core is not installed.
        InputError: missing, or no such file.
    """
    Usd, UsdGeom, Tf = _pxr("Usd", "UsdGeom", "Tf")
    try:
        stage = Usd.Stage.Open(str(path))
    except Tf.ErrorException as error:
        raise InputError(f"{path} cannot be read as USD") from error
    root = stage.GetPrimAtPath("/scene")
    facts = root.GetCustomData() if root else {}
    if "size" not in facts:
        raise InputError(f"{path} holds no scene of dpm")
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/scene/camera"))
    codes = camera.GetFocalLengthAttr().GetTimeSamples()
    height, width = json.loads(facts["size"])
    poses = np.array([np.array(camera.GetLocalTransformation(t)).T for t in codes])
    poses[:, :3] = FLIP @ poses[:, :3]
    poses[:, :3, :3] = poses[:, :3, :3] @ FLIP
    return PointScene(
        name=facts["name"],
        model=facts["model"],
        still=_cloud(UsdGeom.Points(stage.GetPrimAtPath("/scene/still")), Usd.TimeCode.Default()),
        moving=[_cloud(UsdGeom.Points(stage.GetPrimAtPath("/scene/moving")), t) for t in codes],
        cam2world=poses,
        intrinsics=np.stack([_intrinsics(camera, t, height, width) for t in codes]),
        size=(height, width),
        timestamps=np.array(codes) / stage.GetTimeCodesPerSecond(),
    )


def _pxr(*names: str) -> list[Any]:
    """Modules of usd-core, which has no type stubs."""
    try:
        return [import_module(f"pxr.{name}") for name in names]
    except ImportError as error:
        raise MissingExtraError("usd-core", "usd") from error


def _add_points(stage, path: str, clouds, codes: list, width: float) -> None:
    """Add points with a sample a time code, held until the next one."""
    UsdGeom, Vt = _pxr("UsdGeom", "Vt")
    made = UsdGeom.Points.Define(stage, path)
    made.CreateWidthsAttr().Set(Vt.FloatArray([width]))
    made.SetWidthsInterpolation(UsdGeom.Tokens.constant)
    colour = made.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex)
    for number, (cloud, code) in enumerate(zip(clouds, codes, strict=True)):
        points = Vt.Vec3fArray.FromNumpy((cloud.points @ FLIP).astype(np.float32))
        colours = Vt.Vec3fArray.FromNumpy(cloud.colors.astype(np.float32) / 255)
        # Programs interpolate between samples of one length, and these points have nothing to do with each other.
        held = [codes[number + 1] - _BEFORE] if number + 1 < len(codes) else []
        for when in (code, *held):
            made.GetPointsAttr().Set(points, when)
            colour.Set(colours, when)


def _add_camera(stage, scene: PointScene, codes: list[float]) -> None:
    """Add the camera with its path, zoom and shift."""
    UsdGeom, Gf = _pxr("UsdGeom", "Gf")
    made = UsdGeom.Camera.Define(stage, "/scene/camera")
    place = made.AddTransformOp()
    height, width = scene.size
    made.CreateClippingRangeAttr().Set(Gf.Vec2f(_NEAREST, 1e6))
    made.CreateHorizontalApertureAttr().Set(_APERTURE)
    for pose, K, code in zip(scene.cam2world, scene.intrinsics, codes, strict=True):
        turned = np.eye(4)
        turned[:3, :3] = FLIP @ pose[:3, :3] @ FLIP
        turned[:3, 3] = FLIP @ pose[:3, 3]
        # USD multiplies rows by matrices from the right.
        place.Set(Gf.Matrix4d(turned.T.tolist()), code)
        vertical = _APERTURE * height / width * K[0, 0] / K[1, 1]
        made.CreateFocalLengthAttr().Set(float(_APERTURE * K[0, 0] / width), code)
        made.CreateVerticalApertureAttr().Set(float(vertical), code)
        right, up = (width / 2 - K[0, 2] - 0.5) / width, (K[1, 2] + 0.5 - height / 2) / height
        made.CreateHorizontalApertureOffsetAttr().Set(float(_APERTURE * right), code)
        made.CreateVerticalApertureOffsetAttr().Set(float(vertical * up), code)


def _intrinsics(camera, code: float, height: int, width: int) -> np.ndarray:
    """K (3, 3) that the lens says."""
    focal = camera.GetFocalLengthAttr().Get(code)
    across = camera.GetHorizontalApertureAttr().Get(code)
    vertical = camera.GetVerticalApertureAttr().Get(code)
    right = camera.GetHorizontalApertureOffsetAttr().Get(code) / across
    up = camera.GetVerticalApertureOffsetAttr().Get(code) / vertical
    centre = (width / 2 - 0.5 - right * width, height / 2 - 0.5 + up * height)
    fx, fy = focal / across * width, focal / vertical * height
    return np.array([[fx, 0, centre[0]], [0, fy, centre[1]], [0, 0, 1]])


def _cloud(points, code) -> PointCloud:
    places = np.array(points.GetPointsAttr().Get(code), np.float32).reshape(-1, 3)
    colours = np.array(points.GetDisplayColorPrimvar().Get(code)).reshape(-1, 3)
    return PointCloud((places @ FLIP).astype(np.float32), np.rint(colours * 255).astype(np.uint8))
