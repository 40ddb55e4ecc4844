"""MoGe-2 against the official network's golden vectors and tensor names, and the laws of its parts.

tests/data/parity_moge.npz holds key lists and every fifth pixel of two cases (no weights, no code of theirs).
"""

import dataclasses
import json
import lzma

import numpy as np
import parity_adapter
import parity_vectors
import pytest
import torch
from network_helpers import TINY_MOGE, images, perturb, public_moge, tiny_moge
from parity_adapter import focal_from_fov_x

from dpm_cli.errors import WeightsError
from dpm_cli.network.moge.model import MogeMaps, MogeNetwork, remap, resized_output, token_grid
from dpm_cli.network.moge.pinhole import fit_pinhole, pinhole_view
from dpm_cli.network.moge.pyramid import view_plane
from dpm_cli.weights.checkpoint import read_checkpoint
from dpm_cli.weights.convert import moge_config, moge_state
from dpm_cli.weights.inspect import shapes_of
from dpm_cli.weights.load import load_moge_network

ARRAYS = np.load(parity_vectors.DATA / "parity_moge.npz")
ABOUT = json.loads(lzma.decompress(ARRAYS["about"].tobytes()))
KEYS = {net: {n: tuple(s) for n, s in k.items()} for net, k in ABOUT["keys"].items()}
SOLVER = 5e-5
"""Of what depends on the fitted shift: the official solver stops early, so its result or the true minimum counts."""

needs_shared = pytest.mark.skipif(
    not (parity_vectors.SHARED / "manifest_moge.json").is_file(), reason="the whole set is not here"
)


@pytest.fixture(scope="module")
def networks():
    made = {}

    def network(name):
        if name not in made:
            state = parity_vectors.filled_moge(KEYS[name])
            made[name] = parity_adapter.load("moge", ABOUT["configs"][name], state)
        return made[name]

    return network


def require_official(case, arrays, outputs, stride):
    """Every output against `arrays`, by the tolerance of the set."""
    assert set(outputs) == set(case["noise_fp32"])
    for name, noise in case["noise_fp32"].items():
        ours = outputs[name].numpy()
        if ours.shape[1:3] == tuple(case["size"]):
            ours = ours[:, ::stride, ::stride]
        if name.endswith("valid"):
            assert (ours == arrays[name].astype(bool)).all(), name
            continue
        references = [arrays[name]]
        references += [arrays[f"opt.{name}"]] if f"opt.{name}" in arrays else []
        references += [np.array(case["optimum"][name])] if name in case["optimum"] else []
        error = min(parity_vectors.relative_error(ours, r) for r in references)
        assert error < max(1e-5, 3 * noise, SOLVER if name in case["solver_gap"] else 0), name


@pytest.mark.parametrize("case", ABOUT["cases"], ids=lambda case: case["name"])
def test_every_output_is_the_official_one(case, networks):
    u8 = parity_vectors.images_u8(case["image_key"], 1, *case["size"])
    inputs = {"image": torch.from_numpy(u8).float() / 255, **case}
    outputs = parity_adapter.run(networks(case["config"]), "moge", inputs)
    prefix = f"{case['name']}/"
    arrays = {k.removeprefix(prefix): ARRAYS[k] for k in ARRAYS.files if k.startswith(prefix)}
    require_official(case, arrays, outputs, case["stride"])


@needs_shared
def test_every_case_of_the_whole_set(networks):
    manifest = json.loads((parity_vectors.SHARED / "manifest_moge.json").read_text())
    for case in manifest["cases"]:
        arrays = dict(np.load(parity_vectors.SHARED / case["file"]))
        inputs = {"image": torch.from_numpy(arrays["image"]).float() / 255, **case}
        outputs = parity_adapter.run(networks(case["config"]), "moge", inputs)
        require_official(case, arrays, outputs, 1)


