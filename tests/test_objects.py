"""Objects on exact scenes: two patches that turn and slide on the toy's plane, and a rendered clip."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation
from toy_sequence import flow_between, toy_arrays, toy_frames, toy_header
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.errors import InputError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.formats.gltf import read_gltf
from dpm_cli.formats.object_files import read_object_table
from dpm_cli.formats.scene import FLIP
from dpm_cli.formats.trajectory import read_tum
from dpm_cli.objects import find_objects
from dpm_cli.objects.motion import View, object_motion
from dpm_cli.objects.regions import moving_regions
from dpm_cli.sequence import Sequence4D

COUNT = 4
WHERE = {1: (slice(4, 20), slice(4, 14)), 2: (slice(8, 18), slice(22, 30))}
"""Pixels of the two patches, the same in all frames: what is seen there slides through."""


def rigid(turn, slide):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    motion[:3, 3] = slide
    return motion


MOTION = {
    1: rigid((0, 0, 0.04), (0.02, -0.01, 0.03)),
    2: rigid((0.02, -0.01, 0), (-0.05, 0.02, 0.0)),
}


def two_movers(count=COUNT) -> Sequence4D:
    header = toy_header(count)
    cameras, frames = header.cameras, []
    y, x = np.mgrid[:24, :36].astype(np.float64)
    for t, frame in enumerate(toy_frames(header)):
        points = frame.points(cameras.cam2world[t], cameras.intrinsics[t])
        dynamic, made = np.zeros((24, 36), np.float32), {}
        for step, way in ((1, "fwd"), (-1, "bwd")):
            if not 0 <= t + step < count:
                continue
            flow = np.zeros((24, 36, 3), np.float32)
            for n, where in WHERE.items():
                motion = MOTION[n] if step > 0 else np.linalg.inv(MOTION[n])
                flow[where] = points[where] @ motion[:3, :3].T + motion[:3, 3] - points[where]
            made[f"scene_flow_{way}"] = flow
            # The patches stay where they are in the picture; what flow says of their motion is 0 there.
            pixels = flow_between(points + flow, cameras, t + step, x, y)
            for where in WHERE.values():
                pixels[where] = 0
            made[f"flow_{way}"] = pixels
        for where in WHERE.values():
            dynamic[where] = 1
        frames.append(replace(frame, dynamic=dynamic, valid=np.ones((24, 36), bool), **made))
    return Sequence4D.from_arrays(toy_arrays(header, frames), "two")


def test_regions_end_at_jumps_of_depth_and_flow():
    frame = two_movers().frame(0)
    one = np.zeros((24, 36), np.float32)
    one[6:18, 4:32] = 1
    still = replace(frame, dynamic=one, flow_fwd=np.zeros((24, 36, 2), np.float32))
    assert moving_regions(still, 0.5).max() == 1
    depth, flow = still.depth.copy(), np.zeros((24, 36, 2), np.float32)
    depth[:, 20:] *= 1.3
    labels = moving_regions(replace(still, depth=depth), 0.5)
    assert labels[10, 8] == 1
    assert labels[10, 28] == 2
    flow[:, 12:, 0] = 2
    labels = moving_regions(replace(still, flow_fwd=flow), 0.5)
    # The larger one is the first.
    assert labels[10, 8] == 2
    assert labels[10, 28] == 1
    assert (labels[one == 0] == 0).all()


def test_each_mover_keeps_its_number_and_its_exact_motion():
    sequence = two_movers()
    found = find_objects(sequence)
    assert found.seen.shape == (COUNT, 2)
    assert found.seen.all()
    for n, where in WHERE.items():
        assert (found.labels[(slice(None), *where)] == n).all()
        steps = found.world_from_object[1:, n - 1] @ np.linalg.inv(
            found.world_from_object[:-1, n - 1]
        )
        assert steps == pytest.approx(np.tile(MOTION[n], (COUNT - 1, 1, 1)), abs=1e-5)
        points = sequence.read(0, "points")
        assert points is not None
        middle = np.median(points[where].reshape(-1, 3), axis=0)
        assert found.world_from_object[0, n - 1, :3, 3] == pytest.approx(middle, abs=1e-6)
    assert found.labels[0, 0, 0] == 0
    assert (found.residual[:-1] < 1e-5).all()
    assert (found.moved[:-1] > 0.02).all()


def test_the_way_along_the_ray_is_told_by_where_all_pixels_land():
    """Scene flow says the least that lands there: nothing of an object that comes nearer but its growing."""
    sequence = two_movers()
    views, coming = [], rigid((0.01, 0.02, 0.03), (0.03, 0.01, -0.25))
    centre = np.array((0.0, 0.0, 4.0))
    about = np.eye(4)
    about[:3, 3] = centre
    motion = about @ coming @ np.linalg.inv(about)
    masks = []
    for t, way in ((0, motion), (1, np.linalg.inv(motion))):
        frame, camera = sequence.frame(t), sequence.cam2world[t]
        points = frame.points(camera, sequence.intrinsics[t]).astype(np.float64)
        if t:
            points = points @ motion[:3, :3].T + motion[:3, 3]
        eye = sequence.cam2world[1 - t, :3, 3]
        ray = points @ way[:3, :3].T + way[:3, 3] - eye
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        least = eye + ray * ((points - eye) * ray).sum(-1, keepdims=True) - points
        seen = np.ones((24, 36), bool)
        name = "bwd" if t else "fwd"
        told = {f"scene_flow_{name}": least, f"flow_{name}_valid": seen}
        views.append(View(replace(frame, **told), points, camera, sequence.intrinsics[t]))
        masks.append(np.zeros((24, 36), bool))
        masks[-1][WHERE[1]] = True
    found = object_motion((views[0], views[1]), (masks[0], masks[1]))
    assert found is not None
    error = np.linalg.inv(motion) @ found.rigid
    middle = np.median(views[0].points[masks[0]], axis=0)
    off = error[:3, :3] @ middle + error[:3, 3] - middle
    assert np.linalg.norm(off) < 0.01 * 0.25
    assert np.abs(error[:3, :3] - np.eye(3)).max() < 1e-3


def test_cuts_and_lost_cameras_end_objects():
    cut = two_movers(6)
    cut.shot[3:] = 1
    found = find_objects(cut)
    assert found.seen.sum(0).tolist() == [3, 3, 3, 3]
    lost = two_movers(6)
    lost.camera_ok[0] = False
    assert find_objects(lost).seen.sum(0).tolist() == [5, 5]
    assert not find_objects(lost).labels[0].any()


def test_what_flickers_is_no_object():
    sequence = two_movers(5)
    flicker = sequence.arrays("dynamic")
    flicker[2:][(slice(None), *WHERE[2])] = 0
    arrays = {**sequence.frames.arrays, "dynamic": flicker}  # pyright: ignore
    assert find_objects(Sequence4D.from_arrays(arrays)).seen.sum(0).tolist() == [5]


def test_the_folder_holds_paths_masks_and_nodes(tmp_path):
    sequence = two_movers()
    export_sequence(sequence, "objects", tmp_path / "o")
    found, table = find_objects(sequence), read_object_table(tmp_path / "o" / "objects.npz")
    assert np.array_equal(table.object_id, found.labels)
    assert np.array_equal(table.object_poses, found.world_from_object)
    facts = json.loads((tmp_path / "o" / "objects.json").read_text())["objects"]
    assert [f["id"] for f in facts] == [1, 2]
    assert [f["kind"] for f in facts] == ["rigid", "rigid"]
    assert (facts[0]["first_frame"], facts[0]["last_frame"], facts[0]["pixels"]) == (0, 3, 160)
    for n in (1, 2):
        path = read_tum(tmp_path / "o" / f"object_{n:03d}.txt")
        assert path.cam2world == pytest.approx(found.world_from_object[:, n - 1], abs=1e-8)
    mask = np.array(Image.open(tmp_path / "o" / "masks" / "object_000002.png"))
    assert mask.shape == (60, 90)
    assert np.array_equal(mask[[30, 30, 2], [20, 65, 2]], [1, 2, 0])


def test_nodes_of_the_glb_put_points_where_they_are(tmp_path):
    sequence = two_movers()
    export_sequence(sequence, "objects", tmp_path / "o")
    document = read_gltf(tmp_path / "o" / "objects.glb")
    nodes, animation = document.json["nodes"], document.json["animations"][0]
    number = next(n for n, node in enumerate(nodes) if node["name"] == "object_002")
    values = {
        c["target"]["path"]: document.array(animation["samplers"][c["sampler"]]["output"])
        for c in animation["channels"]
        if c["target"]["node"] == number
    }
    own = document.cloud(nodes[number]).points @ FLIP
    assert (values["scale"] == 1).all()
    start = sequence.read(0, "points")
    assert start is not None
    expected = start[WHERE[2]].reshape(-1, 3)
    for t in range(COUNT):
        turn = Rotation.from_quat(values["rotation"][t])
        placed = (turn.apply(own) + values["translation"][t]) @ FLIP
        assert placed == pytest.approx(expected, abs=1e-4)
        expected = expected @ MOTION[2][:3, :3].T + MOTION[2][:3, 3]


def test_a_still_scene_has_no_objects(tmp_path):
    arrays = two_movers().frames.arrays  # pyright: ignore
    still = Sequence4D.from_arrays({**arrays, "dynamic": np.zeros_like(arrays["dynamic"])})
    with pytest.raises(InputError, match="nothing moves"):
        export_sequence(still, "objects", tmp_path / "o")


def test_the_command_tells_the_objects(tmp_path):
    export_sequence(two_movers(), "npz", tmp_path / "two", ExportOptions())
    command = ["objects", str(tmp_path / "two.npz"), "-o", str(tmp_path / "o"), "-q"]
    assert CliRunner().invoke(app, command).stdout == f"{tmp_path / 'o'}\n"
    told = CliRunner().invoke(app, [*command, "--overwrite", "--json"]).stdout
    assert len(json.loads(told)["objects"]) == 2
