"""Videos and folders that people have and tools trip over."""

import numpy as np
import pytest
from PIL import Image
from toy_sequence import toy_arrays, toy_frames, toy_header
from video_files import ffmpeg, open_clip, write_video

from dpm_cli.clip_store import plan_clip
from dpm_cli.errors import InputError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.motion import export_flo
from dpm_cli.sequence import Sequence4D
from dpm_cli.video.inputs import split_inputs
from dpm_cli.video.probe import probe


def stripe(count, height=64, width=96):
    """A white bar that moves 6 pixels a field."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for t, frame in enumerate(frames):
        frame[:, 6 * t : 6 * t + 8] = 255
    return frames


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory):
    """Eight frames woven of sixteen fields."""
    fields = stripe(16)[:, :, :96]
    woven = fields[::2].copy()
    woven[:, 1::2] = fields[1::2, 1::2]
    path = tmp_path_factory.mktemp("tv") / "v.mp4"
    options = ("-vf", "setfield=tff", "-flags", "+ilme+ildct", "-x264-params", "tff=1")
    return write_video(path, list(woven), 10, *options), woven


def combing(frames):
    """Mean difference between lines and the mean of the lines around them."""
    grey = frames.astype(np.float64).mean(-1)
    return np.abs(grey[:, 1:-1] - (grey[:, :-2] + grey[:, 2:]) / 2).mean()


def test_interlaced_video_becomes_whole_frames_with_their_times_and_a_note(interlaced, tmp_path):
    path, woven = interlaced
    info = probe(path)
    assert info.interlaced
    clip = open_clip([str(path)], store=tmp_path)
    assert len(clip) == 8
    np.testing.assert_allclose(clip.timestamps, np.arange(8) / 10)
    frames = clip.frames.read(range(8))
    assert combing(woven[1:7]) > 10
    assert combing(frames[1:7]) < 0.3 * combing(woven[1:7])
    left = [np.flatnonzero(f.mean((0, 2)) > 120)[0] for f in frames[1:7]]
    np.testing.assert_allclose(left, 12 * np.arange(1, 7), atol=3)
    assert any("interlaced" in note for note in plan_clip([str(path)]).notes)


def test_progressive_video_is_not_touched(tmp_path):
    path = write_video(tmp_path / "v.mp4", list(stripe(4)))
    assert not probe(path).interlaced
    assert plan_clip([str(path)]).notes == ()


def test_a_folder_of_gifs_is_its_clips(tmp_path):
    frames = [Image.fromarray(f) for f in stripe(3)]
    for name in ("a.gif", "b.GIF"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100)
    assert split_inputs([str(tmp_path)]) == [[str(tmp_path / "a.gif")], [str(tmp_path / "b.GIF")]]
    assert len(plan_clip([str(tmp_path / "a.gif")])) == 3


@pytest.mark.parametrize("name", ["vob", "mxf"])
def test_recorders_files_in_a_folder_are_found(tmp_path, name):
    write_video(tmp_path / "v.mp4", list(stripe(4)))
    path = tmp_path / "in" / f"v.{name}"
    path.parent.mkdir()
    ffmpeg("-i", tmp_path / "v.mp4", "-c:v", "mpeg2video", "-r", 25, path)
    assert split_inputs([str(path.parent)]) == [[str(path)]]


@pytest.mark.parametrize("name", ["flo", "kitti-flow"])
def test_flow_of_one_frame_is_an_error_of_the_export_not_of_the_run(tmp_path, name):
    header = toy_header(1)
    one = Sequence4D.from_arrays(toy_arrays(header, toy_frames(header)), "one")
    with pytest.raises(InputError, match="one frame has no flow"):
        export_sequence(one, name, tmp_path / "out")
    export_flo(one, tmp_path / "run", ExportOptions())
