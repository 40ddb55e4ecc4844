"""Depth in OpenEXR, read by OpenEXR and by our own reader of data sets, which knows nothing of that library."""

import sys

import numpy as np
import pytest
from toy_sequence import toy_sequence

from dpm_cli.errors import InputError, MissingExtraError
from dpm_cli.export import export_sequence
from dpm_cli.export.source_size import nearest_to_source
from dpm_cli.formats.depth_exr import ExrDepth, read_depth_exr, write_depth_exr
from dpm_cli.formats.openexr import read_exr
from dpm_cli.prior.maps import read_map


def test_depth_comes_back_exactly(tmp_path):
    pytest.importorskip("OpenEXR")
    sequence = toy_sequence()
    export_sequence(sequence, "depth-exr", tmp_path / "d")
    assert len(list((tmp_path / "d").glob("depth_*.exr"))) == 4
    image = read_depth_exr(tmp_path / "d" / "depth_000003.exr")
    frame = sequence.frame(3)
    valid = nearest_to_source(frame.valid, sequence.source_from_working, (60, 90))
    depth = nearest_to_source(frame.depth, sequence.source_from_working, (60, 90))
    assert np.array_equal(image.valid, valid)
    assert np.array_equal(image.depth, np.where(valid, depth, 0))
    assert image.unit == "arbitrary"
    assert np.array_equal(read_exr(tmp_path / "d" / "depth_000003.exr"), image.depth)


def test_programs_that_know_only_grey_find_the_depth(tmp_path):
    """OpenCV and Blender's images read `Y` and `A`, and make zeros of a file that has `Z` only."""
    exr = pytest.importorskip("OpenEXR")
    depth = np.linspace(1, 2, 12, dtype=np.float32).reshape(3, 4)
    write_depth_exr(tmp_path / "a.exr", ExrDepth(depth, depth > 1.2, "metre"))
    with exr.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        channels = {name: np.array(c.pixels) for name, c in file.channels().items()}
    assert set(channels) == {"A", "Y", "Z"}
    assert np.array_equal(channels["Y"], channels["Z"])
    assert np.array_equal(channels["Y"], np.where(depth > 1.2, depth, 0))


def test_depth_that_we_wrote_is_a_prior(tmp_path):
    pytest.importorskip("OpenEXR")
    depth = np.linspace(1, 2, 12, dtype=np.float32).reshape(3, 4)
    write_depth_exr(tmp_path / "a.exr", ExrDepth(depth, np.ones((3, 4), bool), "metre"))
    assert np.array_equal(read_map(tmp_path / "a.exr", "metric").values, depth)


def test_other_files_are_refused(tmp_path):
    pytest.importorskip("OpenEXR")
    (tmp_path / "a.exr").write_bytes(b"no picture")
    for name in ("a.exr", "none.exr"):
        with pytest.raises(InputError):
            read_depth_exr(tmp_path / name)


def test_without_openexr_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    image = ExrDepth(np.ones((2, 3), np.float32), np.ones((2, 3), bool), "metre")
    with pytest.raises(MissingExtraError, match=r"dpm-cli\[exr\]"):
        write_depth_exr(tmp_path / "a.exr", image)
    assert not list(tmp_path.iterdir())
