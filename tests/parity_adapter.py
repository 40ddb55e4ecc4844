"""Door for checking our networks against any vectors of the public ones (DUSt3R, VGGT, V-DPM, MoGe-2)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dpm_cli.network.large import PairNetwork
from dpm_cli.network.moge.model import MogeNetwork
from dpm_cli.network.moge.pinhole import pinhole_view
from dpm_cli.network.vggt.multi_view import MultiViewNetwork
from dpm_cli.weights.convert import pair_config, pair_state
from dpm_cli.weights.inspect import shapes_of
from dpm_cli.weights.load import fill, moge_from_state, multi_view_from_state


def load(family: str, config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> nn.Module:
    """Network of a public state dict, through the same conversion as a user's file."""
    if family == "dust3r":
        state = pair_state(state_dict)
        fitting = pair_config(shapes_of(state), config)
        return fill(lambda: PairNetwork(fitting), state, "state_dict")
    if family == "moge":
        return moge_from_state(state_dict, config, "state_dict")
    return multi_view_from_state(state_dict, config, "state_dict", time=family == "vdpm")


def run(net: nn.Module, family: str, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Outputs by the names of the golden vectors."""
    with torch.no_grad():
        if isinstance(net, PairNetwork):
            return run_pair(net, inputs["img1"], inputs["img2"])
        if isinstance(net, MogeNetwork):
            return run_moge(net, inputs["image"], int(inputs["num_tokens"]), float(inputs["fov_x"]))
        assert isinstance(net, MultiViewNetwork)
        return (
            run_vggt(net, inputs["images"]) if family == "vggt" else run_vdpm(net, inputs["images"])
        )


def run_pair(net: PairNetwork, image_1: Tensor, image_2: Tensor) -> dict[str, Tensor]:
    """DUSt3R's inputs are in [-1, 1], ours in [0, 1]."""
    maps = net((image_1 + 1) / 2, (image_2 + 1) / 2)
    points, certainty = maps.points, maps.certainty
    return {
        "pts3d_1": points[:, 0, 0],
        "conf_1": certainty[:, 0, 0],
        "pts3d_2": points[:, 1, 1],
        "conf_2": certainty[:, 1, 1],
    }


def focal_from_fov_x(fov_x_rad: Tensor, aspect: float) -> Tensor:
    """Focal length in half diagonals of a horizontal field of view."""
    return aspect * (1 + aspect**2) ** -0.5 / (fov_x_rad / 2).tan()


def run_moge(net: MogeNetwork, images: Tensor, tokens: int, fov_x_deg: float) -> dict[str, Tensor]:
    """The network's maps, then depth and camera with the focal length found and given."""
    maps = net(images, tokens, normals=True)
    aspect = images.shape[-1] / images.shape[-2]
    given = focal_from_fov_x(torch.full((len(images),), fov_x_deg).double().deg2rad(), aspect)
    out = {"points": maps.points, "mask": maps.mask, "metric_scale": maps.metric_scale}
    if maps.normal is not None:
        out["normal"] = maps.normal
    for prefix, view in (("", pinhole_view(maps)), ("fov_", pinhole_view(maps, given))):
        out |= {
            f"{prefix}depth": view.depth,
            f"{prefix}points_metric": view.points,
            f"{prefix}intrinsics": view.intrinsics,
            f"{prefix}valid": view.valid,
            f"{prefix}shift": view.fit.shift,
        }
        out.setdefault("focal", view.fit.focal)
    return out


def run_vggt(net: MultiViewNetwork, images: Tensor) -> dict[str, Tensor]:
    """All dense heads of all frames."""
    window = net.aggregate(net.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2]))
    points, certainty = net.point_maps(window.layers, window.grid)
    depth, depth_certainty = net.depths(window)
    return {
        "pose_enc": net.cameras(window)[-1],
        "world_points": points,
        "world_points_conf": certainty,
        "depth": depth[..., None],
        "depth_conf": depth_certainty,
    }


def run_vdpm(net: MultiViewNetwork, images: Tensor) -> dict[str, Tensor]:
    """Every frame at every frame's time, and the maps without the time decoder."""
    window = net.aggregate(net.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2]))
    maps = [net.maps(window, target) for target in range(window.frames)]
    points, certainty = net.point_maps(window.layers, window.grid)
    return {
        "pts3d": torch.stack([m[0][0] for m in maps]),
        "conf": torch.stack([m[1][0] for m in maps]),
        "pose_enc": net.cameras(window)[-1][0],
        "pts3d_undecoded": points[0],
        "conf_undecoded": certainty[0],
    }
