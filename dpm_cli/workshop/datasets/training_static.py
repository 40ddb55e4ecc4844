"""Static scenes for training: BlendedMVS, MegaDepth and ScanNet++ as they are published.

Images of a static scene are not a video. Which of them share view is said by BlendedMVS's pair.txt and by the points
of MegaDepth's models; ScanNet++ is captured in the order of its names. A pair is kept by the mix only if enough of it
is seen in both images.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets.layout import files, folders, number, require, wrong_layout
from dpm_cli.workshop.datasets.rasters import read_depth_png, read_hdf5, read_raw, read_rgb
from dpm_cli.workshop.datasets.training_colmap import ColmapImage, covisible, read_colmap
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth


def read_blendedmvs(root: Path) -> list[SequenceTruth]:
    """<scene>/{blended_images/00000000.jpg, rendered_depth_maps/00000000.pfm, cams/00000000_cam.txt}.

    Raises:
        InputError: no such folders, or a file is missing or damaged.
    """
    found = [_blendedmvs(p) for p in (root, *folders(root)) if files(p / "cams", "*_cam.txt")]
    if not found:
        raise wrong_layout("blendedmvs", root, "<scene>/{blended_images,rendered_depth_maps,cams}/")
    return found


def _blendedmvs(root: Path) -> SequenceTruth:
    depth = files(root / "rendered_depth_maps", "*.pfm")
    images = [require("blendedmvs", root / "blended_images" / f"{p.stem}.jpg") for p in depth]
    cameras = [
        _mvsnet_camera(require("blendedmvs", root / "cams" / f"{p.stem}_cam.txt")) for p in depth
    ]
    return SequenceTruth(
        dataset="blendedmvs",
        name=root.name,
        images=Lazy(tuple(images), read_rgb),
        depth=Lazy(tuple(depth), _positive),
        intrinsics=np.stack([K for K, _ in cameras]),
        cam2world=np.stack([pose for _, pose in cameras]),
        static=True,
        partners=_mvsnet_partners(root / "cams" / "pair.txt", [number(p) for p in depth]),
    )


def _mvsnet_partners(path: Path, numbers: list[int]) -> np.ndarray | None:
    """Pairs (P, 2) of a view list: count, then for each view its number and `n (number score) x n`; None if empty."""
    words = path.read_text(encoding="utf-8").split() if path.is_file() else ["0"]
    place = {n: i for i, n in enumerate(numbers)}
    found, at = [], 1
    try:
        for _ in range(int(words[0])):
            view, count = int(words[at]), int(words[at + 1])
            rows = words[at + 2 : at + 2 + 2 * count]
            found += [
                (place[view], place[int(other)])
                for other, score in zip(rows[::2], rows[1::2], strict=True)
                if float(score) > 0 and view in place and int(other) in place
            ]
            at += 2 + 2 * count
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: expected a view's number, then 'n' and n times 'number score'"
        ) from error
    return np.array(found, np.int64) if found else None


def _mvsnet_camera(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`extrinsic`, 4 x 4 world to camera, `intrinsic`, 3 x 3, then the range of depth."""
    words = path.read_text(encoding="utf-8").split()
    if len(words) < 27 or words[0] != "extrinsic" or words[17] != "intrinsic":
        raise InputError(f"{path}: expected 'extrinsic' and 16 numbers, 'intrinsic' and 9 numbers")
    world2cam = np.array(words[1:17], np.float64).reshape(4, 4)
    return np.array(words[18:27], np.float64).reshape(3, 3), np.linalg.inv(world2cam)


def _positive(path: Path) -> np.ndarray:
    depth = read_raw(path).astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0)


def read_megadepth(root: Path) -> list[SequenceTruth]:
    """<scene>/dense<k>/{imgs/*.jpg, depths/*.h5} with <scene>/sparse/manhattan/<k>/{cameras,images}.txt.

    The images are undistorted, the published cameras are those before; the new pinhole is the one that fills the
    image, with the principal point in its centre. Depth maps that hold an ordering (negative values) are empty here.

    Raises:
        InputError: no such folders, or a file is missing or damaged.
        MissingExtraError: h5py is not installed.
    """
    found = [
        _megadepth(dense, scene / "sparse" / "manhattan" / dense.name.removeprefix("dense"))
        for scene in (root, *folders(root))
        for dense in folders(scene)
        if dense.name.startswith("dense") and (dense / "depths").is_dir()
    ]
    if not found:
        raise wrong_layout("megadepth", root, "<scene>/{dense0/{imgs,depths},sparse/manhattan/0}/")
    return found


