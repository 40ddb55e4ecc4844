"""Decoded frames are the ones that were asked for, upright and in their colours."""

import threading

import cv2
import numpy as np
import pytest
from video_files import ffmpeg, numbers, write_corners, write_numbered

from dpm_cli.video.decode import VideoDecoder, can_tone_map
from dpm_cli.video.encode import write_mp4
from dpm_cli.video.probe import probe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


def decode(path, indices, size) -> tuple[list[int], np.ndarray]:
    with VideoDecoder(probe(path), np.array(indices), size) as decoder:
        pairs = list(decoder)
    return [index for index, _ in pairs], np.stack([frame for _, frame in pairs])


@pytest.mark.parametrize("indices", [range(30), [0], [29], [3, 4, 17, 29], range(2, 30, 7)])
def test_the_wanted_frames_come(folder, indices):
    path = folder / "plain.mp4"
    if not path.exists():
        write_numbered(path)
    found, frames = decode(path, list(indices), (24, 32))
    assert found == list(indices)
    assert numbers(frames) == list(indices)


def test_seeking_far_into_a_video_gives_the_same_frames(folder):
    """The second frame wanted lies beyond the seek margin, so ffmpeg starts at a key frame before it."""
    path = write_numbered(folder / "slow.mp4", 30, (48, 64), 3)
    found, frames = decode(path, [22, 25], (24, 32))
    assert (found, numbers(frames)) == ([22, 25], [22, 25])


@pytest.mark.parametrize("suffix", ["h264", "mkv", "ts", "avi", "mpg"])
def test_seeking_in_other_containers(folder, suffix):
    """Raw streams and program streams cannot be sought exactly; the frames are right all the same."""
    slow = write_numbered(folder / "s.mp4", 30, (48, 64), 3)
    path = folder / f"slow.{suffix}"
    how = ["-c:v", "mpeg2video", "-r", "25", "-q:v", "2"] if suffix == "mpg" else ["-c", "copy"]
    ffmpeg("-i", slow, *how, path)
    info = probe(path)
    late = np.flatnonzero(info.timestamps > 0.75 * info.timestamps[-1])[::2]
    every = dict(zip(*decode(path, range(len(info)), (24, 32)), strict=True))
    found, frames = decode(path, late, (24, 32))
    assert found == late.tolist()
    for index, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(frame, every[index])


def test_variable_rate_is_not_padded(folder):
    plain = write_numbered(folder / "p.mp4")
    path = folder / "vfr.mp4"
    expression = "setpts='if(lt(N,10),N,10+(N-10)*3)/30/TB'"
    ffmpeg("-i", plain, "-vf", expression, "-fps_mode", "vfr", "-c:v", "libx264", path)
    _, frames = decode(path, range(30), (24, 32))
    assert numbers(frames) == list(range(30))


def test_frames_before_a_cut_stay_hidden(folder):
    """`-ss` with `-c copy` keeps packets from the key frame on and hides them by an edit list."""
    plain = write_numbered(folder / "q.mp4")
    path = folder / "cut.mp4"
    ffmpeg("-ss", "0.5", "-i", plain, "-c", "copy", path)
    count = len(probe(path))
    found, frames = decode(path, range(count), (24, 32))
    assert found == list(range(count))
    first = numbers(frames)[0]
    assert numbers(frames) == list(range(first, 30))


@pytest.mark.parametrize("degrees", [0, 90, -90, 180])
def test_rotated_frames_are_upright(folder, degrees):
    """`-display_rotation` turns the shown picture counter-clockwise."""
    corners = folder / "corners.mp4"
    if not corners.exists():
        write_corners(corners)
    path = folder / f"turned{degrees}.mp4"
    ffmpeg("-display_rotation", degrees, "-i", corners, "-c", "copy", path)
    info = probe(path)
    _, frames = decode(path, [4], info.size)
    _, original = decode(corners, [4], (60, 90))
    expected = np.rot90(original[0], degrees // 90)
    assert frames[0].shape == expected.shape
    assert np.abs(frames[0].astype(int) - expected).mean() < 2


def test_resize_keeps_positions(folder):
    """A ramp shrunk by ffmpeg is the ramp at the pixel centres that `source_from_working` names."""
    ramp = np.broadcast_to(np.linspace(20, 230, 90)[None, :, None], (60, 90, 3)).astype(np.uint8)
    path = folder / "ramp.mkv"
    write_mp4(path.with_suffix(".mp4"), [ramp] * 3, 10, quality=1)
    _, frames = decode(path.with_suffix(".mp4"), [1], (40, 45))
    expected = cv2.resize(ramp, (45, 40), interpolation=cv2.INTER_AREA)
    difference = frames[0].astype(float) - expected
    assert np.abs(difference[4:-4, 4:-4]).max() <= 3
    assert abs(difference[4:-4, 4:-4].mean()) < 1.0


@pytest.mark.parametrize(("transfer", "name"), [("arib-std-b67", "hlg"), ("smpte2084", "pq")])
def test_high_dynamic_range_is_brought_to_standard(folder, transfer, name):
    """Primary colours keep their hue and saturation; shown as they are stored they would be washed out."""
    if not can_tone_map():
        pytest.skip("this ffmpeg has no zscale")
    corners = folder / "c.mp4"
    if not corners.exists():
        write_corners(corners)
    path = folder / f"{name}.mp4"
    chain = f"zscale=tin=709:min=709:pin=709:t={transfer}:m=2020_ncl:p=2020:npl=203:r=limited"
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    source = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709"
    ffmpeg(
        "-i", corners, "-vf", f"scale=out_color_matrix=bt709,{source},{chain},format=yuv444p10le,{tags}",
        "-c:v", "libx264", "-crf", "4", path,
    )  # fmt: skip
    _, frames = decode(path, [3], (60, 90))
    red, green, blue = frames[0][10, 70], frames[0][50, 20], frames[0][50, 70]
    assert frames[0][10, 20].max() < 20
    for channel, pixel in enumerate((red, green, blue)):
        assert np.argmax(pixel) == channel
        assert pixel[channel] > 110
        assert np.delete(pixel, channel).max() < 0.45 * pixel[channel]


def test_leaving_early_ends_ffmpeg(folder):
    path = write_numbered(folder / "early.mp4")
    threads = threading.active_count()
    with VideoDecoder(probe(path), np.arange(30), (480, 640)) as decoder:
        assert next(iter(decoder))[0] == 0
        stream = decoder._stream
        assert stream is not None
        assert threading.active_count() > threads
    assert stream.child.process.poll() is not None
    assert threading.active_count() == threads


def test_written_mp4_reads_back(folder):
    frames = [np.full((31, 41, 3), 8 * n + 4, np.uint8) for n in range(12)]
    write_mp4(folder / "w.mp4", iter(frames), 12.5)
    info = probe(folder / "w.mp4")
    assert (info.size, len(info)) == ((32, 42), 12)
    assert info.fps == pytest.approx(12.5)
    assert numbers(decode(folder / "w.mp4", range(12), (16, 21))[1]) == list(range(12))
