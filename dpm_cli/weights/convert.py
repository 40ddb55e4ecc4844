"""From the names of public checkpoints to ours, and from tensor shapes to the config that fits them.

Nothing but names and shapes is looked at, so a full-size file is understood without reading its tensors.
Everything that a forward pass does not use is named in `UNUSED`; whatever else is missing or too much is an
error of the loader.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from dpm_cli.network.moge.config import LEVELS, MogeConfig
from dpm_cli.network.pair_config import ALL_MAPS, STATIC_MAPS, MapName, PairConfig
from dpm_cli.network.vggt.config import MultiViewConfig

Shapes = Mapping[str, tuple[int, ...]]
T = TypeVar("T")

HEAD_DIM = 64
"""Channels a head in all released encoders and DUSt3R decoders; used where a file does not say."""
WIDE_HEAD_DIM = 128
"""The same in VGGT's camera head."""
UNUSED = re.compile(
    r"mask_token"
    r"|downstream_head\d\.dpt\.scratch\.refinenet4\.resConfUnit1\..*"
    r"|aggregator\.patch_embed\.mask_token"
    r"|track_head\..*"
    r"|encoder\.backbone\.mask_token"
)
"""Tensors of public files that no forward pass of ours reads."""
HEADS_OF: dict[str, MapName] = {"downstream_head1": "p11", "downstream_head2": "p22"}


def pair_name(public: str) -> str | None:
    """Our name of a DUSt3R tensor, None for one that is not used."""
    if UNUSED.fullmatch(public):
        return None
    # A .pth has this tensor under two names, a safetensors file under one of them.
    name = re.sub(
        r"\.scratch\.layer_rn\.(\d)\.", lambda m: f".scratch.layer{int(m[1]) + 1}_rn.", public
    )
    match = re.fullmatch(r"(downstream_head[12])\.(?:dpt\.)?(.+)", name)
    return f"heads.{HEADS_OF[match[1]]}.{match[2]}" if match else name


def pair_state(public: Mapping[str, T]) -> dict[str, T]:
    """DUSt3R's or MonST3R's tensors under our names."""
    return {ours: value for name, value in public.items() if (ours := pair_name(name))}


def duplicate_heads(state: Mapping[str, T]) -> dict[str, T]:
    """Give the static heads to the other time too: p11 to p12, p22 to p21 (as the paper starts)."""
    copies = {
        name.replace(f"heads.{own}.", f"heads.{other}.", 1): value
        for own, other in (("p11", "p12"), ("p22", "p21"))
        for name, value in state.items()
        if name.startswith(f"heads.{own}.")
    }
    return {**state, **copies}


def multi_view_state(public: Mapping[str, T], *, time: bool) -> dict[str, T]:
    """VGGT's or V-DPM's tensors; the names are ours already. V-DPM never had a depth head of its own."""
    return {
        name: value
        for name, value in public.items()
        if not UNUSED.fullmatch(name) and not (time and name.startswith("depth_head."))
    }


