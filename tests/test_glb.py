"""glTF files, read back by our own reader and looked at as a program would that follows the specification."""

import json
import struct

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toy_sequence import toy_sequence

from dpm_cli.errors import InputError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.clouds import moving_cloud, static_cloud
from dpm_cli.formats.glb import read_glb


@pytest.fixture(scope="module")
def sequence():
    return toy_sequence()


@pytest.fixture
def path(sequence, tmp_path):
    export_sequence(sequence, "glb", tmp_path / "scene", ExportOptions(min_confidence=3.0))
    return tmp_path / "scene.glb"


def parts(path):
    raw = path.read_bytes()
    size, kind = struct.unpack_from("<I4s", raw, 12)
    assert (raw[:4], kind) == (b"glTF", b"JSON")
    length, kind = struct.unpack_from("<I4s", raw, 20 + size)
    assert kind == b"BIN\0"
    assert 28 + size + length == len(raw) == struct.unpack_from("<I", raw, 8)[0]
    return json.loads(raw[20 : 20 + size]), raw[28 + size :]


def floats(path, number, width):
    facts, data = parts(path)
    accessor = facts["accessors"][number]
    start = facts["bufferViews"][accessor["bufferView"]]["byteOffset"]
    return np.frombuffer(data, "<f4", width * accessor["count"], start).reshape(-1, width)


def test_what_goes_in_comes_out(sequence, path):
    found, options = read_glb(path), ExportOptions(min_confidence=3.0)
    wanted = static_cloud(sequence, options)
    assert found.still.points == pytest.approx(wanted.points)
    assert np.array_equal(found.still.colors, wanted.colors)
    for t in range(4):
        assert found.moving[t].points == pytest.approx(moving_cloud(sequence, t, options).points)
    assert found.cam2world == pytest.approx(sequence.cam2world, abs=1e-6)
    assert found.timestamps == pytest.approx([0, 0.1, 0.2, 0.3])
    assert found.intrinsics == pytest.approx(sequence.intrinsics)
    assert (found.name, found.model, found.size) == ("toy", "toy", (24, 36))


def test_the_lens_is_that_of_the_camera(path):
    lens = parts(path)[0]["cameras"][0]["perspective"]
    assert np.tan(lens["yfov"] / 2) == pytest.approx(12 / 41)
    # Pixels need not be square: fx is 40, fy 41.
    assert lens["aspectRatio"] * np.tan(lens["yfov"] / 2) == pytest.approx(18 / 40)


def test_a_program_that_follows_gltf_sees_points_where_our_camera_does(sequence, path):
    facts = parts(path)[0]
    node = next(n for n in facts["nodes"] if "camera" in n)
    channels = {
        c["target"]["path"]: facts["animations"][0]["samplers"][c["sampler"]]
        for c in facts["animations"][0]["channels"]
        if facts["nodes"][c["target"]["node"]] is node
    }

    mesh = facts["meshes"][next(n for n in facts["nodes"] if n["name"] == "still")["mesh"]]
    points = floats(path, mesh["primitives"][0]["attributes"]["POSITION"], 3)
    lens = facts["cameras"][0]["perspective"]
    up = np.tan(lens["yfov"] / 2)
    wanted = static_cloud(sequence, ExportOptions(min_confidence=3.0)).points
    for t in range(4):
        turn = Rotation.from_quat(floats(path, channels["rotation"]["output"], 4)[t])
        local = turn.inv().apply(points - floats(path, channels["translation"]["output"], 3)[t])
        # glTF's camera looks along -z with y up; the edges of its picture are at -1 and 1.
        x = local[:, 0] / -local[:, 2] / (up * lens["aspectRatio"])
        y = local[:, 1] / -local[:, 2] / up
        seen = np.stack(((x + 1) * 18 - 0.5, (1 - y) * 12 - 0.5), -1)
        ours = (wanted - sequence.cam2world[t, :3, 3]) @ sequence.cam2world[t, :3, :3]
        ours = ours @ sequence.intrinsics[t].T
        assert seen == pytest.approx(ours[:, :2] / ours[:, 2:], abs=1e-3)


def test_axes_are_those_of_gltf(sequence, path):
    facts, _ = parts(path)
    node = next(n for n in facts["nodes"] if n["name"] == "still")
    position = facts["meshes"][node["mesh"]]["primitives"][0]["attributes"]["POSITION"]
    accessor, points = facts["accessors"][position], floats(path, position, 3)
    # Before the first camera, which looks along -z with y up, lies what OpenCV has at positive z.
    assert points[:, 2].max() < 0
    wanted = static_cloud(sequence, ExportOptions(min_confidence=3.0)).points
    assert points[:, 1] == pytest.approx(-wanted[:, 1])
    assert accessor["min"] == pytest.approx(points.min(0))
    assert accessor["max"] == pytest.approx(points.max(0))


def test_the_moving_points_of_one_frame_show_at_a_time(path):
    facts = parts(path)[0]
    animation = facts["animations"][0]

    def shown(name, time):
        node = next(n for n, v in enumerate(facts["nodes"]) if v["name"] == name)
        channel = next(c for c in animation["channels"] if c["target"]["node"] == node)
        assert channel["target"]["path"] == "scale"
        sampler = animation["samplers"][channel["sampler"]]
        assert sampler["interpolation"] == "STEP"
        keys = floats(path, sampler["input"], 1)[:, 0]
        assert (np.diff(keys) > 0).all()
        return floats(path, sampler["output"], 3)[
            max(np.searchsorted(keys, time, "right") - 1, 0), 0
        ]

    for time, now in ((0.05, 0), (0.15, 1), (0.25, 2), (0.35, 3)):
        assert [shown(f"frame_{t:06d}", time) for t in range(4)] == [t == now for t in range(4)]


def test_accessors_lie_inside_the_data_and_on_four_bytes(path):
    facts, data = parts(path)
    assert facts["buffers"] == [{"byteLength": len(data)}]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
    for accessor in facts["accessors"]:
        view = facts["bufferViews"][accessor["bufferView"]]
        bytes_each = 4 if accessor["componentType"] == 5126 else 1
        assert view["byteOffset"] % 4 == 0
        assert accessor["count"] * width[accessor["type"]] * bytes_each <= view["byteLength"]
        assert view["byteOffset"] + view["byteLength"] <= len(data)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.glb").write_bytes(b"glTF")
    text = b'{"nodes":[{"camera":0}],"animations":[],"asset":{"version":"2.0"}}'
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text), len(text), b"JSON")
    (tmp_path / "b.glb").write_bytes(head + text + struct.pack("<I4s", 0, b"BIN\0"))
    for name in ("a.glb", "b.glb"):
        with pytest.raises(InputError, match="cannot be read"):
            read_glb(tmp_path / name)
