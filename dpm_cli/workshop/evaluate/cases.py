"""What a pair of frames can be judged by: the common form of every data set's truth for two images."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from dpm_cli.geometry.rigid import invert, transform_map
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.datasets.four_maps import has_four_maps, pair_truth
from dpm_cli.workshop.datasets.truth import FlowTruth, SceneFlowTruth, SequenceTruth
from dpm_cli.workshop.settings import PAIRS_PER_SEQUENCE

STRIDES = (2, 8)
"""Frames between the two images of the four-map protocol (V-DPM's table 1)."""


@dataclass(frozen=True, eq=False)
class PairCase:
    """Two images and what is known about them; view 1 is the first."""

    dataset: str
    """Name of the table's column: the data set and, where it has one, the stride."""
    name: str
    images: np.ndarray
    """(2, H, W, 3) uint8 RGB."""
    maps: PairTruth | None = None
    """B = 1; maps without truth are not valid."""
    flow: FlowTruth | None = None
    """Image 1 to 2."""
    moving: np.ndarray | None = None
    """(H, W) int8 of image 1: 1 moves, 0 stands, -1 not known."""
    intrinsics: np.ndarray | None = None
    """(2, 3, 3) float64 pixels."""
    object_ids: np.ndarray | None = None
    """(H, W) int64 of image 1: pixels of one number belong together."""
    metric: bool = False
    """Lengths are metres."""


def pair_cases(
    truth: SequenceTruth, *, strides: tuple[int, ...] = STRIDES, most: int = PAIRS_PER_SEQUENCE
) -> Iterator[PairCase]:
    """Every pair of a sequence that has flow, scene flow or four maps; at most `most` of each kind."""
    if has_four_maps(truth):
        for stride in strides:
            starts = np.arange(max(len(truth) - stride, 0))
            for first in _spread(starts, most):
                case = four_map_case(truth, int(first), int(first) + stride)
                name = f"{truth.name} {first}>{first + stride}"
                yield dataclasses.replace(
                    case, dataset=f"{truth.dataset}/stride-{stride}", name=name
                )
        return
    motions = {pair: i for i, pair in enumerate(truth.scene_flow_pairs)}
    known = sorted(set(truth.flow_pairs) | set(motions))
    for index in _spread(np.arange(len(known)), most):
        pair = known[index]
        yield _measured_case(truth, pair, motions.get(pair))


def _spread(items: np.ndarray, most: int) -> np.ndarray:
    if len(items) <= most:
        return items
    return items[np.linspace(0, len(items) - 1, most).round().astype(int)]


def four_map_case(truth: SequenceTruth, first: int, second: int) -> PairCase:
    """Two frames with four-map truth, under the names of their set and sequence."""
    maps = pair_truth(truth, first, second)
    dense = bool(maps.valid[0, 0, 1].any())
    return PairCase(
        dataset=truth.dataset,
        name=truth.name,
        images=np.stack([truth.images[t] for t in (first, second)]),
        maps=maps,
        flow=_flow_of_maps(maps) if dense else None,
        moving=_labels(maps.moving[0, 0], maps.valid[0, 0].all(0)) if dense else None,
        intrinsics=maps.intrinsics[0].double().numpy(),
        object_ids=None if truth.object_ids is None else truth.object_ids[first],
        metric=truth.metric,
    )


def _flow_of_maps(maps: PairTruth) -> FlowTruth:
    """Flow of image 1, judged where the point lands at most one image size outside image 2."""
    flow, known = maps.flow[0, 0].numpy(), maps.valid[0, 0, 1].numpy()
    size = np.array(known.shape[::-1])
    target = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1) + flow
    near = ((target >= -size) & (target < 2 * size)).all(-1)
    return FlowTruth(flow, known & near, maps.visible[0, 0].numpy())


def _labels(moving: torch.Tensor, known: torch.Tensor) -> np.ndarray:
    return torch.where(known, moving.to(torch.int8), -1).numpy().astype(np.int8)


def _measured_case(truth: SequenceTruth, pair: tuple[int, int], motion: int | None) -> PairCase:
    images = np.stack([truth.images[t] for t in pair])
    K = None if truth.intrinsics is None else truth.intrinsics[list(pair)]
    maps, moving = None, None
    if motion is not None and truth.scene_flow is not None and K is not None:
        scene = truth.scene_flow[motion]
        maps, moving = maps_of_scene_flow(scene, images, K), scene.moving
    flow = None
    if truth.flow is not None and pair in truth.flow_pairs:
        flow = truth.flow[truth.flow_pairs.index(pair)]
    return PairCase(
        dataset=truth.dataset,
        name=truth.name if len(truth) == 2 else f"{truth.name} {pair[0]}>{pair[1]}",
        images=images,
        maps=maps,
        flow=flow,
        moving=moving,
        intrinsics=K,
        metric=truth.metric,
    )


def maps_of_scene_flow(scene: SceneFlowTruth, images: np.ndarray, K: np.ndarray) -> PairTruth:
    """Scene flow of view 1 as two of the four maps; without camera motion only P_1(t_1) is known."""
    height, width = scene.valid.shape
    points = torch.zeros(1, 2, 2, height, width, 3)
    valid = torch.zeros(1, 2, 2, height, width, dtype=torch.bool)
    points[0, 0, 0] = torch.from_numpy(scene.points_first)
    valid[0, 0, 0] = torch.from_numpy(scene.valid)
    cam2_from_cam1 = torch.eye(4, dtype=torch.float64)
    if scene.second_from_first is not None:
        cam2_from_cam1 = torch.from_numpy(scene.second_from_first)
        later = transform_map(
            invert(cam2_from_cam1), torch.from_numpy(scene.points_second).double()
        )
        points[0, 0, 1] = later.float()
        valid[0, 0, 1] = valid[0, 0, 0]
    moving = torch.zeros(1, 2, height, width, dtype=torch.bool)
    if scene.moving is not None:
        moving[0, 0] = torch.from_numpy(scene.moving == 1)
    nothing = torch.zeros(1, 2, height, width, dtype=torch.bool)
    return PairTruth(
        images=torch.from_numpy(images).permute(0, 3, 1, 2)[None].float() / 255,
        points=points * valid[..., None],
        valid=valid,
        moving=moving & valid[:, :, 0],
        visible=nothing,
        flow=torch.zeros(1, 2, height, width, 2),
        intrinsics=torch.from_numpy(K)[None].float(),
        cam2_from_cam1=cam2_from_cam1[None].float(),
        supervision=torch.zeros(1, dtype=torch.int64),
    )
