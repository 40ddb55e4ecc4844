"""Golden vectors of the public networks: the rule that fills their weights, and the share kept in the repository.

The rule is a public function of tensor names; tests/data/parity.npz holds key lists and outputs of the official
networks filled by it (no weights and no code of theirs). The whole set is used where DPM_SHARED or ../shared has it.
"""

import json
import lzma
import math
import os
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "data"
SHARED = Path(os.environ.get("DPM_SHARED", Path(__file__).parents[2] / "shared")) / "parity"

GAIN = {
    "attn.qkv.weight": 1.5,
    "projq.weight": 2.5,
    "projk.weight": 2.5,
    "patch_embed.proj.weight": 0.1,
    "act_postprocess.0.1.weight": 4,
    "act_postprocess.1.1.weight": 2,
    "resize_layers.0.weight": 4,
    "resize_layers.1.weight": 2,
    "act_postprocess.1.0.weight": 0.25,
    "act_postprocess.2.0.weight": 0.25,
    "head.4.weight": 0.4,
    "output_conv2.2.weight": 0.6,
    "pose_branch.fc2.weight": 0.4,
}
NORM = {
    "q_norm.weight": (0.2, 1.5),
    "k_norm.weight": (0.2, 1.5),
    "patch_embed.norm.weight": (0.01, 0.05),
}
BIAS = {
    "projq.bias": 0.4,
    "projk.bias": 0.4,
    "q_norm.bias": 0.4,
    "k_norm.bias": 0.4,
    "patch_embed.proj.bias": 0.005,
    "patch_embed.norm.bias": 0.01,
}


def by_suffix(table, name, default):
    return next((value for suffix, value in table.items() if name.endswith(suffix)), default)


def scale_and_offset(name, shape):
    if name.endswith("gamma"):
        return 0.1, 0.2
    if name.endswith("bias"):
        return by_suffix(BIAS, name, 0.1), 0.0
    if name.endswith("weight") and len(shape) == 1:
        return by_suffix(NORM, name, (0.2, 1.0))
    if name.endswith("weight"):
        return by_suffix(GAIN, name, 1.0) / math.sqrt(math.prod(shape[1:])), 0.0
    return 0.5, 0.0


def filled(keys):
    """{name: shape} to {name: tensor}; the two names of an aliased tensor get the same values."""
    state = {}
    for name, shape in keys.items():
        for i in range(4):
            name = name.replace(f".scratch.layer_rn.{i}.", f".scratch.layer{i + 1}_rn.")
        scale, offset = scale_and_offset(name, shape)
        rng = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
        values = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale) + np.float32(
            offset
        )
        state[name] = torch.from_numpy(values)
    return {name: state.get(name, state[canonical(name)]) for name in keys}


MOGE_GAIN = {
    "resamplers.0.0.weight": 1.5,
    "resamplers.1.0.weight": 1.5,
    "resamplers.2.0.weight": 1.5,
    "resamplers.3.1.weight": 0.4,
    "points_head.output_blocks.4.weight": 0.2,
    "mask_head.output_blocks.4.weight": 1.5,
}
MOGE_DIAGONAL = {
    "neck.input_blocks.4.weight": 3.0,
    "points_head.input_blocks.4.weight": 2.0,
    "points_head.output_blocks.4.weight": 0.25,
}
MOGE_CONSTANT = {
    "encoder.image_mean": (0.485, 0.456, 0.406),
    "encoder.image_std": (0.229, 0.224, 0.225),
}


def filled_moge(keys):
    """The rule with MoGe's three additions: other gains, u and v let through, the means of the images."""
    state = {}
    for name, shape in keys.items():
        if name in MOGE_CONSTANT:
            state[name] = torch.tensor(MOGE_CONSTANT[name]).reshape(shape)
            continue
        scale, offset = scale_and_offset(name, shape)
        gain = by_suffix(MOGE_GAIN, name, None)
        if gain is not None:
            scale = gain / math.sqrt(math.prod(shape[1:]))
        rng = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
        values = rng.standard_normal(shape, dtype=np.float32)
        values = values * np.float32(scale) + np.float32(offset)
        if name in MOGE_DIAGONAL:
            values[[0, 1], [0, 1]] += np.float32(MOGE_DIAGONAL[name])
        state[name] = torch.from_numpy(values)
    return state


def canonical(name):
    for i in range(4):
        name = name.replace(f".scratch.layer_rn.{i}.", f".scratch.layer{i + 1}_rn.")
    return name


def images_u8(key, n, height, width):
    """Three octaves of bilinear value noise (n, 3, H, W), by the public rule."""
    rng, v = np.random.Generator(np.random.Philox(key=key)), np.zeros((n, 3, height, width))
    for cell, amp in ((32, 0.5), (8, 0.3), (2, 0.2)):
        g = rng.random((n, 3, height // cell + 2, width // cell + 2))
        y, x = np.arange(height) / cell, np.arange(width) / cell
        i, j = y.astype(int), x.astype(int)
        fy, fx = (y - i)[:, None], x - j
        rows = g[:, :, i] * (1 - fy) + g[:, :, i + 1] * fy
        v += amp * (rows[..., j] * (1 - fx) + rows[..., j + 1] * fx)
    return np.minimum(np.clip(0.5 + 1.6 * (v - 0.5), 0, 1) * 256, 255).astype(np.uint8)


def kept():
    """The share in the repository: {"keys", "configs", "cases"} and the arrays."""
    about = json.loads(lzma.decompress((DATA / "parity_keys.json.xz").read_bytes()))
    about["keys"] = {
        net: {n: tuple(s) for n, s in keys.items()} for net, keys in about["keys"].items()
    }
    return about, np.load(DATA / "parity.npz")


def relative_error(ours, reference):
    """max |difference| / max |reference|, infinite where shapes differ."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    if ours.shape != reference.shape or not np.isfinite(ours).all():
        return math.inf
    return float(np.abs(ours - reference).max() / np.abs(reference).max())
