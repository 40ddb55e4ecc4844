"""Kinds of photos that phones, cameras and scanners write, and what they say of the lens."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from video_files import open_clip, write_video

from dpm_cli.clip_store import plan_clip
from dpm_cli.config import ClipSettings, ReconstructSettings
from dpm_cli.errors import MissingExtraError
from dpm_cli.focal.camera import camera_focal
from dpm_cli.focal.clip import find_focal
from dpm_cli.focal.estimate import FocalEstimate
from dpm_cli.pipeline import reconstruct
from dpm_cli.structures import Clip, LensData
from dpm_cli.video.camera_data import lens_of_photos
from dpm_cli.video.images import image_size, read_image
from dpm_cli.video.inputs import clip_files

PICTURE = cv2.resize(
    (np.random.default_rng(0).random((4, 6, 3)) * 255).astype(np.uint8),
    (64, 48),
    interpolation=cv2.INTER_CUBIC,
)
TURNED = np.rot90(PICTURE, -1)
"""As shown where EXIF says 6: turn by 90 degrees clockwise."""


def turn_note():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def heic(*arguments, **options):
    pytest.importorskip("pillow_heif").register_heif_opener()
    Image.fromarray(PICTURE).save(*arguments, **options)


@pytest.mark.parametrize("suffix", ["webp", "avif", "heic", "heif", "jpg", "png", "tif"])
def test_turned_photos_are_upright_and_their_size_too(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save = heic if suffix.startswith("he") else Image.fromarray(PICTURE).save
    save(path, exif=turn_note().tobytes(), quality=95)
    image = read_image(path)
    assert image.shape[:2] == image_size(path) == (64, 48)
    assert np.abs(image.astype(int) - TURNED).mean() < 8
    assert clip_files([str(tmp_path)]) == [path]


def test_colours_of_print_and_of_scanners(tmp_path):
    Image.fromarray(PICTURE).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    bgr = PICTURE[..., ::-1]
    cv2.imwrite(str(tmp_path / "deep.tif"), bgr.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "float.tif"), bgr.astype(np.float32) / 255)
    cv2.imwrite(str(tmp_path / "grey.tif"), PICTURE[..., 0].astype(np.uint16) * 257)
    for name, expected in (("deep", PICTURE), ("float", PICTURE), ("grey", PICTURE[..., :1])):
        path = tmp_path / f"{name}.tif"
        np.testing.assert_array_equal(
            read_image(path), np.broadcast_to(expected, PICTURE.shape), name
        )
        assert image_size(path) == (48, 64)
    assert np.abs(read_image(tmp_path / "cmyk.jpg").astype(int) - PICTURE).mean() < 4


def test_heic_without_its_extra_names_it(tmp_path, monkeypatch):
    heic(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r"dpm-cli\[heif\]"):
        read_image(tmp_path / "a.heic")


def test_a_motion_photo_is_its_film_and_among_others_a_still(tmp_path):
    film = write_video(tmp_path / "film.mp4", [np.full_like(PICTURE, 40 * t) for t in range(5)])
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(PICTURE).save(tmp_path / name)
    still = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(still + film.read_bytes())
    plan = plan_clip([str(tmp_path / "a.jpg")])
    assert len(plan) == 5
    assert any("motion photo" in note for note in plan.notes)
    clip = open_clip([str(tmp_path / "a.jpg")], store=tmp_path / "s")
    grey = clip.frames.read(range(5)).mean((1, 2, 3))
    np.testing.assert_allclose(grey, 40 * np.arange(5), atol=4)
    several = plan_clip([str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")])
    assert several.video is None
    assert len(plan_clip([str(tmp_path / "b.jpg")])) == 1


def photo(path, focal_35mm=None, written=None, size=(48, 64)):
    exif = Image.Exif()
    inner = exif.get_ifd(0x8769)
    if focal_35mm is not None:
        inner[0xA405] = focal_35mm
    if written is not None:
        inner[0xA002], inner[0xA003] = written
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path, exif=exif)
    return path


def test_photos_say_their_focal_length_if_they_agree_and_are_whole(tmp_path):
    same = (photo(tmp_path / "a.jpg", 26), photo(tmp_path / "b.jpg"), photo(tmp_path / "c.jpg", 26))
    assert lens_of_photos(same) == LensData(26.0, 0.05)
    assert lens_of_photos((*same, photo(tmp_path / "d.jpg", 52))) is None
    assert lens_of_photos((photo(tmp_path / "e.jpg"),)) is None
    assert lens_of_photos((photo(tmp_path / "f.jpg", 0),)) is None
    assert lens_of_photos((photo(tmp_path / "g.jpg", 26, written=(4000, 3000)),)) is not None
    assert lens_of_photos((photo(tmp_path / "h.jpg", 26, written=(3000, 4000)),)) is not None
    assert lens_of_photos((photo(tmp_path / "i.jpg", 26, written=(4000, 2000)),)) is None


def clip_with(lens, size=(216, 384)):
    return Clip("c", None, size, size, np.eye(3), np.arange(1), np.zeros(1), "", "", lens=lens)  # type: ignore[arg-type]


def test_the_diagonal_is_that_of_film():
    found = camera_focal(clip_with(LensData(50.0, 0.05), (24 * 9, 36 * 9)))
    assert found is not None
    assert found.focal_px == pytest.approx(50 * 9)
    assert camera_focal(clip_with(None)) is None


def test_what_the_camera_wrote_decides_where_the_clip_cannot_tell(tmp_path):
    for t in range(2):
        image = Image.fromarray(cv2.resize(PICTURE, (384, 216)))
        image.save(tmp_path / f"{t}.jpg", exif=photo_exif(28), quality=95)
    settings = ReconstructSettings(
        model="geometric", device="cpu", clip=ClipSettings(size=96), formats=()
    )
    sequence = reconstruct(str(tmp_path / "0.jpg"), tmp_path / "run", settings)
    expected = 28 / np.hypot(36, 24) * np.hypot(384, 216)
    assert sequence.intrinsics_source[0, 0, 0] == pytest.approx(expected, rel=0.05)
    assert sequence.manifest is not None
    assert any("the camera wrote (28 mm" in note for note in sequence.manifest["notes"])
    fixed = ReconstructSettings(**{**vars(settings), "fov_deg": 60.0})
    told = reconstruct(str(tmp_path / "0.jpg"), tmp_path / "fov", fixed)
    assert told.intrinsics_source[0, 0, 0] == pytest.approx(192 / np.tan(np.radians(30)))


def photo_exif(focal_35mm):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = focal_35mm
    return exif


def test_the_clips_own_geometry_and_the_camera_are_weighed(monkeypatch):
    own = FocalEstimate(400.0, 0.1, "clip", "8 ok")
    monkeypatch.setattr("dpm_cli.focal.clip.clip_focal", lambda *arguments: own)

    def never():
        raise AssertionError("a guess is not asked for where the camera wrote something")

    word = FocalEstimate(300.0, 0.1, "camera", "26 mm of 35 mm film")
    both = find_focal(None, (216, 384), None, never, word)  # type: ignore[arg-type]
    assert 300 < both.focal_px < 400
    assert both.sigma_log < 0.1
    assert both.source == "camera"
    note = both.note(384)
    assert note is not None
    assert "26 mm" in note
    assert "8 ok" in note
