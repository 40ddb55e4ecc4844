import numpy as np
import pytest

from dpm_cli.errors import InputError, UsageError
from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.flows import freedom, refined, refined_note
from dpm_cli.focal.given import given_focal, given_intrinsics, parse_intrinsics
from dpm_cli.focal.passes import focal_of_passes
from dpm_cli.geometry.camera import source_from_working
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


def test_flows_may_change_what_was_found_and_nothing_that_was_given():
    found = FocalEstimate(500.0, 0.1, "clip", "8 ok")
    given = given_focal(np.diag((500.0, 500.0, 1.0)))
    assert freedom(found, per_frame=False) == 0.03
    assert freedom(found, per_frame=True) == freedom(given, per_frame=False) == 0
    assert refined(found, 500.0) is found
    after = refined(found, 520.0)
    assert (after.source, after.sigma_log, after.seen) == ("flows", 0.1, "8 ok")
    assert refined_note(found, after, 512) == (
        "focal length 500 px became 520 px (field of view 52 deg) on all flows together"
    )
    assert refined_note(found, refined(found, 505.0), 512) is None


def test_passes_that_were_told_their_focal_length_are_no_surer_than_who_told_them():
    frame, sigma = np.repeat(np.arange(4), 5), np.full(20, 0.01)
    measured = np.full(20, 410.0)
    told = FocalEstimate(400.0, 0.2, "network")
    focal_px, own = focal_of_passes(frame, measured, sigma, 5, per_frame=False)
    assert (own.source, own.sigma_log) == ("passes", 0)
    np.testing.assert_allclose(focal_px, np.full(5, 410))
    _, echoed = focal_of_passes(frame, measured, sigma, 5, per_frame=False, told=told)
    assert echoed.focal_px == pytest.approx(410)
    assert (echoed.source, echoed.sigma_log) == ("network", 0.2)


def test_what_people_and_the_manifest_are_told():
    assert given_focal(np.diag((500.0, 500.0, 1.0))).note(512) is None
    found = FocalEstimate(256.0, 0.05, "clip", "7 ok, 1 still")
    assert (
        found.note(512) == "focal 256 px (field of view 90 deg) +-5 % from the clip (7 ok, 1 still)"
    )
    assert found.to_json(512) == pytest.approx(
        {"focal_px": 256.0, "fov_deg": 90.0, "sigma_log": 0.05, "source": "clip"}
    )
