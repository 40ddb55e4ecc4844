"""glTF 2.0 binary (.glb): coloured points, points that show for one frame each, and a moving camera.

glTF axes are x right, y up, z backward, in the world and of cameras: OpenCV's turned about x. Core glTF cannot switch
a node on and off, so what shows for one frame has a scale that steps from 0 to 1 and back.
"""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.files import JSON_DAMAGE, reads
from dpm_cli.formats.gltf import GltfDocument, read_gltf
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.scene import FLIP, PointScene


def write_glb(path: Path, scene: PointScene, generator: str) -> None:
    """Write atomically; time starts at 0 with the first frame.

    The one camera has the median focal lengths and no shift, for core glTF has neither zoom nor shift.
    """
    document, times = still_document(scene, generator)
    for t, cloud in enumerate(scene.moving):
        if len(cloud):
            _add_frame(document, f"frame_{t:06d}", cloud, times, t)
    document.write(path)


def still_document(scene: PointScene, generator: str) -> tuple[GltfDocument, np.ndarray]:
    """What stands still and the camera with its path, and the times (T,) of the frames from 0."""
    across, up = (
        float(side / 2 / np.median(scene.intrinsics[:, i, i]))
        for i, side in enumerate(scene.size[::-1])
    )
    document = GltfDocument()
    document.json["asset"] |= {"generator": generator, "extras": {"model": scene.model}}
    document.json["extras"] = {"name": scene.name, "size": list(scene.size)}
    lens = {"yfov": 2 * float(np.arctan(up)), "aspectRatio": across / up, "znear": 0.01}
    document.json["cameras"] = [{"type": "perspective", "perspective": lens}]
    times = (scene.timestamps - scene.timestamps[0]).astype(np.float32)
    if len(scene.still):
        document.points("still", scene.still)
    node = document.node(name="camera", camera=0)
    add_path(document, node, scene.cam2world, document.accessor(times, "SCALAR", bounds=True))
    return document, times


def add_path(document: GltfDocument, node: int, poses: np.ndarray, clock: int) -> None:
    """Let a node go through rigid poses (T, 4, 4), given in OpenCV's axes, at the times of the accessor `clock`."""
    turns = Rotation.from_matrix(FLIP @ poses[:, :3, :3] @ FLIP).as_quat()
    # The same rotation has two quaternions: neighbours must have that on the same side.
    turns[1:] *= np.cumprod(np.where((turns[1:] * turns[:-1]).sum(1) < 0, -1, 1))[:, None]
    places = poses[:, :3, 3] @ FLIP
    start = {"translation": places[0].tolist(), "rotation": turns[0].tolist()}
    document.json["nodes"][node].update(start)
    for path, values, kind in (("translation", places, "VEC3"), ("rotation", turns, "VEC4")):
        document.animate(node, path, clock, document.accessor(values, kind), "LINEAR")


def _add_frame(
    document: GltfDocument, name: str, cloud: PointCloud, times: np.ndarray, t: int
) -> None:
    """Points that show from time `t` to the next."""
    node = document.points(name, cloud)
    if t > 0:
        document.json["nodes"][node]["scale"] = [0.0, 0.0, 0.0]
    last = t + 1 == len(times)
    # The first frame needs no key before it, the last none after it.
    some = slice(0 if t > 0 else 1, 2 if last else 3)
    keys = (0.0, times[t], times[t] if last else times[t + 1])[some]
    shown = (0.0, 1.0, 0.0)[some]
    clock = document.accessor(np.array(keys, np.float32), "SCALAR", bounds=True)
    scale = np.repeat(np.array(shown, np.float32)[:, None], 3, 1)
    document.animate(node, "scale", clock, document.accessor(scale, "VEC3"), "STEP")


@reads("a scene of dpm in glTF", *JSON_DAMAGE)
def read_glb(path: Path) -> PointScene:
    """Read what `write_glb` wrote.

    Raises:
        InputError: missing, or no such file.
    """
    return _scene(read_gltf(path))


def _scene(document: GltfDocument) -> PointScene:
    """The scene of a file; LookupError or StopIteration where it is another program's."""
    facts = document.json
    camera = next(n for n, node in enumerate(facts["nodes"]) if "camera" in node)
    clouds = {n["name"]: document.cloud(n) for n in facts["nodes"] if "mesh" in n}
    animation = facts["animations"][0]
    path = {
        channel["target"]["path"]: animation["samplers"][channel["sampler"]]
        for channel in animation["channels"]
        if channel["target"]["node"] == camera
    }
    times = document.array(path["translation"]["input"]).ravel()
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    turns = Rotation.from_quat(document.array(path["rotation"]["output"])).as_matrix()
    poses[:, :3, :3] = FLIP @ turns @ FLIP
    poses[:, :3, 3] = document.array(path["translation"]["output"]) @ FLIP
    height, width = facts["extras"]["size"]
    lens = facts["cameras"][0]["perspective"]
    up = np.tan(lens["yfov"] / 2)
    fx, fy = width / 2 / (up * lens["aspectRatio"]), height / 2 / up
    K = np.array([[fx, 0, (width - 1) / 2], [0, fy, (height - 1) / 2], [0, 0, 1]])
    nothing = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    return PointScene(
        name=facts["extras"]["name"],
        model=facts["asset"]["extras"]["model"],
        still=clouds.get("still", nothing),
        moving=[clouds.get(f"frame_{t:06d}", nothing) for t in range(len(times))],
        cam2world=poses,
        intrinsics=np.tile(K, (len(times), 1, 1)),
        size=(height, width),
        timestamps=times.astype(np.float64),
    )