def pair_config(shapes: Shapes, arguments: Mapping[str, Any]) -> PairConfig:
    """Config of a state under our names; `arguments` are those stored with a public file, if any.

    Raises ValueError where the arguments ask for another network, KeyError for a tensor that is not there.
    """
    _require_dust3r_modes(arguments)
    enc_width, patch = shapes["patch_embed.proj.weight"][0], shapes["patch_embed.proj.weight"][-1]
    dec_width = shapes["decoder_embed.weight"][0]
    dec_depth = _count(shapes, "dec_blocks")
    maps = tuple(m for m in ALL_MAPS if any(name.startswith(f"heads.{m}.") for name in shapes))
    values: dict[str, Any] = {
        "patch_size": patch,
        "enc_width": enc_width,
        "enc_depth": _count(shapes, "enc_blocks"),
        "enc_heads": _heads(arguments.get("enc_num_heads"), enc_width, HEAD_DIM),
        "dec_width": dec_width,
        "dec_depth": dec_depth,
        "dec_heads": _heads(arguments.get("dec_num_heads"), dec_width, HEAD_DIM),
        "maps": maps or STATIC_MAPS,
        "head": "linear" if "heads.p11.proj.weight" in shapes else "dpt",
        "hooks": (0, dec_depth * 2 // 4, dec_depth * 3 // 4, dec_depth),
    }
    if "heads.p11.scratch.layer1_rn.weight" in shapes:
        stages = "heads.p11.act_postprocess"
        values["dpt_levels"] = tuple(shapes[f"{stages}.{k}.0.weight"][0] for k in range(4))
        values["dpt_features"] = shapes["heads.p11.scratch.layer1_rn.weight"][0]
        values["dpt_last"] = shapes["heads.p11.head.0.weight"][0]
    return PairConfig(**values)


def multi_view_config(shapes: Shapes, arguments: Mapping[str, Any]) -> MultiViewConfig:
    """Config of a VGGT or V-DPM state; `arguments` may name head counts and hooks."""
    vit = "aggregator.patch_embed"
    width = shapes[f"{vit}.patch_embed.proj.weight"][0]
    depth = _count(shapes, "aggregator.frame_blocks")
    head_dim = shapes["aggregator.frame_blocks.0.attn.q_norm.weight"][0]
    decoder_depth = _count(shapes, "decoder.frame_blocks.0")
    values: dict[str, Any] = {
        "patch_size": shapes[f"{vit}.patch_embed.proj.weight"][-1],
        "width": width,
        "vit_depth": _count(shapes, f"{vit}.blocks"),
        "vit_heads": _heads(arguments.get("vit_heads"), width, HEAD_DIM),
        "position_grid": round((shapes[f"{vit}.pos_embed"][1] - 1) ** 0.5),
        "registers": shapes["aggregator.register_token"][2],
        "depth": depth,
        "heads": width // head_dim,
        "hooks": tuple(arguments.get("intermediate_layer_idx", MultiViewConfig.hooks)),
        "decoder_depth": decoder_depth,
        "camera_depth": _count(shapes, "camera_head.trunk"),
        "camera_heads": _heads(arguments.get("camera_heads"), 2 * width, WIDE_HEAD_DIM),
        "camera_iterations": arguments.get("camera_iterations", MultiViewConfig.camera_iterations),
        "dpt_features": shapes["point_head.scratch.layer1_rn.weight"][0],
        "dpt_levels": tuple(shapes[f"point_head.projects.{k}.weight"][0] for k in range(4)),
        "depth_head": "depth_head.norm.weight" in shapes,
    }
    if decoder_depth:
        wide = shapes["decoder.frame_blocks.0.0.attn.q_norm.weight"][0]
        values["decoder_heads"] = 2 * width // wide
    return MultiViewConfig(**values)


def moge_state(public: Mapping[str, T]) -> dict[str, T]:
    """MoGe-2's tensors that are used; the names are ours already."""
    return {name: value for name, value in public.items() if not UNUSED.fullmatch(name)}


def moge_config(shapes: Shapes, arguments: Mapping[str, Any]) -> MogeConfig:
    """Config of a MoGe-2 state; `arguments` is the `model_config` that public files carry.

    Where it is missing the tapped blocks are taken to be evenly spaced, as in all released sizes.
    """
    if (asked := arguments.get("remap_output", "exp")) != "exp":
        raise ValueError(f"remap_output={asked!r} in the file's config: only 'exp' is known here")
    vit = "encoder.backbone"
    width = shapes[f"{vit}.patch_embed.proj.weight"][0]
    depth = _count(shapes, f"{vit}.blocks")
    count = _count(shapes, "encoder.output_projections")
    even = [depth * (k + 1) // count - 1 for k in range(count)]
    taps = tuple(arguments.get("encoder", {}).get("intermediate_layers", even))
    if len(taps) != count:
        raise ValueError(f"layers {taps} for {count} projections")
    return MogeConfig(
        patch_size=shapes[f"{vit}.patch_embed.proj.weight"][-1],
        width=width,
        depth=depth,
        heads=_heads(None, width, HEAD_DIM),
        position_grid=round((shapes[f"{vit}.pos_embed"][1] - 1) ** 0.5),
        taps=taps,
        encoder_channels=shapes["encoder.output_projections.0.weight"][0],
        levels=tuple(shapes[f"neck.input_blocks.{k}.weight"][0] for k in range(LEVELS)),
        neck_blocks=tuple(_count(shapes, f"neck.res_blocks.{k}") for k in range(LEVELS)),
        head_blocks=tuple(_count(shapes, f"points_head.res_blocks.{k}") for k in range(LEVELS)),
        scale_hidden=tuple(
            shapes[f"scale_head.{2 * k}.weight"][0] for k in range(_count(shapes, "scale_head") - 1)
        ),
        normals="normal_head.input_blocks.0.weight" in shapes,
    )


def _count(shapes: Shapes, prefix: str) -> int:
    """Number of blocks under `prefix`; depths come from the tensors, never from what a file claims."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return len({m[1] for name in shapes if (m := pattern.match(name))})


def _heads(claimed: Any, width: int, head_dim: int) -> int:
    heads = claimed if isinstance(claimed, int) else max(width // head_dim, 1)
    if heads < 1 or width % heads or width // heads % 4:
        raise ValueError(f"{heads} attention heads do not fit a width of {width}")
    return heads


def _require_dust3r_modes(arguments: Mapping[str, Any]) -> None:
    """Refuse a file whose stored arguments ask for another arithmetic than the released ones."""
    expected = {
        "pos_embed": "RoPE100",
        "output_mode": "pts3d",
        "depth_mode": "exp",
        "conf_mode": "exp",
    }
    for key, want in expected.items():
        value = arguments.get(key, want)
        got = value[0] if isinstance(value, tuple | list) and value else value
        if got != want:
            raise ValueError(f"{key}={got!r} in the file's arguments: only {want!r} is known here")
