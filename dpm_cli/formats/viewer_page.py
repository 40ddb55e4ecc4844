"""One web page that holds a scene and its viewer: points that stand still or move, cameras, a time slider.

The page needs no server, no network and no other file. Points are 16 bit in their bounding box, colours 8 bit.
"""

import base64
import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.scene import PointScene

_LEVELS = 65535
_FARTHEST = 30.0
"""Points beyond this many median distances are left out: they would take the others' digits."""


def write_viewer_page(path: Path, scene: PointScene) -> None:
    """Write the page of a scene that has points, atomically."""
    centre = scene.cam2world[0, :3, 3]
    distance = scene.distance
    still, *moving = (
        c.take(np.linalg.norm(c.points - centre, axis=1) <= _FARTHEST * distance)
        for c in (scene.still, *scene.moving)
    )
    points = np.concatenate([c.points for c in (still, *moving)])
    low = points.min(0)
    step = np.maximum((points.max(0) - low) / _LEVELS, 1e-12)
    places = np.rint((points - low) / step).astype("<u2")
    colours = np.concatenate([c.colors for c in (still, *moving)])
    facts = {
        "name": scene.name,
        "model": scene.model,
        "still": len(still),
        "moving": [len(c) for c in moving],
        "distance": distance,
        "low": low.tolist(),
        "step": step.tolist(),
        "size": list(scene.size),
        "times": scene.timestamps.tolist(),
        "cameras": scene.cam2world.reshape(-1, 16).round(7).tolist(),
        "intrinsics": scene.intrinsics[:, (0, 1, 0, 1), (0, 1, 2, 2)].tolist(),
    }
    page = files("dpm_cli.formats").joinpath("viewer.html").read_text(encoding="utf-8")
    data = base64.b64encode(places.tobytes() + colours.tobytes()).decode()
    # A name may hold "</script>".
    page = page.replace("{{POINTS}}", data)
    with atomic_path(path) as temporary:
        text = json.dumps(facts).replace("<", "\\u003c")
        temporary.write_text(page.replace("{{SCENE}}", text), encoding="utf-8")


def read_viewer_page(path: Path) -> PointScene:
    """Read the scene of a page that `write_viewer_page` wrote, as exact as the page is.

    Raises:
        InputError: missing, or no such page.
    """
    try:
        text = path.read_text(encoding="utf-8")
        parts = dict(re.findall(r'<script type="[^"]+" id="(\w+)">(.*?)</script>', text, re.S))
        facts, data = json.loads(parts["scene"]), base64.b64decode(parts["points"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a viewer page of dpm") from error
    counts = [facts["still"], *facts["moving"]]
    places = np.frombuffer(data, "<u2", 3 * sum(counts)).reshape(-1, 3)
    points = (places * np.array(facts["step"]) + facts["low"]).astype(np.float32)
    colours = np.frombuffer(data, np.uint8, offset=places.nbytes).reshape(-1, 3)
    borders = np.cumsum(counts)[:-1]
    still, *moving = map(PointCloud, np.split(points, borders), np.split(colours, borders))
    fx, fy, cx, cy = np.array(facts["intrinsics"]).T
    K = np.zeros((len(fx), 3, 3))
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = fx, fy, cx, cy, 1
    return PointScene(
        name=facts["name"],
        model=facts["model"],
        still=still,
        moving=moving,
        cam2world=np.array(facts["cameras"]).reshape(-1, 4, 4),
        intrinsics=K,
        size=(facts["size"][0], facts["size"][1]),
        timestamps=np.array(facts["times"]),
    )
