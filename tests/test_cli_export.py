"""`dpm export` and `dpm info` as a user runs them."""

import json

import numpy as np
import pytest
from PIL import Image
from test_sequence import write_run
from toy_sequence import toy_frames, toy_header
from typer.testing import CliRunner
from video_files import numbers, write_numbered

from dpm_cli.cli import app
from dpm_cli.clip_store import fingerprint
from dpm_cli.errors import InputError, UsageError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.sequence import Sequence4D
from dpm_cli.video.images import read_image

RUNNER = CliRunner()


@pytest.fixture
def run(tmp_path):
    header = toy_header()
    write_run(tmp_path / "walk_dpm", header, toy_frames(header))
    return tmp_path / "walk_dpm"


def test_export_prints_the_path_and_adds_the_suffix(tmp_path, run):
    result = RUNNER.invoke(
        app, ["export", str(run), "--to", "npz", "-o", str(tmp_path / "a.b"), "-q"]
    )
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'a.b.npz'}\n"
    assert len(Sequence4D.open(tmp_path / "a.b.npz")) == 4


def test_export_names_the_result_after_the_run(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(app, ["export", str(run), "--to", "kitti-poses", "--json", "-q"])
    told = json.loads(result.stdout)
    assert told["path"] == "walk_dpm_kitti_poses.txt"
    assert told["bytes"] == (tmp_path / told["path"]).stat().st_size


def test_export_refuses_and_overwrites(tmp_path, run):
    command = ["export", str(run), "--to", "tum", "-o", str(tmp_path / "c.txt"), "-q"]
    assert RUNNER.invoke(app, command).exit_code == 0
    assert isinstance(RUNNER.invoke(app, command).exception, UsageError)
    assert RUNNER.invoke(app, [*command, "--overwrite"]).exit_code == 0
    wrong = RUNNER.invoke(app, ["export", str(run), "--to", "ply", "--profile", "5dgs"])
    assert "plain, 3dgs, 4dgs" in str(wrong.exception)


def test_info_of_a_run_and_of_a_video(tmp_path, run):
    told = json.loads(RUNNER.invoke(app, ["info", str(run), "--json"]).stdout)
    assert (told["kind"], told["frames"], told["source_width"]) == ("run", 4, 90)
    video = write_numbered(tmp_path / "v.mp4", 6)
    told = json.loads(RUNNER.invoke(app, ["info", str(video), "--json"]).stdout)
    assert (told["kind"], told["frames"], told["width"], told["fps"]) == ("video", 6, 64, 30.0)
    text = RUNNER.invoke(app, ["info", str(video)]).stdout
    assert "duration_s" in text
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "i.png")
    told = json.loads(RUNNER.invoke(app, ["info", str(tmp_path / "i.png"), "--json"]).stdout)
    assert (told["kind"], told["width"], told["height"]) == ("images", 7, 5)
    missing = RUNNER.invoke(app, ["info", str(tmp_path / "none.mp4")])
    assert isinstance(missing.exception, InputError)


def test_colmap_images_are_those_of_the_source(tmp_path):
    """The run's frames 1, 4, 7, 10 are decoded again from the video at its own size."""
    video = write_numbered(tmp_path / "source.mp4", 12, (60, 90))
    header = toy_header()
    manifest = {"input": [str(video)], "fingerprint": fingerprint((video,))}
    write_run(tmp_path / "run", header, toy_frames(header), manifest)
    sequence = Sequence4D.open(tmp_path / "run")
    export_sequence(sequence, "colmap", tmp_path / "colmap", ExportOptions(max_points=10))
    files = sorted((tmp_path / "colmap" / "images").glob("*.png"))
    images = np.stack([read_image(file) for file in files])
    assert images.shape == (4, 60, 90, 3)
    assert numbers(images) == header.frame_index.tolist() == [1, 4, 7, 10]
    video.write_bytes(video.read_bytes() + b"changed")
    export_sequence(sequence, "nerfstudio", tmp_path / "ns", ExportOptions(max_points=10))
    enlarged = read_image(tmp_path / "ns" / "images" / "frame_000000.png")
    assert enlarged.shape == (60, 90, 3)
    assert enlarged.std() > 20
