"""Our networks against the official ones: golden vectors of small sizes, tensor names of the released sizes."""

import json

import numpy as np
import parity_adapter
import parity_modules
import parity_vectors
import pytest
import torch

from dpm_cli.network.large import PairNetwork
from dpm_cli.network.vggt.config import MultiViewConfig
from dpm_cli.network.vggt.multi_view import MultiViewNetwork
from dpm_cli.weights.convert import (
    UNUSED,
    multi_view_config,
    multi_view_state,
    pair_config,
    pair_state,
)
from dpm_cli.weights.inspect import shapes_of

ABOUT, ARRAYS = parity_vectors.kept()
TOLERANCE = 1e-5
NETS = {"dust3r": "dust3r_tiny", "vdpm": "vdpm_tiny"}
needs_shared = pytest.mark.skipif(
    not parity_vectors.SHARED.is_dir(), reason="the whole set is not here"
)


@pytest.fixture(scope="module")
def networks():
    """Networks by config name, filled by the rule when first wanted."""
    made = {}

    def network(name):
        if name not in made:
            config = ABOUT["configs"][name]
            state = parity_vectors.filled(ABOUT["keys"][name])
            made[name] = parity_adapter.load(config["family"], config, state)
        return made[name]

    return network


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


def case_inputs(case):
    """Images by the public rule, in the range that the family takes."""
    height, width = case["size"]
    shape = case["shape"]
    count = int(np.prod(shape[:-3]))
    images = [
        torch.from_numpy(parity_vectors.images_u8(key, count, height, width).reshape(shape)).float()
        / 255
        for key in case["image_keys"]
    ]
    if case["family"] == "dust3r":
        return {"img1": (images[0] - 0.5) / 0.5, "img2": (images[1] - 0.5) / 0.5}
    return {"images": images[0]}


@pytest.mark.parametrize("case", ABOUT["cases"], ids=lambda case: case["name"])
def test_whole_networks_give_the_official_outputs(case, networks):
    outputs = parity_adapter.run(networks(case["config"]), case["family"], case_inputs(case))
    assert set(outputs) == set(case["noise_fp32"])
    s = case["stride"]
    for name, noise in case["noise_fp32"].items():
        ours = outputs[name].numpy()
        if not name.startswith("pose_enc"):
            ours = ours[..., ::s, ::s, :] if ours.shape[-1] in (1, 3) else ours[..., ::s, ::s]
        error = parity_vectors.relative_error(ours, ARRAYS[f"{case['name']}/{name}"])
        assert error < max(TOLERANCE, 3 * noise), name


@pytest.mark.parametrize(("family", "count"), [("dust3r", 9), ("vdpm", 13)])
def test_modules_give_the_official_outputs(family, count, networks):
    prefix = f"{family}/"
    arrays = {k.removeprefix(prefix): ARRAYS[k] for k in ARRAYS.files if k.startswith(prefix)}
    answers = getattr(parity_modules, f"{family}_modules")(networks(NETS[family]), arrays)
    assert len(answers) == count
    for name, ours in answers.items():
        assert parity_vectors.relative_error(ours, arrays[name]) < TOLERANCE, name


@needs_shared
@pytest.mark.parametrize(
    ("family", "stages_of", "modules", "stages"),
    [("dust3r", "dust3r_64x96_b1", 17, 21), ("vdpm", "vdpm_56x84_s2", 29, 11)],
)
def test_every_module_and_stage_of_the_whole_set(family, stages_of, modules, stages, networks):
    network = networks(NETS[family])
    arrays = dict(np.load(parity_vectors.SHARED / f"modules_{family}.npz"))
    answers = getattr(parity_modules, f"{family}_modules")(network, arrays)
    assert len(answers) == modules
    errors = {
        name: parity_vectors.relative_error(ours, arrays[name]) for name, ours in answers.items()
    }
    case = np.load(parity_vectors.SHARED / f"{stages_of}.npz")
    u8 = np.concatenate([case["img1"], case["img2"]]) if family == "dust3r" else case["images"][0]
    arrays = dict(np.load(parity_vectors.SHARED / f"stages_{stages_of}.npz"))
    staged = getattr(parity_modules, f"{family}_stages")(
        network, arrays, torch.from_numpy(u8).float() / 255
    )
    assert len(staged) == stages
    errors |= {
        name: parity_vectors.relative_error(ours, arrays[name]) for name, ours in staged.items()
    }
    assert max(errors.values()) < TOLERANCE, errors


@needs_shared
def test_fill_rule_matches_the_published_checksums():
    import zlib

    published = json.loads((parity_vectors.SHARED / "fill_check.json").read_text())
    for name, entry in published["tensors"].items():
        values = parity_vectors.filled({name: tuple(entry["shape"])})[name].numpy()
        assert f"{zlib.crc32(values.tobytes()):08x}" == entry["crc32"], name


def test_large_has_exactly_the_tensors_of_the_released_dust3r():
    official = ABOUT["keys"]["dust3r_512dpt"]
    assert len(official) == 1009
    with torch.device("meta"):
        config = pair_config(pair_state(official), {})
        ours = shapes_of(PairNetwork(config).state_dict())
    assert ours == pair_state(official)
    unused = {name for name in official if UNUSED.fullmatch(name)}
    aliases = {name for name in official if ".layer_rn." in name}
    assert len(unused) == 1 + 2 * 4
    assert len(aliases) == 8
    assert len(ours) == 1009 - len(unused) - len(aliases)
    assert (config.enc_depth, config.enc_heads, config.dec_depth, config.dec_heads) == (
        24,
        16,
        12,
        12,
    )
    assert config.hooks == (0, 6, 9, 12)


@pytest.mark.parametrize(
    ("net", "time", "count", "dropped", "parameters"),
    [("vdpm", True, 1478, 1, 1_661_508_918), ("vggt1b", False, 1797, None, 1_256_537_516)],
)
def test_multi_view_has_exactly_the_tensors_of_the_released_files(
    net, time, count, dropped, parameters
):
    official = ABOUT["keys"][net]
    assert len(official) == count
    assert sum(int(np.prod(shape)) for shape in official.values()) == parameters
    used = multi_view_state(official, time=time)
    config = multi_view_config(used, {})
    with torch.device("meta"):
        assert shapes_of(MultiViewNetwork(config).state_dict()) == used
    left = set(official) - set(used)
    if dropped is None:
        assert all("mask_token" in n or n.startswith("track_head.") for n in left)
    else:
        assert left == {"aggregator.patch_embed.mask_token"}
        assert config == MultiViewConfig()
