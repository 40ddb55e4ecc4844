"""Points followed through sequences whose exact answer is known."""

import csv
import json

import numpy as np
import pytest
from test_sequence import write_run
from toy_sequence import SLIDE, toy_frames, toy_header
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.errors import InputError, UsageError
from dpm_cli.export.tracks import export_tracks
from dpm_cli.formats.track_files import read_track_csv, read_track_npz
from dpm_cli.sequence import Sequence4D
from dpm_cli.tracking import track

RUNNER = CliRunner()
STILL = np.array([[8.0, 5.0], [30.25, 17.5]])


@pytest.fixture
def run(tmp_path):
    header = toy_header()
    write_run(tmp_path / "walk_dpm", header, toy_frames(header))
    return tmp_path / "walk_dpm"


def wall(frames, height=9, width=13, depth=2.0, focal_px=10.0):
    """A still camera before a wall at one depth, nothing moves."""
    K = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1.0]])
    maps, steps = (frames, height, width), (frames - 1, height, width)
    arrays = {
        "images": np.zeros((*maps, 3), np.uint8),
        "depth": np.full(maps, depth, np.float32),
        "confidence": np.full(maps, 8, np.float32),
        "valid": np.ones(maps, bool),
        "dynamic": np.zeros(maps, np.float32),
        "cam2world": np.tile(np.eye(4), (frames, 1, 1)),
        "intrinsics": np.tile(K, (frames, 1, 1)),
        "intrinsics_source": np.tile(K, (frames, 1, 1)),
        "source_from_working": np.eye(3),
        "camera_ok": np.ones(frames, bool),
        "shot": np.zeros(frames, np.int64),
        "frame_index": np.arange(frames),
        "timestamps": np.arange(frames) / 10,
        **{k: np.array("x") for k in ("convention", "world", "scale", "model")},
    }
    for way in ("fwd", "bwd"):
        arrays[f"scene_flow_{way}"] = np.zeros((*steps, 3), np.float32)
        arrays[f"flow_{way}"] = np.zeros((*steps, 2), np.float32)
        arrays[f"flow_{way}_valid"] = np.ones(steps, bool)
    return arrays


def followed(arrays, frame=0, pixel=(6.0, 4.0)):
    found = track(Sequence4D.from_arrays(arrays), frame, np.array([pixel]))
    return found.points[:, 0], found.pixels[:, 0], found.visible[:, 0], found.confidence[:, 0]


def test_what_stands_still_keeps_its_world_point_and_is_seen_where_the_cameras_say(run):
    sequence = Sequence4D.open(run)
    found = track(sequence, 1, STILL)
    assert found.visible.all()
    assert np.ptp(found.points, 0).max() == 0
    assert found.pixels[1] == pytest.approx(STILL)
    for t in range(4):
        local = (found.points[t] - sequence.cam2world[t, :3, 3]) @ sequence.cam2world[t, :3, :3]
        seen = local @ sequence.intrinsics[t].T
        assert found.pixels[t] == pytest.approx(seen[:, :2] / seen[:, 2:], abs=1e-6)
    again = track(sequence, 3, found.pixels[3])
    assert again.points == pytest.approx(found.points, abs=1e-3)
    assert again.pixels == pytest.approx(found.pixels, abs=1e-2)


def test_what_moves_goes_by_its_flow_both_ways(run):
    sequence = Sequence4D.open(run)
    middle = np.array([[18.0, 12.0]])
    ahead, back = track(sequence, 0, middle), track(sequence, 3, middle)
    assert ahead.points[1, 0] - ahead.points[0, 0] == pytest.approx(SLIDE, abs=1e-2)
    assert back.points[2, 0] - back.points[3, 0] == pytest.approx(-SLIDE, abs=1e-2)


def test_a_hidden_still_point_is_found_again():
    arrays = wall(5)
    arrays["depth"][2:4, :, 4:9] = 1.0
    arrays["dynamic"][2:4, :, 4:9] = 1.0
    arrays["scene_flow_fwd"][2:4, :, 4:9] = 0.3
    arrays["flow_fwd"][2:4, :, 4:9] = 5.0
    arrays["flow_fwd_valid"][1] = False
    # What is measured there later has noise, the point has none.
    arrays["depth"][4] = 2.04
    points, pixels, visible, confidence = followed(arrays)
    assert visible.tolist() == [True, True, False, False, True]
    assert points == pytest.approx(np.tile((0, 0, 2.0), (5, 1)))
    assert pixels == pytest.approx(np.tile((6, 4.0), (5, 1)))
    assert confidence == pytest.approx([8, 8, 0, 0, 8])


def test_a_hidden_mover_goes_on_as_it_went():
    arrays = wall(4)
    arrays["dynamic"][0] = 1
    arrays["scene_flow_fwd"][0, ..., 0] = 0.2
    arrays["flow_fwd"][0, ..., 0] = 1.0
    arrays["flow_fwd_valid"][:] = False
    arrays["depth"][1:] = 1.0
    points, pixels, visible, _ = followed(arrays)
    assert visible.tolist() == [True, False, False, False]
    assert points[:, 0] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert pixels[:, 0] == pytest.approx([6, 7, 8, 9])