@needs_shared
def test_modules_of_the_whole_set(networks):
    arrays = dict(np.load(parity_vectors.SHARED / "modules_moge.npz"))
    ours = moge_modules(networks("moge2_tiny"), arrays)
    assert len(ours) == 25
    for name, value in ours.items():
        error = parity_vectors.relative_error(value.detach().numpy(), arrays[name])
        assert error < 1e-5, (name, error)


def moge_modules(net, arrays):
    """{array name: what ours gives} for the modules whose inputs the set holds."""
    given = {k: torch.from_numpy(v) for k, v in arrays.items()}
    vit, out = net.encoder.backbone, {}
    for name in arrays:
        kind, _, rest = name.partition(".")
        if kind.startswith("pos_embed"):
            value = vit.positions(tuple(map(int, rest.split("x"))))[0]
            out[name] = value[:, :8] if "ch8" in kind else value
        elif kind == "uv":
            cells, aspect = rest.split("_a")
            rows, columns = map(int, cells.split("x"))
            out[name] = view_plane((rows, columns), float(aspect), torch.device("cpu")).movedim(
                0, -1
            )
        elif name.endswith(".optimum"):
            points = given[f"solver.{rest.split('.')[0]}.points"]
            mask = given.get(f"solver.{rest.split('.')[0]}.mask", torch.ones(points.shape[:3]))
            free = fit_pinhole(points, mask > 0.5)
            focal = given[name][2:3].double()
            held = fit_pinhole(points, mask > 0.5, focal)
            out[name] = torch.cat((free.focal, free.shift, focal, held.shift))
    blocks = {
        "block": vit.blocks[0],
        "block_small": vit.blocks[0],
        "norm_small": vit.norm,
        "res_block": net.neck.res_blocks[1],
        "conv_transpose": net.neck.resamplers[1],
        "bilinear": net.neck.resamplers[3],
        "scale": lambda x: net.scale_head(x)[:, 0].exp(),
    }
    out |= {f"{name}.out": block(given[f"{name}.x"]) for name, block in blocks.items()}
    out["remap.points"] = remap(given["remap.raw"].movedim(-1, 1))
    for name in ("upsample", "upsample_down"):
        height, width = given[f"{name}.out"].shape[-2:]
        out[f"{name}.out"] = resized_output(given[f"{name}.x"], (height, width))
    return out


@pytest.mark.parametrize("size", ["vits_normal", "vitb_normal", "vitl_normal", "vitl"])
@pytest.mark.parametrize("told", [True, False])
def test_released_sizes_have_exactly_our_tensors_and_layers(size, told):
    official, config = KEYS[f"moge2_{size}"], ABOUT["released"][f"moge2_{size}"]
    used = moge_state(official)
    assert set(official) - set(used) == {"encoder.backbone.mask_token"}
    ours = moge_config(used, config if told else {})
    assert list(ours.taps) == config["encoder"]["intermediate_layers"]
    assert ours.heads == config["heads"]
    assert list(ours.neck_blocks) == config["neck"]["num_res_blocks"]
    with torch.device("meta"):
        assert shapes_of(MogeNetwork(ours).state_dict()) == used


@torch.no_grad()
def test_a_batch_equals_its_singles_and_normals_are_only_made_when_asked():
    network = perturb(MogeNetwork(TINY_MOGE))
    pictures = images(3, 30, 44)
    batch = network(pictures, 12, normals=True)
    assert batch.points.shape == (3, 30, 44, 3)
    for i in range(3):
        single = network(pictures[i : i + 1], 12)
        assert single.normal is None
        for name in ("points", "mask", "metric_scale"):
            assert torch.allclose(getattr(single, name)[0], getattr(batch, name)[i], atol=1e-5)
    assert torch.allclose(batch.normal.norm(dim=-1), torch.ones(3, 30, 44), atol=1e-5)
    without = perturb(MogeNetwork(dataclasses.replace(TINY_MOGE, normals=False)))
    assert without(pictures, 12, normals=True).normal is None


def test_tokens_follow_the_shape_of_the_image():
    assert token_grid((75, 101), 30) == (5, 6)
    assert token_grid((96, 64), 35) == (7, 5)
    assert token_grid((10, 4000), 4) == (1, 40)


