"""COLMAP folders as other programs read them: pycolmap, and readers that stop at blank lines."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from toy_sequence import toy_arrays, toy_frames, toy_header

from dpm_cli.errors import InputError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.observations import observations_of
from dpm_cli.formats.colmap import read_colmap
from dpm_cli.formats.colmap_binary import read_colmap_binary
from dpm_cli.sequence import Sequence4D
from dpm_cli.structures import Cameras


@pytest.fixture(scope="module")
def sequence():
    """Four frames of which the third is not registered."""
    header = toy_header()
    cameras = Cameras(
        header.cameras.cam2world, header.cameras.intrinsics, np.array([1, 1, 0, 1], bool)
    )
    header = replace(header, cameras=cameras)
    return Sequence4D.from_arrays(toy_arrays(header, toy_frames(header)), "toy")


@pytest.fixture(scope="module")
def folder(sequence, tmp_path_factory):
    path = tmp_path_factory.mktemp("colmap") / "c"
    options = ExportOptions(min_confidence=0, max_points=500)
    return export_sequence(sequence, "colmap", path, options).path


def test_text_and_binary_say_the_same(folder):
    text, binary = (read(folder / "sparse" / "0") for read in (read_colmap, read_colmap_binary))
    assert text.names == binary.names == [f"frame_{t:06d}.png" for t in (0, 1, 3)]
    assert text.size == binary.size == (60, 90)
    np.testing.assert_allclose(text.cam2world, binary.cam2world, atol=1e-9)
    np.testing.assert_allclose(text.intrinsics, binary.intrinsics, atol=1e-6)
    np.testing.assert_allclose(text.cloud.points, binary.cloud.points, rtol=1e-6)
    np.testing.assert_array_equal(text.cloud.colors, binary.cloud.colors)
    for name in ("image", "point"):
        np.testing.assert_array_equal(
            getattr(text.observations, name), getattr(binary.observations, name)
        )
    np.testing.assert_allclose(text.observations.pixels, binary.observations.pixels, atol=6e-3)


def test_a_reader_that_stops_at_blank_lines_sees_everything(folder):
    lines = (folder / "sparse" / "0" / "images.txt").read_text().split("\n")
    assert lines.pop() == ""
    assert all(lines)
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert len(rows) == 2 * 3
    for head, seen in zip(rows[::2], rows[1::2], strict=True):
        assert len(head) == 10
        assert len(seen) % 3 == 0
        assert len(seen) > 3 * 100


def test_pycolmap_loads_it_and_projects_points_where_images_see_them(folder, sequence):
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction(str(folder / "sparse" / "0"))
    assert model.num_reg_images() == 3
    assert model.num_points3D() == len(read_colmap(folder / "sparse" / "0").cloud) == 500
    assert model.compute_mean_track_length() > 1.5
    for image in model.images.values():
        camera = model.cameras[image.camera_id]
        assert camera.model.name == "PINHOLE"
        picture = cv2.imread(str(folder / "images" / image.name))
        assert picture is not None
        assert picture.shape == (camera.height, camera.width, 3)
        for point2d in image.get_observation_points2D()[::20]:
            point = model.points3D[point2d.point3D_id]
            np.testing.assert_allclose(image.project_point(point.xyz), point2d.xy, atol=1e-3)
            assert image.image_id in {e.image_id for e in point.track.elements}


def test_a_model_without_points_still_has_no_blank_lines(sequence, tmp_path):
    path = export_sequence(
        sequence, "colmap", tmp_path / "c", ExportOptions(min_confidence=1e9)
    ).path
    text = (path / "sparse" / "0" / "images.txt").read_text()
    assert "\n\n" not in text
    assert text.count(" -1\n") == 3
    assert len(read_colmap_binary(path / "sparse" / "0").cloud) == 0


def test_masks_leave_out_what_moves_under_the_names_of_the_images(folder, sequence):
    names = sorted(p.name for p in (folder / "images").iterdir())
    assert sorted(p.name for p in (folder / "masks").iterdir()) == names
    mask = cv2.imread(str(folder / "masks" / names[0]), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    assert mask.shape == (60, 90)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[30, 45] == 0
    assert mask[5, 5] == 255


def test_points_are_observed_where_they_were_taken_from_and_not_behind_others(sequence):
    used = np.array([0, 1])
    points = sequence.frame(0).points(sequence.cam2world[0], sequence.intrinsics[0])
    points = points[::6, ::6].reshape(-1, 3)
    frame = sequence.frame(0)
    still = (frame.valid & (frame.dynamic < 0.5))[::6, ::6].ravel()
    seen = observations_of(sequence, points, used, 0.5)
    own = seen.image == 0
    np.testing.assert_array_equal(seen.point[own], np.flatnonzero(still))
    y, x = np.mgrid[:24:6, :36:6]
    A = sequence.source_from_working
    expected = np.stack((x, y), -1).reshape(-1, 2)[still] * A.diagonal()[:2] + A[:2, 2]
    np.testing.assert_allclose(seen.pixels[own], expected, atol=1e-3)
    assert (~own).sum() > 5
    camera = points * 1.5
    assert not len(observations_of(sequence, camera, used, 0.5).image)


def test_damaged_models_are_refused(folder, tmp_path):
    for path in (folder / "sparse" / "0").glob("*.bin"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / "images.bin").read_bytes()
    (tmp_path / "images.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        read_colmap_binary(tmp_path)
    (tmp_path / "images.bin").unlink()
    with pytest.raises(InputError, match=r"images\.bin"):
        read_colmap_binary(tmp_path)
