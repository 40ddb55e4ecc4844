import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.errors import InputError, UsageError
from dpm_cli.workshop.settings import SynthSettings, parse_picture_size
from dpm_cli.workshop.synthetic import (
    CAMERA_KINDS,
    PairCache,
    render_at,
    render_clips,
    sample_pairs,
    scene_seed,
    write_cache,
)
from dpm_cli.workshop.synthetic.cache import decode_depth, encode_depth
from dpm_cli.workshop.synthetic.files import render_files
from dpm_cli.workshop.synthetic.sequence_truth import read_truth

SIZE = (32, 48)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_cache(tmp_path_factory.mktemp("cache"), "val", 5, range(4), SIZE)


def test_depth_codes_are_good_to_a_ten_thousandth():
    depth = np.geomspace(0.02, 4000, 1000).astype(np.float32)
    back = decode_depth(torch.from_numpy(encode_depth(depth).astype(np.int32))).numpy()
    assert np.abs(back / depth - 1).max() < 1.2e-4
    assert encode_depth(np.zeros(1))[0] == 0
    assert decode_depth(torch.zeros(1, dtype=torch.int32))[0] == 0


def test_cached_pairs_are_the_rendered_ones(cache):
    reader = PairCache(cache)
    assert len(reader) == 5
    cached = reader.truth(torch.tensor([3, 1]), torch.tensor([[0, 3], [2, 0]])).pair(0, 1)
    clips = render_clips([scene_seed("val", 3), scene_seed("val", 1)], 4, SIZE)
    direct = clips.pair(torch.tensor([0, 2]), torch.tensor([3, 0]))
    assert (cached.images - direct.images).abs().mean() < 1e-3
    size = direct.points.norm(dim=-1).clamp_min(0.1)
    assert ((cached.points - direct.points).norm(dim=-1) / size).max() < 1e-3
    assert (cached.visible == direct.visible).float().mean() > 0.98


def test_samples_follow_the_generator_and_the_strides(cache):
    reader = PairCache(cache)
    draws = [reader.sample(6, torch.Generator().manual_seed(s), (3, 9)) for s in (1, 1, 2)]
    assert torch.equal(draws[0].points, draws[1].points)
    assert not torch.equal(draws[0].points, draws[2].points)
    assert draws[0].images.shape == (6, 2, 3, *SIZE)


def test_a_cache_goes_on_and_refuses_other_settings(cache):
    stamp = (cache / "00000" / "images.npy").stat().st_mtime_ns
    write_cache(cache, "val", 5, range(4), SIZE)
    assert (cache / "00000" / "images.npy").stat().st_mtime_ns == stamp
    with pytest.raises(UsageError):
        write_cache(cache, "val", 5, range(3), SIZE)


def test_incomplete_and_missing_caches_are_refused(tmp_path):
    with pytest.raises(InputError):
        PairCache(tmp_path)
    folder = write_cache(tmp_path / "c", "val", 1, range(2), SIZE)
    (folder / "00000" / "done").unlink()
    with pytest.raises(InputError):
        PairCache(folder)


def test_sampled_pairs_repeat_and_obey_the_still_share():
    def draw(seed, **more):
        return sample_pairs(
            6, size=SIZE, split="val", generator=torch.Generator().manual_seed(seed), **more
        )

    assert torch.equal(draw(3).images, draw(3).images)
    still = draw(3, still_fraction=1.0).cam2_from_cam1
    assert torch.allclose(still, torch.eye(4).expand(6, 4, 4), atol=1e-5)
    moving = draw(3, still_fraction=0.0).cam2_from_cam1
    assert ((moving - torch.eye(4)).abs().amax((1, 2)) > 1e-4).all()


def test_sizes():
    assert parse_picture_size("288x480") == (288, 480)
    assert parse_picture_size("640") == (480, 640)
    with pytest.raises(UsageError):
        parse_picture_size("wide")


def test_command_writes_video_and_truth(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    out = tmp_path / "scenes"
    command = [
        "synth",
        str(out),
        "--split",
        "val",
        "--index",
        "4",
        "--frames",
        "3",
        "--size",
        "32x48",
        "--json",
        "-q",
    ]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    row = json.loads(result.stdout)["clips"][0]
    assert row["seed"] == scene_seed("val", 4)
    assert (out / "val_000004.mp4").stat().st_size > 500
    truth = read_truth(out / "val_000004_truth.npz")
    expected = render_clips([scene_seed("val", 4)], 3, SIZE)
    assert torch.equal(truth.images, expected.images)
    with pytest.raises(UsageError):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_frames_are_the_exact_pictures(tmp_path):
    cv2 = pytest.importorskip("cv2")
    written = render_files(tmp_path, SynthSettings(index=2, frames=2, size=SIZE, form="frames"))
    picture = cv2.imread(str(written[0].clip / "000001.png"))[..., ::-1]
    expected = render_clips([scene_seed("val", 2)], 2, SIZE).images[0, 1].permute(1, 2, 0).numpy()
    assert np.array_equal(picture, expected)


def test_one_mp4_holds_one_clip(tmp_path):
    with pytest.raises(UsageError):
        render_files(tmp_path / "a.mp4", SynthSettings(clips=2, frames=2, size=SIZE))


def test_the_demo_clip_is_the_documented_scene():
    cv2 = pytest.importorskip("cv2")
    video = cv2.VideoCapture(str(Path(__file__).parent.parent / "assets" / "demo.mp4"))
    frames = [video.read()[1] for _ in range(37)]
    assert frames[35] is not None
    assert frames[36] is None
    shown = torch.from_numpy(frames[20][..., ::-1].copy())
    scene, camera = (
        torch.tensor([scene_seed("val", 1580)]),
        torch.tensor([CAMERA_KINDS.index("dolly")]),
    )
    rendered = (
        render_at(scene, torch.tensor([[0, 20]]), (288, 432), camera).images[0, 1].permute(1, 2, 0)
    )
    assert (shown.float() - rendered.float()).abs().mean() < 6
