"""Odd names and places: dashes, line breaks, bytes that are no text, links in circles, folders closed to us."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_sequence import toy_arrays, toy_frames, toy_header
from video_files import write_numbered

from dpm_cli.cli import main
from dpm_cli.cli.console import complain, emit
from dpm_cli.clip_store import decode_clip, plan_clip
from dpm_cli.errors import InputError
from dpm_cli.export import export_sequence
from dpm_cli.outputs import OUTPUTS
from dpm_cli.progress import SilentReporter
from dpm_cli.sequence import Sequence4D
from dpm_cli.video.inputs import clip_files, split_inputs
from dpm_cli.video.probe import probe

ODD = (
    "-i.mp4",
    "%03d [x] *.mp4",
    "http:a;'\"$(x).mp4",
    "日本 ü\n.mp4",
    os.fsdecode(b"\xff\xfe.mp4"),
)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("names") / "a.mp4", 2)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ODD)
def test_a_video_may_be_called_anything(video, here, name):
    os.link(video, name)
    assert len(probe(name)) == 2


@pytest.mark.parametrize("name", ["-n.png", "%d*.png", "日本 ü\n.png", os.fsdecode(b"\xff.png")])
def test_a_picture_may_be_called_anything(here, name):
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(picture).save(here / name)
    assert split_inputs([name]) == [[name]]
    clip = decode_clip(plan_clip([name]), here / "store", SilentReporter())
    assert np.array_equal(clip.frames.read([0])[0], picture)


def command(monkeypatch, capfd, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `dpm reconstruct`."""
    monkeypatch.setattr(sys, "argv", ["dpm", "reconstruct", "-q", *words])
    with pytest.raises(SystemExit) as end:
        main()
    said = capfd.readouterr()
    assert said.err.count("\n") == 1, said.err
    return int(end.value.code or 0), said.out, said.err


def test_errors_about_such_names_are_one_line(here, monkeypatch, capfd):
    for name in ("no\nsuch.mp4", "no\x1b]0;x\x07.mp4", os.fsdecode(b"no\xff.mp4")):
        code, _, line = command(monkeypatch, capfd, name)
        assert code == 3
        assert "does not exist" in line
        assert "\x1b" not in line
    complain("a\r\nb")
    assert capfd.readouterr().err == "dpm: a\\r\\nb\n"


def test_a_result_in_a_folder_that_is_no_text_is_told_by_its_bytes(capfdbinary, monkeypatch):
    monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))  # noqa: SIM115
    emit(os.fsdecode(b"run\xff"))
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == b"run\xff\n"


def test_every_format_is_written_for_a_run_whose_name_is_no_text(tmp_path):
    header = toy_header(2)
    arrays = toy_arrays(header, toy_frames(header))
    sequence = Sequence4D.from_arrays(arrays, os.fsdecode(b"<b>\xff\n\"'"))
    for output in OUTPUTS.values():
        if not output.extra and output.name not in ("mesh", "objects", "preview"):
            export_sequence(sequence, output.name, tmp_path / output.name)


def test_links_in_circles_lead_to_one_line_and_nothing_is_followed(here, monkeypatch, capfd):
    (here / "a.mp4").symlink_to("b.mp4")
    (here / "b.mp4").symlink_to("a.mp4")
    assert command(monkeypatch, capfd, "a.mp4")[0] == 3
    (here / "in").mkdir()
    (here / "in" / "up").symlink_to(here, target_is_directory=True)
    (here / "in" / "x.png").symlink_to("x.png")
    with pytest.raises(InputError, match="holds no images or videos"):
        clip_files(["in"])
    with pytest.raises(InputError, match="matches no file"):
        split_inputs(["in/**/*.jpg"])
    Image.new("RGB", (64, 48)).save(here / "p.png")
    code, _, line = command(monkeypatch, capfd, "p.png", "-o", "a.mp4")
    assert code == 2
    assert "a.mp4 is a link that leads nowhere" in line


def test_a_folder_that_is_closed_to_us_is_one_line(here, monkeypatch, capfd):
    closed = here / "closed"
    closed.mkdir()
    listed = Path.iterdir

    def refuse(self):
        if self.name == "closed":
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    code, _, line = command(monkeypatch, capfd, str(closed))
    assert code == 3
    assert "closed cannot be read: Permission denied" in line


def test_a_place_that_cannot_be_written_is_one_line(here, monkeypatch, capfd):
    Image.new("RGB", (64, 48)).save(here / "p.png")
    (here / "file").write_text("mine")
    code, _, line = command(monkeypatch, capfd, "p.png", "-o", "file/run")
    assert code in (1, 2)
    assert "file" in line
    assert (here / "file").read_text() == "mine"
