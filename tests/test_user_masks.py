"""The user's masks: what counts as marked, and masks of other sizes."""

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from dpm_cli.errors import InputError
from dpm_cli.geometry.camera import source_from_working
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.structures import Clip

SOURCE, WORKING = (120, 200), (60, 100)


def clip_of(count=1, source=SOURCE, working=WORKING, aspect=1.0, shift=(0, 0), area=None):
    A = source_from_working(area or source, working).numpy()
    A[:2, 2] += shift
    return Clip("c", None, working, source, A, np.arange(count), np.zeros(count), "", "", aspect)  # type: ignore[arg-type]


def marked(size=SOURCE):
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 255
    return mask


def read(folder, clip):
    return UserMasks.find(folder, clip).read(0)


EXPECTED = marked(WORKING) > 0


def saved_as(mode, mask, path):
    grey = Image.fromarray(mask)
    if mode in ("RGBA", "LA"):
        image = grey.convert(mode)
        image.putalpha(255)
    elif mode == "transparent":
        image = Image.merge("LA", (Image.new("L", grey.size, 255), grey))
    elif mode == "P":
        image = Image.fromarray((mask > 0).astype(np.uint8), "P")
        image.putpalette([0, 0, 0, 128, 0, 0])
    elif mode == "I;16":
        image = Image.fromarray((mask // 255).astype(np.uint16))
    elif mode == "one":
        image = Image.fromarray(mask // 255)
    else:
        image = grey.convert(mode)
    image.save(path)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA", "transparent", "P", "I;16", "one"])
def test_every_kind_of_png_marks_the_same(tmp_path, mode):
    saved_as(mode, marked(), tmp_path / "0.png")
    np.testing.assert_array_equal(read(tmp_path, clip_of()), EXPECTED)


def test_a_jpegs_noise_is_not_marked(tmp_path):
    Image.fromarray(marked()).save(tmp_path / "0.jpg", quality=60)
    np.testing.assert_array_equal(read(tmp_path, clip_of()), EXPECTED)


@pytest.mark.parametrize("size", [(60, 100), (120, 200), (360, 600), (61, 100)])
def test_another_size_of_the_same_aspect_is_the_same_mask(tmp_path, size):
    mask = marked()
    rows = np.minimum(np.arange(size[0]) * 120 // size[0], 119)
    columns = np.minimum(np.arange(size[1]) * 200 // size[1], 199)
    iio.imwrite(tmp_path / "0.png", mask[np.ix_(rows, columns)])
    assert (read(tmp_path, clip_of()) != EXPECTED).mean() < 0.01


@pytest.mark.parametrize("size", [(200, 120), (150, 200), (120, 120)])
def test_another_aspect_is_refused_with_both_sizes(tmp_path, size):
    iio.imwrite(tmp_path / "0.png", marked(size))
    with pytest.raises(InputError, match=rf"{size[1]}x{size[0]}.*200x120"):
        read(tmp_path, clip_of())


def test_masks_that_differ_or_are_missing_are_refused(tmp_path):
    iio.imwrite(tmp_path / "0.png", marked())
    iio.imwrite(tmp_path / "1.png", marked((60, 100)))
    with pytest.raises(InputError, match=r"1\.png is 100x60"):
        UserMasks.find(tmp_path, clip_of(2))
    with pytest.raises(InputError, match="2 masks for 3 frames"):
        UserMasks.find(tmp_path, clip_of(3))
    with pytest.raises(InputError, match="no masks"):
        UserMasks.find(tmp_path / "nowhere", clip_of())


def test_masks_of_wide_pixels_may_be_as_stored_or_as_shown(tmp_path):
    clip = clip_of(source=(120, 100), aspect=2.0)
    iio.imwrite(tmp_path / "0.png", marked((120, 100)))
    np.testing.assert_array_equal(read(tmp_path, clip), EXPECTED)
    iio.imwrite(tmp_path / "0.png", marked((120, 200)))
    np.testing.assert_array_equal(read(tmp_path, clip), EXPECTED)


def test_bars_are_cut_from_masks_of_the_source_and_masks_of_the_picture_fit(tmp_path):
    clip = clip_of(source=(200, 200), area=SOURCE, shift=(0, 40))
    iio.imwrite(tmp_path / "0.png", np.pad(marked(), ((40, 40), (0, 0))))
    np.testing.assert_array_equal(read(tmp_path, clip), EXPECTED)
    iio.imwrite(tmp_path / "0.png", marked())
    np.testing.assert_array_equal(read(tmp_path, clip), EXPECTED)
