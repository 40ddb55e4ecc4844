"""The viewer's page, read back; what it looks like was looked at in a browser."""

import io
import json
import re
import webbrowser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_sequence import write_run
from toy_sequence import toy_frames, toy_header
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.errors import InputError, UsageError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.clouds import moving_cloud, static_cloud
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.scene import PointScene
from dpm_cli.formats.viewer_page import ViewerExtras, read_viewer_page, write_viewer_page
from dpm_cli.sequence import Sequence4D

RUNNER = CliRunner()


@pytest.fixture
def run(tmp_path):
    header = toy_header()
    write_run(tmp_path / "walk_dpm", header, toy_frames(header))
    return tmp_path / "walk_dpm"


def cloud(*points):
    return PointCloud(
        np.array(points, np.float32).reshape(-1, 3), np.full((len(points), 3), 7, np.uint8)
    )


def scene(still, moving, name="a"):
    count = len(moving)
    poses, K = np.tile(np.eye(4), (count, 1, 1)), np.tile(np.eye(3), (count, 1, 1))
    return PointScene(name, "toy", still, moving, poses, K, (2, 3), np.arange(count) / 10)


def extras(count):
    paths = np.zeros((count, 0, 3), np.float32)
    return ViewerExtras([b""] * count, paths, paths[..., 0] > 0, np.zeros((0, 3), np.uint8))


def test_the_page_holds_still_points_once_and_moving_ones_frame_by_frame(run, tmp_path):
    sequence = Sequence4D.open(run)
    export_sequence(sequence, "html", tmp_path / "page", ExportOptions(min_confidence=3.0))
    found, extras = read_viewer_page(tmp_path / "page.html")
    options = ExportOptions(min_confidence=3.0)
    clouds = [
        static_cloud(sequence, options),
        *(moving_cloud(sequence, t, options) for t in range(4)),
    ]
    clouds = [cloud.mixed() for cloud in clouds]
    assert len(found.moving) == 4
    reach = np.ptp(np.concatenate([c.points for c in clouds]), axis=0).max()
    for shown, wanted in zip((found.still, *found.moving), clouds, strict=True):
        assert len(wanted) > 50
        assert np.abs(shown.points - wanted.points).max() < reach / 65535
        assert np.array_equal(shown.colors, wanted.colors)
        assert wanted.confidence is not None
        assert shown.confidence == pytest.approx(wanted.confidence, rel=0.012)
    for shown, wanted in zip(found.moving, clouds[1:], strict=True):
        assert shown.motion is not None
        assert shown.motion == pytest.approx(wanted.motion, abs=1e-5)
        assert np.abs(shown.motion - (0.15, 0, 0.03)).max() < 1e-5
    assert found.cam2world == pytest.approx(sequence.cam2world, abs=1e-6)
    assert found.intrinsics == pytest.approx(sequence.intrinsics)
    assert found.timestamps == pytest.approx(sequence.timestamps)
    assert (found.name, found.model, found.size) == ("walk_dpm", "toy", (24, 36))
    for t, picture in enumerate(extras.pictures):
        image = np.array(Image.open(io.BytesIO(picture)))
        assert np.abs(image.mean((0, 1)) - sequence.frame(t).image.mean((0, 1))).max() < 8
    moved = np.diff(extras.paths, axis=0)[:, np.linalg.norm(np.ptp(extras.paths, 0), axis=1) > 0.1]
    assert moved.shape[1] > 20
    assert np.median(moved, axis=(0, 1)) == pytest.approx((0.15, 0, 0.03), abs=0.02)


def test_points_of_a_frame_are_shared_out(run, tmp_path, monkeypatch):
    monkeypatch.setattr("dpm_cli.export.viewer._PAGE_POINTS", (200, 40))
    monkeypatch.setattr("dpm_cli.export.scenes._FRAME_POINTS", 5)
    export_sequence(Sequence4D.open(run), "html", tmp_path / "p", ExportOptions(max_points=100))
    found, _ = read_viewer_page(tmp_path / "p.html")
    assert [len(c) for c in found.moving] == [10] * 4
    assert len(found.still) == 100
    export_sequence(Sequence4D.open(run), "html", tmp_path / "q")
    assert len(read_viewer_page(tmp_path / "q.html")[0].still) == 200


def test_the_page_needs_nothing_else_and_names_cannot_break_it(tmp_path):
    name = "</script><script>alert(1)</script>"
    write_viewer_page(
        tmp_path / "a.html", scene(cloud((0, 0, 1)), [cloud(), cloud()], name), extras(2)
    )
    text = (tmp_path / "a.html").read_text()
    assert not re.findall(r"https?://|src=|@import|\{\{", text)
    assert text.count("<script") == 3
    assert read_viewer_page(tmp_path / "a.html")[0].name == name


def test_a_point_too_far_does_not_take_the_others_digits(tmp_path):
    near = [(x, 0, 1.0) for x in np.linspace(-1, 1, 9)]
    write_viewer_page(tmp_path / "a.html", scene(cloud(*near, (0, 0, 1e6)), [cloud()]), extras(1))
    found = read_viewer_page(tmp_path / "a.html")[0].still
    assert found.points == pytest.approx(np.array(near), abs=1e-4)


def test_nothing_to_show_and_no_page(run, tmp_path):
    sequence = Sequence4D.open(run)
    for name in ("html", "glb", "usd"):
        with pytest.raises(InputError, match="no point"):
            export_sequence(sequence, name, tmp_path / "a", ExportOptions(min_confidence=1e9))
    assert not list(tmp_path.glob("a*"))
    (tmp_path / "b.html").write_text("<html></html>")
    with pytest.raises(InputError, match="viewer page"):
        read_viewer_page(tmp_path / "b.html")


def test_view_opens_the_page(run, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: not opened.append(url))
    result = RUNNER.invoke(app, ["view", str(run), "-q"])
    assert opened[0] == f"file://{result.stdout.strip()}"
    assert len(read_viewer_page(Path(result.stdout.strip()))[0].moving) == 4
    command = ["view", str(run), "--no-browser", "-o", str(tmp_path / "v"), "-q"]
    assert RUNNER.invoke(app, command).stdout == f"{tmp_path / 'v.html'}\n"
    assert len(opened) == 1
    assert isinstance(RUNNER.invoke(app, command).exception, UsageError)
    told = json.loads(RUNNER.invoke(app, [*command, "--overwrite", "--json"]).stdout)
    size = (tmp_path / "v.html").stat().st_size
    assert told == {"path": str(tmp_path / "v.html"), "bytes": size, "opened": False}
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    assert "no browser" in RUNNER.invoke(app, ["view", str(run)]).stderr


def test_unregistered_frames_show_no_movers_and_times_rise(run, tmp_path):
    sequence = Sequence4D.open(run)
    sequence.camera_ok[2] = False
    sequence.timestamps[2] = sequence.timestamps[1]
    export_sequence(sequence, "html", tmp_path / "a")
    found, _ = read_viewer_page(tmp_path / "a.html")
    assert [len(c) > 0 for c in found.moving] == [True, True, False, True]
    assert (np.diff(found.timestamps) > 0).all()


def test_several_shots_are_said_to_lie_over_each_other(run, tmp_path):
    header = toy_header()
    header.shot[2:] = 1
    write_run(tmp_path / "cut", header, toy_frames(header))
    result = RUNNER.invoke(app, ["view", str(tmp_path / "cut"), "--no-browser"])
    assert "2 shots lie over each other" in result.stderr
