"""Images and input names."""

import numpy as np
import pytest
from PIL import Image

from dpm_cli.errors import InputError
from dpm_cli.video.images import image_size, read_image, resize_image
from dpm_cli.video.inputs import clip_files, clip_name, split_inputs


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_exif_orientation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    assert image_size(tmp_path / "a.png") == (9, 6)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(picture, -1))


def test_grey_palette_and_transparent_images_become_rgb(tmp_path, picture):
    grey = picture[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, -1)
    )
    alpha = np.full((6, 9, 1), 255, np.uint8)
    alpha[0] = 0
    Image.fromarray(np.concatenate((picture, alpha), -1)).save(tmp_path / "rgba.png")
    read = read_image(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read[1:], picture[1:])
    assert (read[0] == 0).all()
    Image.fromarray(picture).quantize(8).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == (6, 9, 3)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 128, 255]
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    assert read_image(tmp_path / "deep.tif")[0, :, 2].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_colour(tmp_path):
    cv2 = pytest.importorskip("cv2")
    deep = np.array([[[0, 257, 65535], [32896, 65535, 0]]], np.uint16)
    cv2.imwrite(str(tmp_path / "rgb16.png"), deep[..., ::-1])
    np.testing.assert_array_equal(
        read_image(tmp_path / "rgb16.png"), [[[0, 1, 255], [128, 255, 0]]]
    )


def test_damaged_images_are_one_line(tmp_path, picture):
    (tmp_path / "a.png").write_text("hello")
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"a\.png cannot be read as an image"):
            read(tmp_path / "a.png")
    Image.fromarray(picture).save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:120])
    with pytest.raises(InputError, match=r"b\.png cannot be read"):
        read_image(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"c\.png does not exist"):
        image_size(tmp_path / "c.png")


def test_resize_averages_areas(picture):
    big = np.kron(picture, np.ones((4, 4, 1), np.uint8))
    np.testing.assert_array_equal(resize_image(big, (6, 9)), picture)
    assert resize_image(picture, (12, 18)).shape == (12, 18, 3)


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


def test_folders_are_sorted_naturally(tmp_path):
    touch(tmp_path / "f", "frame10.png", "frame2.png", "frame1.PNG", "notes.txt", "._frame1.png")
    assert [p.name for p in clip_files([str(tmp_path / "f")])] == [
        "frame1.PNG",
        "frame2.png",
        "frame10.png",
    ]
    touch(tmp_path / "empty", "notes.txt")
    with pytest.raises(InputError, match="holds no images"):
        clip_files([str(tmp_path / "empty")])


def test_inputs_become_clips(tmp_path):
    touch(tmp_path, "a.mp4", "b.mov", "i1.png", "i2.png", "i10.png")
    touch(tmp_path / "f", "x.jpg")
    path = {p.name: str(p) for p in tmp_path.iterdir()}
    mixed = [path["a.mp4"], path["i2.png"], path["f"], path["i1.png"], path["b.mov"]]
    assert split_inputs(mixed) == [
        [path["a.mp4"]],
        [path["i2.png"], path["i1.png"]],
        [path["f"]],
        [path["b.mov"]],
    ]
    natural = [[path["i1.png"], path["i2.png"], path["i10.png"]]]
    assert split_inputs([str(tmp_path / "*.png")]) == natural
    assert split_inputs([path["i1.png"], path["i10.png"], path["i2.png"]]) == natural
    assert split_inputs([path["i10.png"], path["i1.png"]]) == [[path["i10.png"], path["i1.png"]]]


def test_a_folder_of_videos_stands_for_its_videos(tmp_path):
    touch(tmp_path / "v", "take10.mp4", "take2.MOV", "notes.txt", ".hidden.mp4")
    two = [str(tmp_path / "v" / name) for name in ("take2.MOV", "take10.mp4")]
    assert split_inputs([str(tmp_path / "v")]) == [[two[0]], [two[1]]]
    with pytest.raises(InputError, match="several videos"):
        clip_files([str(tmp_path / "v")])
    (tmp_path / "v" / "take10.mp4").unlink()
    assert clip_files([str(tmp_path / "v")]) == [tmp_path / "v" / "take2.MOV"]
    touch(tmp_path / "v", "poster.jpg")
    assert split_inputs([str(tmp_path / "v")]) == [[str(tmp_path / "v")]]


def test_inputs_that_match_nothing(tmp_path):
    with pytest.raises(InputError, match="no input"):
        split_inputs([])
    with pytest.raises(InputError, match=r"missing\.mp4 does not exist"):
        split_inputs([str(tmp_path / "missing.mp4")])
    with pytest.raises(InputError, match="matches no file"):
        split_inputs([str(tmp_path / "*.png")])


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    touch(tmp_path, "a[1].png")
    assert split_inputs([str(tmp_path / "a[1].png")]) == [[str(tmp_path / "a[1].png")]]


def test_clip_names(tmp_path):
    touch(tmp_path / "walk", "1.png", "2.png")
    assert clip_name([str(tmp_path / "walk.final.mp4")]) == "walk.final"
    assert clip_name([str(tmp_path / "walk")]) == "walk"
    assert clip_name([str(tmp_path / "walk" / "1.png"), str(tmp_path / "walk" / "2.png")]) == "walk"
