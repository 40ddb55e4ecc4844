import numpy as np
import pytest

from dpm_cli.errors import InputError, UsageError
from dpm_cli.geometry.camera import source_from_working
from dpm_cli.pipeline.calibration import given_intrinsics, parse_intrinsics
from dpm_cli.structures import Clip


def clip_of(source, working):
    return Clip(
        name="c",
        frames=None,  # type: ignore[arg-type]
        size=working,
        source_size=source,
        source_from_working=source_from_working(source, working).numpy(),
        frame_index=np.arange(1),
        timestamps=np.zeros(1),
        source="",
        fingerprint="",
    )


def test_fov_is_the_sources_and_the_centre_stays_the_centre():
    K = given_intrinsics(clip_of((1080, 1920), (288, 512)), 90.0, None)
    assert K is not None
    np.testing.assert_allclose(K, [[256, 0, 255.5], [0, 256, 143.5], [0, 0, 1]], atol=1e-9)


def test_a_source_pixel_and_its_working_pixel_have_the_same_ray():
    clip = clip_of((1080, 1920), (144, 320))
    K = given_intrinsics(clip, None, "1500,1400,950,530")
    assert K is not None
    working = np.array([33.0, 71.0, 1.0])
    source = clip.source_from_working @ working
    K_source = np.array([[1500, 0, 950], [0, 1400, 530], [0, 0, 1.0]])
    np.testing.assert_allclose(np.linalg.solve(K, working), np.linalg.solve(K_source, source))


def test_files_with_four_or_nine_numbers(tmp_path):
    four, nine = tmp_path / "four.txt", tmp_path / "nine.txt"
    four.write_text("500 510 320 240\n")
    nine.write_text("500 0 320\n0 510 240\n0 0 1\n")
    np.testing.assert_array_equal(parse_intrinsics(str(four)), parse_intrinsics(str(nine)))


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,1,2,3", "1,1,1,1,1"])
def test_nonsense_is_a_usage_error(text):
    with pytest.raises(UsageError, match="--intrinsics"):
        parse_intrinsics(text)


def test_missing_file_both_options_and_impossible_fov():
    with pytest.raises(InputError, match="no such file"):
        parse_intrinsics("nowhere.txt")
    clip = clip_of((100, 100), (50, 50))
    with pytest.raises(UsageError, match="one of them"):
        given_intrinsics(clip, 60.0, "1,1,1,1")
    with pytest.raises(UsageError, match="--fov 180"):
        given_intrinsics(clip, 180.0, None)
    assert given_intrinsics(clip, None, None) is None