def _megadepth(dense: Path, model: Path) -> SequenceTruth:
    registered = [
        i for i in read_colmap(model) if (dense / "depths" / i.name).with_suffix(".h5").exists()
    ]
    images = [require("megadepth", dense / "imgs" / i.name) for i in registered]
    if not images:
        raise InputError(f"{dense} holds no image of the model in {model}")
    return SequenceTruth(
        dataset="megadepth",
        name=f"{dense.parent.name}/{dense.name}",
        images=Lazy(tuple(images), read_rgb),
        depth=Lazy(
            tuple((dense / "depths" / i.name).with_suffix(".h5") for i in registered), _h5_depth
        ),
        intrinsics=np.stack([_undistorted(i, p) for i, p in zip(registered, images, strict=True)]),
        cam2world=np.stack([i.cam2world for i in registered]),
        static=True,
        partners=covisible(registered),
    )


def _undistorted(image: ColmapImage, path: Path) -> np.ndarray:
    with Image.open(path) as header:  # a hundred thousand images are not decoded for their size
        width, height = header.size
    K, _ = cv2.getOptimalNewCameraMatrix(
        image.K,
        np.array((image.radial, 0.0, 0.0, 0.0)),
        (image.size[1], image.size[0]),
        0,
        (width, height),
        centerPrincipalPoint=True,
    )
    return np.asarray(K, np.float64)


def _h5_depth(path: Path) -> np.ndarray:
    depth = read_hdf5(path, "depth").astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0) & (depth.min() >= 0), depth, 0)


def read_scannetpp(root: Path) -> list[SequenceTruth]:
    """data/<scene>/dslr/ after the ScanNet++ toolkit: undistorted images, their pinholes and depth rendered to them.

    Read are nerfstudio/transforms_undistorted.json, undistorted_images/ and undistorted_depths/ (or render_depth/),
    16 bit PNG in millimetres, 0 = none.

    Raises:
        InputError: no such folders, or a file is missing or damaged.
    """
    base = root / "data" if (root / "data").is_dir() else root
    scenes = [p for p in (base, *folders(base)) if (p / "dslr" / "nerfstudio").is_dir()]
    if not scenes:
        raise wrong_layout(
            "scannetpp", root, "data/<scene>/dslr/nerfstudio/transforms_undistorted.json"
        )
    return [_scannetpp(p) for p in scenes]


def _scannetpp(scene: Path) -> SequenceTruth:
    dslr = scene / "dslr"
    path = require("scannetpp", dslr / "nerfstudio" / "transforms_undistorted.json")
    model = json.loads(path.read_text(encoding="utf-8"))
    missing = {"fl_x", "fl_y", "cx", "cy", "camera_model", "frames"} - set(model)
    if missing or model["camera_model"] not in ("PINHOLE", "OPENCV"):
        raise InputError(
            f"{path}: expected a pinhole camera and frames, missing {sorted(missing) or 'PINHOLE'}"
        )
    frames = sorted(
        (f for f in model["frames"] if not f.get("is_bad", False)), key=lambda f: f["file_path"]
    )
    names = [Path(f["file_path"]).name for f in frames]
    depth_folder = next(
        (dslr / n for n in ("undistorted_depths", "render_depth") if (dslr / n).is_dir()), None
    )
    if depth_folder is None:
        raise InputError(
            f"{dslr} has no undistorted_depths/: render them with the ScanNet++ toolkit"
        )
    depth = [require("scannetpp", (depth_folder / n).with_suffix(".png")) for n in names]
    K = np.array(
        [[model["fl_x"], 0, model["cx"] - 0.5], [0, model["fl_y"], model["cy"] - 0.5], [0, 0, 1]]
    )
    # nerfstudio's cameras look down -z with y up.
    pose = np.array([f["transform_matrix"] for f in frames], np.float64) @ np.diag(
        (1.0, -1.0, -1.0, 1.0)
    )
    return SequenceTruth(
        dataset="scannetpp",
        name=scene.name,
        images=Lazy(
            tuple(require("scannetpp", dslr / "undistorted_images" / n) for n in names), read_rgb
        ),
        depth=Lazy(tuple(depth), _millimetres),
        intrinsics=np.tile(K, (len(frames), 1, 1)),
        cam2world=pose,
        static=True,
        metric=True,
    )


def _millimetres(path: Path) -> np.ndarray:
    return read_depth_png(path, 0.001)