def pinhole_points(focal, shift, height=70, width=90, seed=0):
    """Points of a random surface seen by a camera of that focal length, moved back by `shift` along z."""
    generator = torch.Generator().manual_seed(seed)
    z = 2 + torch.rand(1, height, width, generator=generator)
    plane = view_plane((height, width), width / height, z.device).movedim(0, -1)
    points = torch.cat((plane / focal * z[..., None], z[..., None]), -1)
    points[..., 2] -= shift
    return points


@pytest.mark.parametrize(("focal", "shift"), [(0.6, -0.7), (1.0, 0.0), (1.3, 1.5), (4.0, 1.9)])
def test_the_camera_of_an_exact_pinhole_view_is_found(focal, shift):
    points = pinhole_points(focal, shift)
    found = fit_pinhole(points, torch.ones(points.shape[:3], dtype=torch.bool))
    assert abs(found.focal.item() / focal - 1) < 1e-5
    assert abs(found.shift.item() - shift) < 1e-5
    given = fit_pinhole(
        points, torch.ones(points.shape[:3], dtype=torch.bool), torch.tensor([focal])
    )
    assert abs(given.shift.item() - shift) < 1e-5


def test_masked_pixels_do_not_count_and_no_pixel_is_no_answer():
    points = pinhole_points(1.1, 0.5)
    mask = torch.ones(points.shape[:3], dtype=torch.bool)
    mask[:, :20] = False
    points[:, :20] = torch.randn(points[:, :20].shape) * 9
    assert abs(fit_pinhole(points, mask).focal.item() / 1.1 - 1) < 1e-5
    nothing = fit_pinhole(points, torch.zeros_like(mask))
    assert nothing.focal.item() == 1
    assert nothing.shift.item() == 0


def test_depth_is_metric_and_lies_on_the_rays_of_the_intrinsics():
    points = pinhole_points(0.9, 0.4)
    maps = MogeMaps(points, torch.full(points.shape[:3], 0.9), None, torch.tensor([3.0]))
    view = pinhole_view(maps)
    assert view.valid.all()
    assert torch.allclose(view.depth, 3 * (points[..., 2] + 0.4), rtol=1e-4)
    height, width = view.depth.shape[1:]
    K = view.intrinsics[0] * torch.tensor([[width], [height], [1.0]])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack((x + 0.5, y + 0.5), -1)
    seen = view.points[0] @ K.T
    assert torch.allclose(seen[..., :2] / seen[..., 2:], pixels, atol=1e-3)
    fov = 2 * torch.atan(0.5 / view.intrinsics[:, 0, 0].double())
    assert torch.allclose(focal_from_fov_x(fov, width / height), view.fit.focal)


def test_a_public_file_makes_the_same_network_and_other_arithmetic_is_refused(tmp_path):
    network, pictures = tiny_moge(dataclasses.replace(TINY_MOGE, taps=(1,))), images(1, 30, 44)
    content = public_moge(network)
    torch.save(content, tmp_path / "model.pt")
    loaded = load_moge_network(read_checkpoint(tmp_path / "model.pt"))
    assert loaded.config == network.config
    with torch.no_grad():
        assert torch.equal(loaded(pictures, 12).points, network(pictures, 12).points)
    content["model_config"]["remap_output"] = "linear"
    torch.save(content, tmp_path / "linear.pt")
    with pytest.raises(WeightsError, match="only 'exp' is known"):
        load_moge_network(read_checkpoint(tmp_path / "linear.pt"))
    content["model_config"] = {"encoder": {"intermediate_layers": [0, 1]}}
    torch.save(content, tmp_path / "taps.pt")
    with pytest.raises(WeightsError, match="for 1 projections"):
        load_moge_network(read_checkpoint(tmp_path / "taps.pt"))
    del content["model"]["scale_head.2.bias"]
    torch.save({"model": content["model"]}, tmp_path / "short.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(scale_head.2.bias\)"):
        load_moge_network(read_checkpoint(tmp_path / "short.pt"))
