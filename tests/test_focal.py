from dataclasses import replace

import numpy as np
import pytest

from dpm_cli.config import parse_size
from dpm_cli.errors import InputError, UsageError
from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.flows import believable, freedom, refined, refined_note
from dpm_cli.focal.given import doubts, given_focal, given_intrinsics, parse_intrinsics
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


def known(clip, text, size=None):
    K = given_intrinsics(clip, None, text, size)
    assert K is not None
    return K


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


def test_intrinsics_of_another_size_are_refused_with_both_sizes():
    clip = clip_of((360, 640), (144, 256))
    with pytest.raises(UsageError, match=r"640x360.*1920x1080.*--intrinsics-size 1920,1080"):
        given_intrinsics(clip, None, "1500,1500,959.5,539.5")
    with pytest.raises(UsageError, match=r"--intrinsics-size 1920,1080"):
        given_intrinsics(clip, None, "1500,1500,960,540")
    with pytest.raises(UsageError, match=r"focal length 0\.8 px .* 640x360"):
        given_intrinsics(clip, None, "0.8,0.8,0.5,0.5")
    with pytest.raises(UsageError, match=r"focal length 90000 px"):
        given_intrinsics(clip, None, "90000,90000,319.5,179.5")


def test_their_size_scales_them_by_pixel_centres():
    clip = clip_of((360, 640), (144, 256))
    plain = known(clip, "500,510,320.5,181.5")
    scaled = known(clip, "1500,1530,962.5,545.5", (1920, 1080))
    np.testing.assert_allclose(scaled, plain, rtol=1e-12)
    with pytest.raises(UsageError, match=r"640x360, of another aspect"):
        given_intrinsics(clip, None, "1500,1530,700,500", (1440, 1080))
    with pytest.raises(UsageError, match="give --intrinsics too"):
        given_intrinsics(clip, 60.0, None, (1920, 1080))
    assert parse_size("1920,1080") == parse_size("1920x1080") == (1920, 1080)
    for wrong in ("1920", "a,b", "0,5", "1,2,3"):
        with pytest.raises(UsageError, match="--intrinsics-size"):
            parse_size(wrong)


def test_their_size_may_be_that_of_the_picture_without_bars():
    clip = clip_of((360, 640), (144, 256))
    A = clip.source_from_working.copy()
    A[1, 2] += 100
    barred = replace(clip, source_size=(560, 640), source_from_working=A)
    K = known(barred, "1500,1500,959.5,539.5", (1920, 1080))
    np.testing.assert_allclose(A @ K, [[500, 0, 319.5], [0, 500, 279.5], [0, 0, 1]], rtol=1e-9)


def test_a_centre_far_off_and_pixels_of_another_shape_are_doubted():
    clip = clip_of((360, 640), (144, 256))

    def told(text, clip=clip):
        return doubts(known(clip, text), clip)

    assert told("500,500,319.5,179.5") == []
    assert told("500,500,300,150") == []
    assert "--intrinsics-size" in told("250,250,159.5,89.5")[0]
    wide = replace(clip, pixel_aspect=2.0)
    assert "1.00 times" in told("500,500,319.5,179.5", wide)[0]
    assert told("500,1000,319.5,179.5", wide) == []


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
    assert believable(found, 510.0)
    assert not believable(replace(found, sigma_log=0.16), 500 * 2.2)
    assert not believable(replace(found, sigma_log=0.01), 500 / 1.25)
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
