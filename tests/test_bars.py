"""Bars around the picture: found over the clip, left out of everything, with cameras in pixels of the whole source."""

from dataclasses import replace

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
from oracle import OraclePredictor
from video_files import open_clip, write_video

from dpm_cli.clip_store import plan_clip
from dpm_cli.config import ClipSettings, ReconstructSettings
from dpm_cli.errors import UsageError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.tracks import export_tracks
from dpm_cli.formats.colmap import read_colmap
from dpm_cli.formats.depth_png import read_depth_png
from dpm_cli.formats.flo import read_flo
from dpm_cli.formats.mask_png import read_mask
from dpm_cli.pipeline import reconstruct
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import Sequence4D
from dpm_cli.video.bars import Area, find_bars, shown_area
from dpm_cli.workshop.synthetic import render_clip, scene_seed


def pan(count=6, size=(90, 160), seed=0, dark=1.0):
    """Frames of a wide noise picture that moves to the side."""
    rng = np.random.default_rng(seed)
    wide = cv2.resize(
        rng.random((12, 40, 3)), (size[1] * 2, size[0]), interpolation=cv2.INTER_CUBIC
    )
    fine = rng.random((size[0], size[1] * 2, 3)) * 0.2
    wide = (np.clip(0.1 + 0.8 * wide + fine, 0, 1) * 255 * dark).astype(np.uint8)
    return [wide[:, 5 * t : 5 * t + size[1]].copy() for t in range(count)]


def framed(images, top, bottom, left, right, colour=0):
    edges = ((top, bottom), (left, right), (0, 0))
    return [np.pad(image, edges, constant_values=colour) for image in images]


@pytest.mark.parametrize(
    ("edges", "colour"),
    [((20, 20, 0, 0), 0), ((0, 0, 170, 170), 0), ((12, 30, 25, 9), 0), ((30, 24, 20, 40), 250)],
    ids=["letterbox", "upright", "all-round", "white-frame"],
)
def test_bars_are_found_to_the_pixel_inside(edges, colour):
    size = (90, 60) if edges[2] == 170 else (90, 160)
    found = find_bars(framed(pan(size=size), edges[0], edges[1], edges[2], edges[3], colour))
    top, bottom, left, right = (edge + 1 if edge else 0 for edge in edges)
    height, width = size[0] + edges[0] + edges[1], size[1] + edges[2] + edges[3]
    assert found == Area(left, top, width - left - right, height - top - bottom)


def test_captions_in_a_bar_dark_scenes_and_black_frames_do_not_hide_it():
    images = framed(pan(dark=0.4), 20, 20, 0, 0)
    for image in images[::2]:
        image[115:123, 40:120:3] = 255
    images[3][:] = 0
    assert find_bars(images) == Area(0, 21, 160, 88)


def test_what_is_no_bar_stays():
    assert find_bars(pan()) is None
    night = pan(dark=0.5)
    for image in night:
        image[:40] = (image[:40] * np.linspace(0, 1, 40)[:, None, None] ** 3).astype(np.uint8)
    assert find_bars(night) is None
    product = [np.full((90, 160, 3), 255, np.uint8) for _ in range(4)]
    for t, image in enumerate(product):
        cv2.circle(image, (60 + 5 * t, 45), 30, (90, 60, 20), -1)
    assert find_bars(product) is None
    sea = [np.concatenate((np.full_like(i[:40], 255), i[40:])) for i in pan()]
    assert find_bars(sea) is None, "a white sky has no counterpart at the bottom"
    assert find_bars([np.zeros((90, 160, 3), np.uint8)] * 3) is None


def test_a_video_loses_its_bars_and_a_note_says_so(tmp_path):
    images = framed(pan(8), 31, 29, 20, 20)
    video = str(write_video(tmp_path / "v.mp4", images))
    plan = plan_clip([video], crop="auto", long_side=80)
    area = plan.area
    assert all(side % 2 == 0 for side in (area.x, area.y, area.width, area.height))
    assert 31 <= area.y <= 34
    assert 20 <= area.x <= 22
    assert 117 <= area.y + area.height <= 121
    assert any("--crop none" in note for note in plan.notes)
    assert plan_clip([video], crop="none").area == Area(0, 0, 200, 150)
    clip = open_clip([video], store=tmp_path / "s", crop="auto")
    expected = images[4][area.y : area.y + area.height, area.x : area.x + area.width]
    shown = clip.frames.read([4])[0].astype(int)
    assert np.abs(shown.mean(-1) - expected.mean(-1)).mean() < 4
    assert shown_area(clip.source_from_working, clip.size) == area


def test_long_videos_are_sampled_by_seeking(tmp_path):
    images = [i for i in framed(pan(2), 30, 30, 0, 0) for _ in range(30)]
    video = str(write_video(tmp_path / "v.mp4", images, fps=1))
    area = plan_clip([video], crop="auto").area
    assert (area.x, area.width) == (0, 160)
    assert 30 <= area.y <= 32
    assert 118 <= area.y + area.height <= 120


