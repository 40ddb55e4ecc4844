"""What videos hold, on files made for the purpose."""

import sys

import numpy as np
import pytest
from video_files import ffmpeg, write_corners, write_numbered

from dpm_cli.errors import DpmError, InputError
from dpm_cli.video.ffmpeg import executable
from dpm_cli.video.probe import probe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def plain(folder):
    return write_numbered(folder / "plain.mp4")


def test_plain_video(plain):
    info = probe(plain)
    assert (info.size, len(info), info.codec) == ((48, 64), 30, "h264")
    assert (info.rotation_deg, info.hdr, info.variable_rate, info.notes) == (0, "", False, ())
    np.testing.assert_allclose(info.timestamps, np.arange(30) / 30, atol=1e-9)
    assert info.fps == pytest.approx(30)
    assert info.duration_s == pytest.approx(1.0)
    assert info.pixel_aspect == 1.0


@pytest.mark.parametrize(("degrees", "size"), [(90, (90, 60)), (-90, (90, 60)), (180, (60, 90))])
def test_rotation_is_in_the_size(folder, degrees, size):
    source = write_corners(folder / "corners.mp4")
    turned = folder / f"turned{degrees}.mp4"
    ffmpeg("-display_rotation", degrees, "-i", source, "-c", "copy", turned)
    info = probe(turned)
    assert info.size == size
    assert abs(info.rotation_deg) == abs(degrees)


def test_variable_rate_keeps_the_true_times(folder, plain):
    path = folder / "vfr.mp4"
    expression = "setpts='if(lt(N,10),N,10+(N-10)*3)/30/TB'"
    ffmpeg("-i", plain, "-vf", expression, "-fps_mode", "vfr", "-c:v", "libx264", path)
    info = probe(path)
    n = np.arange(30)
    assert info.variable_rate
    np.testing.assert_allclose(
        info.timestamps, np.where(n < 10, n, 10 + (n - 10) * 3) / 30, atol=1e-6
    )


def test_times_start_with_the_file(folder, plain):
    """A transport stream starts at some 1.4 s; people and players count from the file's start."""
    path = folder / "stream.ts"
    ffmpeg("-i", plain, "-c", "copy", path)
    info = probe(path)
    assert float(info.start) > 1
    np.testing.assert_allclose(info.timestamps, np.arange(30) / 30, atol=2e-5)
    assert info.timestamps[0] == 0


def test_cut_without_recoding_lists_only_what_is_shown(folder, plain):
    path = folder / "cut.mp4"
    ffmpeg("-ss", "0.5", "-i", plain, "-c", "copy", path)
    info = probe(path)
    assert len(info) < 30
    assert (info.timestamps >= 0).all()


@pytest.mark.parametrize(("transfer", "name"), [("arib-std-b67", "hlg"), ("smpte2084", "pq")])
def test_high_dynamic_range_is_recognised(folder, plain, transfer, name):
    path = folder / f"{name}.mp4"
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    ffmpeg("-i", plain, "-vf", tags, "-c:v", "libx264", "-pix_fmt", "yuv420p10le", path)
    assert probe(path).hdr == name


def test_pixels_that_are_not_square(folder, plain):
    path = folder / "wide.mp4"
    ffmpeg("-i", plain, "-vf", "setsar=4/3", "-c:v", "libx264", path)
    assert probe(path).pixel_aspect == pytest.approx(4 / 3)


def test_odd_size(folder):
    path = write_numbered(folder / "odd.mkv", 5, (47, 63))
    assert probe(path).size == (47, 63)


def test_one_frame(folder):
    info = probe(write_numbered(folder / "one.mp4", 1))
    assert (len(info), info.fps, info.variable_rate) == (1, 0.0, False)


def test_a_cover_picture_is_not_the_video(folder, plain):
    ffmpeg("-f", "lavfi", "-i", "color=size=20x20", "-frames:v", 1, folder / "cover.png")
    path = folder / "covered.mp4"
    streams = ["-map", "1", "-map", "0", "-c", "copy", "-disposition:0", "attached_pic"]
    ffmpeg("-i", plain, "-i", folder / "cover.png", *streams, path)
    info = probe(path)
    assert (info.size, len(info)) == ((48, 64), 30)


def test_broken_files_are_one_line(folder, plain):
    with pytest.raises(InputError, match=r"nothing\.mp4 does not exist"):
        probe(folder / "nothing.mp4")
    with pytest.raises(InputError, match="is a folder"):
        probe(folder)
    (folder / "empty.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        probe(folder / "empty.mp4")
    (folder / "text.mp4").write_text("hello")
    with pytest.raises(InputError, match="no video format"):
        probe(folder / "text.mp4")
    (folder / "cut_off.mp4").write_bytes(plain.read_bytes()[:1500])
    with pytest.raises(InputError, match="cut off while recording") as caught:
        probe(folder / "cut_off.mp4")
    assert "\n" not in str(caught.value)
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", folder / "sound.wav")
    with pytest.raises(InputError, match="no video stream"):
        probe(folder / "sound.wav")


def test_truncated_video_is_listed_and_said(folder, plain):
    whole = folder / "whole.mkv"
    ffmpeg("-i", plain, "-c", "copy", whole)
    cut = folder / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    info = probe(cut)
    assert 3 < len(info) < 30
    assert "damaged" in info.notes[0]


def test_without_ffmpeg_the_way_out_is_named(monkeypatch):
    monkeypatch.delenv("DPM_FFMPEG", raising=False)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(DpmError, match="pip install imageio-ffmpeg, or set DPM_FFMPEG"):
        executable.__wrapped__()
    monkeypatch.setenv("DPM_FFMPEG", "/no/such/program")
    with pytest.raises(DpmError, match="DPM_FFMPEG=/no/such/program is no program"):
        executable.__wrapped__()
