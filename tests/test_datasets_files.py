"""The file formats that data sets bring along, and what is said of wrong folders."""

import numpy as np
import pytest
from dataset_files import exr_bytes, record_bytes, write_bytes, write_image

from dpm_cli.errors import InputError, UsageError
from dpm_cli.formats.openexr import read_exr
from dpm_cli.workshop.datasets import READERS, read_dataset
from dpm_cli.workshop.datasets.layout import natural
from dpm_cli.workshop.datasets.rasters import read_depth_png, read_label, read_sintel_depth
from dpm_cli.workshop.datasets.tfrecord import read_example, read_records


@pytest.mark.parametrize("compression", [0, 3])
@pytest.mark.parametrize("size", [(5, 7), (33, 4)])
def test_exr(tmp_path, compression, size):
    depth = np.round(np.random.default_rng(0).uniform(0, 80, size)).astype(np.float32)
    path = write_bytes(tmp_path / "d.exr", exr_bytes(depth, compression))
    assert (read_exr(path) == depth).all()


def test_exr_of_another_compression_is_refused(tmp_path):
    data = exr_bytes(np.ones((2, 2), np.float32), 0)
    marked = data.replace(
        b"compression\0compression\0\x01\0\0\0\0", b"compression\0compression\0\x01\0\0\0\x04"
    )
    with pytest.raises(InputError, match="compression 4"):
        read_exr(write_bytes(tmp_path / "d.exr", marked))
    with pytest.raises(InputError, match="no OpenEXR"):
        read_exr(write_bytes(tmp_path / "e.exr", b"hello, I am no image"))


def test_tfrecord(tmp_path):
    features = {
        "video": [b"one", b"two" * 100],
        "camera/positions": np.array([1.5, -2.0, 3.0], np.float32),
        "ids": np.array([0, -1, 70000], np.int64),
    }
    path = write_bytes(
        tmp_path / "a.tfrecord", record_bytes(features) + record_bytes({"x": np.array([2])})
    )
    first, second = (read_example(r) for r in read_records(path))
    assert first["video"] == features["video"]
    assert (first["camera/positions"] == features["camera/positions"]).all()
    assert list(first["ids"]) == [0, -1, 70000]
    assert list(second["x"]) == [2]


def test_tfrecord_cut_off(tmp_path):
    path = write_bytes(tmp_path / "a.tfrecord", record_bytes({"x": np.arange(100)})[:-9])
    with pytest.raises(InputError, match="cut off"):
        list(read_records(path))


def test_depth_and_labels(tmp_path):
    counts = np.array([[0, 1000], [2500, 65535]], np.uint16)
    assert read_depth_png(write_image(tmp_path / "d.png", counts), 0.001) == pytest.approx(
        np.array([[0, 1.0], [2.5, 0]])
    )
    labels = np.array([[0, 2], [255, 1]], np.uint8)
    assert (read_label(write_image(tmp_path / "l.png", labels)) == labels).all()


def test_sintel_depth_that_is_cut_off(tmp_path):
    head = np.array([202021.25], "<f4").tobytes() + np.array([4, 3], "<i4").tobytes()
    with pytest.raises(InputError, match="cut off"):
        read_sintel_depth(write_bytes(tmp_path / "d.dpt", head + bytes(8)))
    with pytest.raises(InputError, match=r"no Sintel \.dpt"):
        read_sintel_depth(write_bytes(tmp_path / "e.dpt", bytes(60)))


def test_files_are_counted_not_spelled(tmp_path):
    names = ["frame_10.png", "frame_2.png", "frame_1.png"]
    assert [p.name for p in sorted((tmp_path / n for n in names), key=natural)] == [
        names[2],
        names[1],
        names[0],
    ]


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_wrong_folder_is_told_in_one_line(tmp_path, name):
    write_bytes(tmp_path / "holiday.mov", b"")
    with pytest.raises(InputError) as error:
        read_dataset(name, tmp_path)
    message = str(error.value)
    assert str(tmp_path) in message
    assert "expected" in message
    assert "holiday.mov" in message
    assert "\n" not in message
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(name, tmp_path / "nowhere")


def test_unknown_data_set_lists_the_known():
    with pytest.raises(UsageError, match="sintel"):
        read_dataset("imagenet", ".")  # pyright: ignore[reportArgumentType]