@pytest.mark.parametrize(
    "crop", ["1,2,3", "a,b,c,d", "0,0,500,10", "0,0,0,10", "-1,0,5,5", "maybe"]
)
def test_a_crop_that_cannot_be_is_refused(tmp_path, crop):
    iio.imwrite(tmp_path / "0.png", pan()[0])
    with pytest.raises(UsageError, match="--crop"):
        plan_clip([str(tmp_path / "0.png")], crop=crop)


SIZE, X, Y = (64, 96), 16, 30


@pytest.fixture(scope="module")
def barred(tmp_path_factory):
    """An exact run of a clip in black bars, told where the picture is and its field of view."""
    truth = render_clip(scene_seed("test", 1), 3, SIZE, camera="orbit")
    LOADERS["oracle"] = lambda weights, device, dtype: OraclePredictor(truth)
    parent = tmp_path_factory.mktemp("barred")
    (parent / "in").mkdir()
    for t, image in enumerate(framed(truth.images[0].permute(0, 2, 3, 1).numpy(), Y, 20, X, 40)):
        iio.imwrite(parent / "in" / f"{t}.png", image)
    K = truth.intrinsics[0, 0].numpy()
    settings = ReconstructSettings(
        model="oracle",
        device="cpu",
        pairs="1",
        formats=(),
        clip=ClipSettings(crop=f"{X},{Y},{SIZE[1]},{SIZE[0]}"),
        intrinsics=f"{K[0, 0]},{K[1, 1]},{K[0, 2] + X},{K[1, 2] + Y}",
    )
    yield reconstruct(str(parent / "in"), parent / "run", settings), K, settings, parent
    del LOADERS["oracle"]


def test_intrinsics_stay_those_of_the_whole_source(barred):
    sequence, K, settings, parent = barred
    assert sequence.source_size == (SIZE[0] + Y + 20, SIZE[1] + X + 40)
    assert sequence.size == SIZE
    np.testing.assert_allclose(sequence.intrinsics[0], K, rtol=1e-6)
    shifted = K + np.array([[0, 0, X], [0, 0, Y], [0, 0, 0]])
    np.testing.assert_allclose(sequence.intrinsics_source[0], shifted, rtol=1e-6)
    fov = float(np.degrees(2 * np.arctan(SIZE[1] / 2 / K[0, 0])))
    told = replace(settings, intrinsics=None, fov_deg=fov)
    other = reconstruct(str(parent / "in"), parent / "fov", told)
    np.testing.assert_allclose(other.intrinsics_source[0], shifted, rtol=1e-6)


def test_files_of_the_source_size_know_nothing_of_bars(barred, tmp_path):
    sequence = barred[0]
    inside = np.zeros(sequence.source_size, bool)
    inside[Y : Y + SIZE[0], X : X + SIZE[1]] = True
    for name in ("flo", "masks", "depth"):
        export_sequence(sequence, name, tmp_path / name)
    flow = read_flo(tmp_path / "flo" / "fwd_000000_000001.flo")
    known = sequence.frame(0).valid | sequence.frame(0).flow_fwd_valid
    np.testing.assert_array_equal(flow.valid[inside], known.ravel())
    assert not flow.valid[~inside].any()
    expected = sequence.frame(0).flow_fwd[known]
    np.testing.assert_allclose(flow.flow[inside][known.ravel()], expected, atol=1e-5)
    assert not read_mask(tmp_path / "masks" / "dynamic_000000.png")[~inside].any()
    assert not read_depth_png(tmp_path / "depth" / "depth_000000.png").valid[~inside].any()


def test_the_npz_and_posed_images_and_tracks_follow(barred, tmp_path):
    sequence, K, _, _ = barred
    again = Sequence4D.open(export_sequence(sequence, "npz", tmp_path / "a.npz").path)
    assert again.source_size == sequence.source_size
    assert again.source_area == Area(X, Y, SIZE[1], SIZE[0])
    export_sequence(sequence, "colmap", tmp_path / "c", ExportOptions(min_confidence=0))
    model = read_colmap(tmp_path / "c" / "sparse" / "0")
    assert model.size == SIZE
    np.testing.assert_allclose(model.intrinsics[0], K, rtol=1e-6)
    image = iio.imread(tmp_path / "c" / "images" / "frame_000000.png")
    np.testing.assert_array_equal(image, sequence.frame(0).image)
    tracks = export_tracks(sequence, 0, [(X + 40, Y + 30)], tmp_path / "t.npz").table
    np.testing.assert_allclose(tracks.pixels[0, 0], (X + 40, Y + 30), atol=1e-3)
    with pytest.raises(UsageError, match="outside of the picture"):
        export_tracks(sequence, 0, [(X - 2, Y + 30)], tmp_path / "u.npz")
