"""Passes of a clip by the oracle, and how far an alignment is from the truth."""

import numpy as np
import torch
from oracle import OracleNoise, OraclePredictor

from dpm_cli.align import Alignment, Passes
from dpm_cli.geometry.procrustes import fit_similarity
from dpm_cli.geometry.reduce import reduce_pair
from dpm_cli.geometry.rigid import invert, transform, transform_map


def graph(frames: int, strides: tuple[int, ...] = (1, 2, 4, 8)) -> np.ndarray:
    return np.array([(i, i + s) for s in strides for i in range(frames - s)])


def gather(
    clip,
    pairs,
    noise: OracleNoise,
    K=None,
    *,
    stride: int = 4,
    batch: int = 8,
) -> Passes:
    """Reduce the oracle's answers for `pairs` as the pipeline does."""
    oracle = OraclePredictor(clip, noise)
    parts = [_rows(oracle, pairs[k : k + batch], K, stride) for k in range(0, len(pairs), batch)]
    return Passes(**{name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def _rows(oracle: OraclePredictor, rows: np.ndarray, K, stride: int) -> dict[str, np.ndarray]:
    features = [oracle.features(rows[:, v].tolist()) for v in (0, 1)]
    r = reduce_pair(oracle.predict(*features), K, K)
    grid = (..., slice(stride // 2, None, stride), slice(stride // 2, None, stride))
    names = (
        "cam2_from_cam1",
        "pose_covariance",
        "pose_inliers",
        "twist_per_log_focal",
        "focal_px",
        "focal_sigma_log",
    )
    return {
        "pairs": rows,
        **{name: getattr(r, name).numpy() for name in names},
        "log_depth": r.depth.log()[grid].numpy(),
        "confidence": r.confidence[grid].numpy(),
        "status": np.array(r.status, dtype="U12"),
    }


def path_error(found: Alignment, clip) -> float:
    """RMS of the camera centres after the best similarity, over the length of the path."""
    centres, truth = torch.from_numpy(found.cameras.cam2world[:, :3, 3]), clip.cam2world[:, :3, 3]
    S = fit_similarity(centres, truth, scale="least-squares")
    return float((transform(S, centres) - truth).square().sum(-1).mean().sqrt()) / clip.path_length


def scale_drift(found: Alignment, passes: Passes, clip) -> float:
    """Largest difference between two frames of log (aligned depth / true depth)."""
    h = passes.log_depth.shape[2]
    stride = clip.size[0] // h
    level = np.zeros(len(clip))
    for t in range(len(clip)):
        depth = transform_map(invert(clip.cam2world[t]), clip.hit(t)[0])[..., 2].log().numpy()
        truth = depth[stride // 2 :: stride, stride // 2 :: stride]
        mine = [(e, v) for e, v in np.argwhere(passes.pairs == t) if found.usable[e]]
        level[t] = np.median(
            [np.median(passes.log_depth[e, v] + found.log_scale[e] - truth) for e, v in mine]
        )
    return float(np.ptp(level))
