"""Where a depth prior comes from: the user's maps in every format, MoGe-2, and how one is chosen and kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dataset_files import exr_bytes
from network_helpers import public_moge, tiny_moge
from PIL import Image

from dpm_cli.errors import DpmError, InputError, UsageError, WeightsError
from dpm_cli.formats.depth_png import DepthImage, write_depth_png
from dpm_cli.prior.choose import load_prior
from dpm_cli.prior.estimate import PriorEstimate, PriorInfo
from dpm_cli.prior.folder import FolderPrior
from dpm_cli.prior.moge import MogePrior
from dpm_cli.prior.store import PriorStore, estimate_clip
from dpm_cli.progress import SilentReporter
from dpm_cli.structures import Clip
from dpm_cli.weights.imports import import_weights

CPU = torch.device("cpu")
SIZE, FRAMES = (12, 18), 3
IMAGE = np.zeros((*SIZE, 3), np.uint8)


class Frames:
    def __len__(self):
        return FRAMES

    def read(self, indices):
        return np.full((len(indices), *SIZE, 3), 90, np.uint8)


CLIP = Clip(
    name="clip",
    frames=Frames(),
    size=SIZE,
    source_size=(24, 36),
    source_from_working=np.diag((2.0, 2.0, 1.0)),
    frame_index=np.array((0, 2, 4)),
    timestamps=np.arange(3) / 25,
    source="",
    fingerprint="",
)


def depth_of(t, size=SIZE):
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    return (2 + t + y + 0.5 * x).astype(np.float32)


def write(folder, form, t, depth):
    folder.mkdir(exist_ok=True)
    path = folder / f"map_{t}.{form}"
    if form == "exr":
        path.write_bytes(exr_bytes(depth))
    elif form == "npz":
        np.savez(path, depth=depth)
    elif form == "png":
        Image.fromarray(np.round(depth * 1000).astype(np.uint16)).save(path)
    return path


@pytest.mark.parametrize("form", ["npz", "png", "exr"])
@pytest.mark.parametrize("size", [SIZE, (24, 36), (6, 9)])
def test_metric_maps_of_every_format_and_size_are_read(tmp_path, form, size):
    for t in range(FRAMES):
        write(tmp_path / "maps", form, t, depth_of(t, size))
    prior = FolderPrior(tmp_path / "maps", "metric", CLIP)
    for t in range(FRAMES):
        found = prior.estimate(t, IMAGE)
        assert found.metric
        assert found.valid.all()
        assert not found.sky.any()
        inside = (slice(2, -2), slice(2, -2))
        np.testing.assert_allclose(
            1 / found.inverse_depth[inside],
            depth_of(t)[inside],
            rtol=0.06 if size != SIZE else 1e-3,
        )


def test_one_map_for_every_source_frame_is_picked_by_the_clips_frames(tmp_path):
    for t in range(10):
        write(tmp_path / "maps", "npz", t, np.full(SIZE, 1.0 + t, np.float32))
    prior = FolderPrior(tmp_path / "maps", "depth", CLIP)
    assert [1 / prior.estimate(t, IMAGE).inverse_depth[0, 0] for t in range(3)] == [1, 3, 5]


def test_unknown_and_infinite_depth_and_a_sky_of_its_own(tmp_path):
    depth = depth_of(0)
    depth[:3], depth[3:6] = 0, np.inf
    sky = np.zeros(SIZE, bool)
    sky[6:8] = True
    for t in range(FRAMES):
        np.savez(tmp_path / f"{t}.npz", depth=depth, sky=sky, focal_px=20.0)
    found = FolderPrior(tmp_path, "depth", CLIP).estimate(0, IMAGE)
    assert not found.metric
    assert found.focal_px == 20
    assert found.valid.any(1).tolist() == [False] * 8 + [True] * 4
    assert found.sky.any(1).tolist() == [False] * 3 + [True] * 5 + [False] * 4
    assert (found.inverse_depth[~found.valid] == 0).all()


def test_inverse_maps_are_taken_as_they_are_and_a_declared_factor_counts(tmp_path):
    for t in range(FRAMES):
        np.savez(tmp_path / f"{t}.npz", disparity=1 / depth_of(t))
    found = FolderPrior(tmp_path, "inverse", CLIP).estimate(1, IMAGE)
    np.testing.assert_allclose(found.inverse_depth, 1 / depth_of(1), rtol=1e-6)
    assert found.shift_sigma > FolderPrior(tmp_path, "depth", CLIP).estimate(1, IMAGE).shift_sigma
    png = tmp_path / "png"
    for t in range(FRAMES):
        image = DepthImage(depth_of(t), np.ones(SIZE, bool), 0.0005, "metre")
        write_depth_png(png / f"{t}.png", image)
    np.testing.assert_allclose(
        1 / FolderPrior(png, "metric", CLIP).estimate(2, IMAGE).inverse_depth,
        depth_of(2),
        atol=3e-4,
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "1.npz").unlink(), "2 maps for 3 frames"),
        (lambda f: [p.unlink() for p in f.iterdir()], "no depth there"),
        (lambda f: write(f, "png", 9, depth_of(0)), "several kinds"),
        (
            lambda f: np.savez(f / "0.npz", depth=depth_of(0, (12, 30))),
            "30x12 pixels, not the shape",
        ),
        (lambda f: np.savez(f / "0.npz", depth=np.full(SIZE, np.nan)), "no numbers"),
        (lambda f: np.savez(f / "0.npz", depth=np.zeros(SIZE)), "no positive finite"),
        (lambda f: np.savez(f / "0.npz", a=depth_of(0), b=depth_of(0)), "no array named depth"),
        (lambda f: np.savez(f / "0.npz", depth=np.ones((*SIZE, 3))), "no map of one frame"),
        (lambda f: np.savez(f / "0.npz", depth=depth_of(0), sky=np.ones(3)), "`sky` of shape"),
        (lambda f: (f / "0.npz").write_bytes(b"nothing"), "cannot be read as a depth map"),
    ],
)
def test_every_wrong_folder_is_one_line(tmp_path, spoil, message):
    for t in range(FRAMES):
        np.savez(tmp_path / f"{t}.npz", depth=depth_of(t))
    spoil(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        FolderPrior(tmp_path, "depth", CLIP).estimate(0, IMAGE)
    assert "\n" not in str(caught.value)


def test_a_coloured_or_8_bit_png_is_no_depth(tmp_path):
    for t in range(FRAMES):
        Image.fromarray(np.full(SIZE, 9, np.uint8)).save(tmp_path / f"{t}.png")
    with pytest.raises(InputError, match="16-bit grey"):
        FolderPrior(tmp_path, "depth", CLIP).estimate(0, IMAGE)


def test_estimates_come_back_from_disk_and_a_stopped_run_asks_for_the_rest_only(tmp_path):
    asked = []

    class Source:
        info = PriorInfo("source", None, "none", "a source")

        def estimate(self, t, image):
            assert image.shape == (*SIZE, 3)
            asked.append(t)
            valid = depth_of(t) > 3
            return PriorEstimate(
                1 / depth_of(t), valid, ~valid, 0.1, 0.2, True, 30.0 if t else None, 0.05
            )

    store = PriorStore(tmp_path / "prior")
    store.write(1, replace(Source().estimate(1, IMAGE), sigma_log=0.7))
    asked.clear()
    filled = estimate_clip(CLIP, Source(), tmp_path / "prior", SilentReporter())
    assert asked == [0, 2]
    assert filled.done() == {0, 1, 2}
    assert filled.read(1).sigma_log == 0.7
    assert filled.read(0).focal_px is None
    assert filled.read(2).focal_px == 30
    found, wanted = filled.read(2), Source().estimate(2, IMAGE)
    for name, value in wanted.to_arrays().items():
        np.testing.assert_array_equal(found.to_arrays()[name], value)


def test_moge_gives_metric_depth_sky_and_focal_length_at_the_images_size():
    prior = MogePrior(tiny_moge(), PriorInfo("m", None, "MIT", "MoGe-2"), CPU, torch.float32, 12)
    image = np.random.default_rng(0).integers(0, 255, (30, 44, 3), np.uint8)
    found = prior.estimate(0, image)
    assert found.metric
    assert found.inverse_depth.shape == found.valid.shape == found.sky.shape == (30, 44)
    assert found.valid.any()
    assert not (found.valid & found.sky).any()
    assert np.isfinite(found.inverse_depth).all()
    assert (found.inverse_depth[found.valid] > 0).all()
    assert found.focal_px is not None
    assert found.focal_px > 0
    assert MogePrior(tiny_moge(), prior.info, CPU, torch.float32).tokens == 300


def test_what_is_named_is_what_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("DPM_WEIGHTS_DIR", str(tmp_path / "store"))

    def load(name):
        return load_prior(name, "depth", CLIP, CPU, torch.float32)

    assert load("none") is None
    assert load("auto") is None
    with pytest.raises(WeightsError, match="dpm models pull moge-2-base"):
        load("moge-2-base")
    with pytest.raises(UsageError, match="auto, none, moge-2-small"):
        load("moge-9")
    torch.save(public_moge(tiny_moge()), tmp_path / "model.pt")
    for name in ("moge-2-large", "moge-2-small"):
        import_weights(tmp_path / "model.pt", name, SilentReporter())
    for name, row in (("auto", "moge-2-small"), ("moge-2-large", "moge-2-large")):
        source = load(name)
        assert source is not None
        assert source.info.name == row
        assert source.info.weights_licence.startswith("MIT")
    write(tmp_path / "maps", "npz", 0, depth_of(0))
    with pytest.raises(DpmError, match="1 maps for 3 frames"):
        load(str(tmp_path / "maps"))
