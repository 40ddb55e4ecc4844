"""Source pixels that are not square, and square ones whose working size was rounded."""

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from video_files import ffmpeg, write_video

from dpm_cli.config import ClipSettings, ReconstructSettings
from dpm_cli.export import export_sequence
from dpm_cli.formats.flo import read_flo
from dpm_cli.geometry.camera import source_from_working, square_in_source
from dpm_cli.pipeline import reconstruct


def shifted(count, size):
    rng = np.random.default_rng(3)
    wide = cv2.resize(
        rng.random((20, 40, 3)), (2 * size[1], size[0]), interpolation=cv2.INTER_CUBIC
    )
    wide = (np.clip(wide, 0, 1) * 255).astype(np.uint8)
    return [wide[:, 4 * t : 4 * t + size[1]].copy() for t in range(count)]


@pytest.fixture(scope="module")
def upright(tmp_path_factory):
    """96 wide, 144 high, each pixel twice as wide as high."""
    folder = tmp_path_factory.mktemp("aspect")
    return write_video(folder / "v.mp4", shifted(2, (144, 96)), 10, "-vf", "setsar=2")


@pytest.fixture(scope="module")
def turned(upright):
    """The same with a note to turn it by 90 degrees: 144 wide, 96 high, pixels half as wide as high."""
    path = upright.with_name("turned.mp4")
    ffmpeg("-display_rotation", 90, "-i", upright, "-c", "copy", path)
    return path


def run(video, folder, **settings):
    chosen = ReconstructSettings(
        model="geometric", device="cpu", clip=ClipSettings(size=96), formats=(), **settings
    )
    return reconstruct(str(video), folder, chosen)


def test_a_field_of_view_gives_the_focal_length_of_each_axis(upright, turned, tmp_path):
    focal_px = 96 / 2 / np.tan(np.radians(30))
    sequence = run(upright, tmp_path / "a", fov_deg=60.0)
    expected = [[focal_px, 0, 47.5], [0, 2 * focal_px, 71.5], [0, 0, 1]]
    np.testing.assert_allclose(sequence.intrinsics_source[0], expected, rtol=1e-9)
    assert sequence.intrinsics[0, 0, 0] == pytest.approx(sequence.intrinsics[0, 1, 1])
    focal_px = 144 / 2 / np.tan(np.radians(30))
    sequence = run(turned, tmp_path / "b", fov_deg=60.0)
    expected = [[focal_px, 0, 71.5], [0, focal_px / 2, 47.5], [0, 0, 1]]
    np.testing.assert_allclose(sequence.intrinsics_source[0], expected, rtol=1e-9)
    assert sequence.intrinsics[0, 0, 0] == pytest.approx(sequence.intrinsics[0, 1, 1])


def test_given_and_found_intrinsics_are_the_sources_too(turned, tmp_path):
    sequence = run(turned, tmp_path / "a", intrinsics="200,100,71.5,47.5")
    expected = [[200, 0, 71.5], [0, 100, 47.5], [0, 0, 1]]
    np.testing.assert_allclose(sequence.intrinsics_source[0], expected, rtol=1e-9)
    found = run(turned, tmp_path / "b").intrinsics_source[0]
    assert found[0, 0] == pytest.approx(2 * found[1, 1], rel=1e-9)


def test_flow_files_are_in_source_pixels_along_both_axes(turned, tmp_path):
    sequence = run(turned, tmp_path / "a", fov_deg=60.0)
    export_sequence(sequence, "flo", tmp_path / "flo")
    flow = read_flo(tmp_path / "flo" / "fwd_000000_000001.flo").flow[40:60, 50:90]
    # 4 pixels to the side as filmed, turned by 90 degrees: along y of the source.
    assert np.median(np.abs(flow[..., 0])) < 0.5
    assert np.median(np.abs(flow[..., 1])) == pytest.approx(4, abs=0.5)


def test_square_pixels_have_one_focal_length_whatever_the_working_size(tmp_path):
    for t, image in enumerate(shifted(2, (77, 125))):
        iio.imwrite(tmp_path / f"{t}.png", image)
    sequence = run(tmp_path, tmp_path / "run")
    scale = sequence.source_from_working.diagonal()
    assert scale[0] != scale[1], "the working size is rounded"
    K = sequence.intrinsics_source
    np.testing.assert_allclose(K[:, 0, 0], K[:, 1, 1], rtol=1e-12)


def test_squaring_keeps_the_mean_and_what_is_square():
    A = source_from_working((77, 125), (60, 96))
    K = torch.tensor([[100.0, 0, 47], [0, 100, 29], [0, 0, 1]], dtype=torch.float64)
    squared = A @ square_in_source(K, A, 1.0)
    assert squared[0, 0] == pytest.approx(float(squared[1, 1]), rel=1e-12)
    product = (A @ K)[0, 0] * (A @ K)[1, 1]
    assert float(squared[0, 0] * squared[1, 1]) == pytest.approx(float(product), rel=1e-12)
    torch.testing.assert_close(square_in_source(K, torch.eye(3).double(), 1.0), K)