def test_a_seen_mover_takes_its_depth_from_where_it_is_seen():
    arrays = wall(3)
    arrays["dynamic"][:] = 1
    arrays["scene_flow_fwd"][..., 0] = 0.2
    arrays["flow_fwd"][..., 0] = 2.0
    arrays["depth"][1] = 2.1
    points, _, visible, _ = followed(arrays)
    assert visible.all()
    # Two and four pixels from the centre at focal length 10.
    assert points == pytest.approx(np.array([[0, 0, 2], [0.42, 0, 2.1], [0.8, 0, 2]]))


def test_a_flow_that_disagrees_is_believed_though_nothing_is_said_to_move():
    arrays = wall(2)
    arrays["flow_fwd"][..., 1] = 3.0
    _, pixels, visible, _ = followed(arrays)
    assert pixels[1] == pytest.approx((6, 7))
    assert visible.all()


def test_beside_an_edge_depth_is_that_of_the_own_surface():
    arrays = wall(1)
    arrays["depth"][:, :, 7:] = 6.0
    points, *_ = followed(arrays, pixel=(6.4, 4.0))
    assert points[0, 2] == pytest.approx(2.0, rel=1e-6)
    points, *_ = followed(arrays, pixel=(6.6, 4.0))
    assert points[0, 2] == pytest.approx(6.0, rel=1e-6)


def test_another_shot_is_another_world():
    arrays = wall(4)
    arrays["shot"] = np.array([0, 0, 1, 1])
    points, _, visible, _ = followed(arrays, frame=1)
    assert visible.tolist() == [True, True, False, False]
    assert np.isfinite(points).all()


def test_an_unregistered_camera_neither_sees_nor_moves_a_point():
    arrays = wall(5)
    arrays["camera_ok"][2] = False
    arrays["cam2world"][2, 2, 3] = 0.9
    points, _, visible, _ = followed(arrays, pixel=(9.0, 4.0))
    assert visible.tolist() == [True, True, False, True, True]
    assert np.ptp(points, 0).max() == 0


def test_a_point_behind_the_camera_is_not_seen():
    arrays = wall(3)
    arrays["cam2world"][1:, 2, 3] = 3.0
    points, _, visible, _ = followed(arrays)
    assert visible.tolist() == [True, False, False]
    assert points == pytest.approx(np.tile((0, 0, 2.0), (3, 1)))


def test_a_flow_that_leads_onto_something_else_ends_the_sight():
    arrays = wall(3)
    arrays["dynamic"][:] = 1
    arrays["scene_flow_fwd"][..., 0] = 0.2
    arrays["flow_fwd"][..., 0] = 1.0
    arrays["depth"][1:] = 8.0
    points, _, visible, _ = followed(arrays)
    assert visible.tolist() == [True, False, False]
    assert points[:, 0] == pytest.approx([0, 0.2, 0.4])
    assert points[:, 2] == pytest.approx([2, 2, 2])


def test_a_point_that_leaves_the_picture_is_not_seen():
    arrays = wall(3)
    arrays["cam2world"][1:, 0, 3] = 2.0
    arrays["flow_fwd"][0, ..., 0] = -10.0
    points, pixels, visible, _ = followed(arrays)
    assert visible.tolist() == [True, False, False]
    assert pixels[:, 0] == pytest.approx([6, -4, -4])
    assert points == pytest.approx(np.tile((0, 0, 2.0), (3, 1)))


def test_the_command_writes_csv_and_npz_in_source_pixels(run, tmp_path):
    command = ["track", str(run), "--at", "45.5,30", "--at", "10,20", "--frame", "2"]
    result = RUNNER.invoke(app, [*command, "-o", str(tmp_path / "a.csv"), "--json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["path"], told["points"]) == (str(tmp_path / "a.csv"), 2)
    table = read_track_csv(tmp_path / "a.csv")
    assert table.pixels[2] == pytest.approx(np.array([[45.5, 30], [10, 20]]))
    assert table.timestamps == pytest.approx([0.02, 0.12, 0.22, 0.32])
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert (rows[2]["frame"], rows[2]["x_px"], rows[2]["visible"]) == ("2", "45.5", "1")
    assert RUNNER.invoke(app, [*command, "-o", str(tmp_path / "a.npz")]).exit_code == 0
    arrays = read_track_npz(tmp_path / "a.npz")
    for name in ("pixels", "points", "visible", "confidence"):
        assert getattr(arrays, name) == pytest.approx(getattr(table, name), rel=1e-6)
    with np.load(tmp_path / "a.npz") as archive:
        assert str(archive["world"]) == "first-camera"


def test_the_command_refuses_what_cannot_be_followed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for at, frame, kind, words in (
        ("9", "0", UsageError, "two numbers"),
        ("95,10", "0", UsageError, "outside of the source, 90x60"),
        ("9,9", "4", UsageError, "frames 0 to 3"),
        ("9,0", "0", InputError, "no depth at 9,0"),
    ):
        result = RUNNER.invoke(app, ["track", str(run), "--at", at, "--frame", frame])
        assert isinstance(result.exception, kind)
        assert words in str(result.exception)
    assert not list(tmp_path.glob("*tracks*"))
    assert RUNNER.invoke(app, ["track", str(run), "--at", "9,9"]).stdout == "walk_dpm_tracks.csv\n"
    sequence = Sequence4D.open(run)
    with pytest.raises(UsageError, match="exists"):
        export_tracks(sequence, 0, [(9, 9)])
    assert export_tracks(sequence, 0, [(9, 9)], overwrite=True).path.name == "walk_dpm_tracks.csv"
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_track_csv(tmp_path / "bad.csv")
