"""From input to working images: which frames, which size, and when a store is used again."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_files import Notes, ffmpeg, numbers, write_numbered

from dpm_cli.clip_store import ClipStore, ClipStoreWriter, plan_clip
from dpm_cli.clip_store.clip import decode_clip
from dpm_cli.errors import InputError, UsageError
from dpm_cli.progress import SilentReporter
from dpm_cli.video.select import select_frames, working_size


def open_clip(inputs, *, store, reporter=None, **options):
    return decode_clip(plan_clip(inputs, **options), store, reporter or SilentReporter())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_numbered(tmp_path_factory.mktemp("videos") / "clip.mp4"))


def test_selection_of_frames():
    times = np.arange(30) / 30
    assert select_frames(times).tolist() == list(range(30))
    assert select_frames(times, stride=7).tolist() == [0, 7, 14, 21, 28]
    assert select_frames(times, start=0.2, end=0.4, stride=2).tolist() == [6, 8, 10, 12]
    assert select_frames(times, fps=10).tolist() == list(range(0, 30, 3))
    assert select_frames(times, fps=120).tolist() == list(range(30))
    assert select_frames(times, fps=10, max_frames=2).tolist() == [0, 3]
    uneven = np.array([0, 0.1, 0.5, 0.55, 0.9, 1.0])
    assert select_frames(uneven, fps=2).tolist() == [0, 2, 5]
    assert select_frames(np.zeros(1), fps=5).tolist() == [0]


def test_selections_that_cannot_be():
    times = np.arange(30) / 30
    with pytest.raises(UsageError, match="exclude each other"):
        select_frames(times, fps=5, stride=2)
    with pytest.raises(UsageError, match="positive"):
        select_frames(times, stride=0)
    with pytest.raises(InputError, match=r"from 0\.000 s to 0\.967 s"):
        select_frames(times, start=5)


def test_working_size_keeps_the_aspect_and_never_enlarges():
    assert working_size((480, 854), 512, 16) == (288, 512)
    assert working_size((854, 480), 512, 16) == (512, 288)
    assert working_size((100, 200), 512) == (100, 200)
    assert working_size((100, 200), 512, 16) == (96, 192)
    assert working_size((480, 720), 512, 16, pixel_aspect=4 / 3) == (256, 512)
    assert working_size((10, 2000), 512, 16) == (16, 512)


def test_a_video_becomes_a_clip(tmp_path, video):
    clip = open_clip(
        [video], store=tmp_path, long_side=32, multiple=8, start=0.1, stride=3, max_frames=5
    )
    assert (clip.name, clip.size, clip.source_size) == ("clip", (24, 32), (48, 64))
    assert clip.frame_index.tolist() == [3, 6, 9, 12, 15]
    np.testing.assert_allclose(clip.timestamps, np.array([3, 6, 9, 12, 15]) / 30, atol=1e-9)
    assert numbers(clip.frames.read([4, 0, 2])) == [15, 3, 9]
    np.testing.assert_allclose(clip.source_from_working, [[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    with pytest.raises(IndexError):
        clip.frames.read([5])


def test_a_store_is_used_again_only_for_the_same_clip(tmp_path, video):
    first = open_clip([video], store=tmp_path, long_side=32)
    written = (tmp_path / "clip.rgb").stat().st_mtime_ns
    again = open_clip([video], store=tmp_path, long_side=32)
    assert (tmp_path / "clip.rgb").stat().st_mtime_ns == written
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.frames.read([7]), first.frames.read([7]))
    other = open_clip([video], store=tmp_path, long_side=32, stride=2)
    assert numbers(other.frames.read([1])) == [2]
    with open(tmp_path / "clip.rgb", "ab") as file:
        file.truncate(100)
    assert numbers(open_clip([video], store=tmp_path, long_side=32, stride=2).frames.read([3])) == [
        6
    ]


def test_the_fingerprint_follows_content_not_names(tmp_path, video):
    copy = tmp_path / "other name.mp4"
    copy.write_bytes(Path(video).read_bytes())
    renamed = open_clip([str(copy)], store=tmp_path / "a", long_side=32)
    original = open_clip([video], store=tmp_path / "b", long_side=32)
    assert renamed.fingerprint == original.fingerprint
    copy.write_bytes(copy.read_bytes() + b"x")
    assert (
        open_clip([str(copy)], store=tmp_path / "a", long_side=32).fingerprint
        != original.fingerprint
    )


def test_truncated_video_keeps_what_can_be_read(tmp_path, video):
    ffmpeg("-i", video, "-c", "copy", tmp_path / "whole.mkv")
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    notes = Notes()
    clip = open_clip(
        [str(tmp_path / "cut.mkv")], store=tmp_path / "s", long_side=32, reporter=notes
    )
    assert 3 < len(clip) < 30
    assert numbers(clip.frames.read(range(len(clip)))) == clip.frame_index.tolist()
    assert any("damaged" in line for line in notes.lines)


def test_frames_lost_in_the_middle_are_left_out(tmp_path, video):
    """Packets overwritten with noise: what still decodes keeps its own time."""
    data = bytearray(Path(video).read_bytes())
    where = data.index(b"mdat") + 4
    span = (len(data) - where) // 4
    data[where + span : where + 2 * span] = np.random.default_rng(0).bytes(span)
    (tmp_path / "bad.mp4").write_bytes(data)
    notes = Notes()
    clip = open_clip(
        [str(tmp_path / "bad.mp4")], store=tmp_path / "s", long_side=32, reporter=notes
    )
    np.testing.assert_allclose(clip.timestamps, clip.frame_index / 30, atol=1e-9)
    last = len(clip) - 1
    assert clip.frame_index[last] == 29
    assert numbers(clip.frames.read([0, last])) == [0, 29]


def write_images(folder, count=4, size=(30, 40)):
    folder.mkdir()
    for n in range(count):
        Image.fromarray(np.full((*size, 3), 8 * n + 4, np.uint8)).save(folder / f"{n}.png")
    return str(folder)


def test_a_folder_becomes_a_clip(tmp_path):
    folder = write_images(tmp_path / "f", 12)
    clip = open_clip([folder], store=tmp_path / "s", long_side=20, stride=5)
    assert (clip.name, clip.size, clip.source_size) == ("f", (15, 20), (30, 40))
    assert clip.frame_index.tolist() == [0, 5, 10]
    assert clip.timestamps.tolist() == [0, 5, 10]
    assert numbers(clip.frames.read([0, 1, 2])) == [0, 5, 10]
    with pytest.raises(UsageError, match="images carry no times"):
        plan_clip([folder], fps=3)


def test_images_of_several_sizes_are_refused(tmp_path):
    folder = write_images(tmp_path / "f")
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / "f" / "9.png")
    with pytest.raises(InputError, match=r"0\.png is 40x30, 9\.png is 40x20; resize"):
        plan_clip([folder])


def test_the_plan_counts_without_decoding(video):
    plan = plan_clip([video], long_side=32, stride=10)
    assert (len(plan), plan.size) == (3, (24, 32))
    assert plan.video is not None


def test_an_unfinished_store_is_not_whole(tmp_path):
    writer = ClipStoreWriter(tmp_path, (2, 3))
    writer.append(np.zeros((2, 3, 3), np.uint8))
    assert not (tmp_path / "clip.json").exists()
    store = writer.finish({"key": "k"})
    assert len(store) == 1
    store.close()
    assert len(ClipStore(tmp_path, 1, (2, 3)).read([])) == 0


_MEASURE = """
import resource, sys
from pathlib import Path
from dpm_cli.clip_store import plan_clip
from dpm_cli.clip_store.clip import decode_clip
from dpm_cli.progress import SilentReporter
clip = decode_clip(plan_clip([sys.argv[1]], long_side=640), Path(sys.argv[2]), SilentReporter())
for t in range(len(clip)):
    clip.frames.read([t, 0])
print(len(clip), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path):
    peaks = []
    for count in (60, 600):
        path = tmp_path / f"{count}.mp4"
        ffmpeg("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30", "-frames:v", count, path)
        command = [sys.executable, "-c", _MEASURE, str(path), str(tmp_path / f"s{count}")]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(output[0]) == count
        peaks.append(int(output[1]))
    assert peaks[1] < 1.1 * peaks[0]
