"""Optical flow of `dpm_cli.matching` beside DIS medium: every pair with truth in a folder, and rendered pairs.

    python tests/flow_table.py TRUTH OUTPUT.json [--rendered 8] [--thorough]

TRUTH holds sintel_flow, kitti_flow_pair, kitti_sceneflow, flyingchairs, rgbd_open3d; what is not there is
left out. Of static RGB-D video the flow follows from depth and poses, over 1 and 5 frames (7-Scenes is not among them:
its depth comes from another camera, centimetres beside, which is tens of pixels near by). Errors are of all pixels with
truth (KITTI: `occ`), of rendered pairs of those seen in both. Seconds are of one pair, both ways, on one core, with
features and edges measured anew. Ratio = our mean error over that of DIS; the last row is its geometric mean. Under
each table stands the calibration: pixels in eight bins of equal size by the error that `dense_match` expects, and the
measured mean error over the expected one in each.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from dpm_cli.matching.dense_match import dense_match, structure_tensor
from dpm_cli.matching.dis import dis_flow
from dpm_cli.matching.measure import measure_flow
from dpm_cli.matching.picture import Picture
from dpm_cli.workshop.datasets import read_dataset

SETS = {
    "sintel-clean": "sintel_flow",
    "sintel": "sintel_flow",
    "kitti-flow": "kitti_flow_pair",
    "kitti-sceneflow": "kitti_sceneflow",
    "flyingchairs": "flyingchairs",
    "redwood": "rgbd_open3d",
}
STEPS, PAIRS_OF_VIDEO = (1, 5), 3
BINS, SAMPLES = 8, 50_000


def pairs_of(root):
    """(name, image 1, image 2, flow, where it is known) of every pair under `root`."""
    for dataset, folder in SETS.items():
        if not (root / folder).is_dir():
            continue
        for truth in read_dataset(dataset, root / folder):
            for index, (i, j) in enumerate(truth.flow_pairs):
                assert truth.flow is not None
                found = truth.flow[index]
                name = f"{dataset} {truth.name} {i}-{j}"
                yield name, truth.images[i], truth.images[j], found.flow, found.valid
            if truth.static and not truth.flow_pairs:
                yield from rigid_pairs(dataset, truth)


def rigid_pairs(dataset, truth):
    """Pairs of a static video with depth and poses; only pixels whose depth agrees with the other frame's."""
    for step in STEPS:
        last = len(truth) - step
        for i in np.linspace(0, last, PAIRS_OF_VIDEO, endpoint=False).astype(int):
            j = int(i) + step
            if j >= len(truth):
                continue
            flow, seen = rigid_flow(truth, int(i), j)
            yield f"{dataset} {i}-{j}", truth.images[int(i)], truth.images[j], flow, seen


def rigid_flow(truth, i, j):
    """Flow (H, W, 2) of a static scene from frame i to j, and where both depths see the same point."""
    depth, other = truth.depth[i], truth.depth[j]
    height, width = depth.shape
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height), indexing="xy"), -1)
    rays = np.concatenate((pixels, np.ones((height, width, 1))), -1)
    points = rays @ np.linalg.inv(truth.intrinsics[i]).T * depth[..., None]
    second_from_first = np.linalg.inv(truth.cam2world[j]) @ truth.cam2world[i]
    points = points @ second_from_first[:3, :3].T + second_from_first[:3, 3]
    z = np.maximum(points[..., 2], 1e-6)
    image = points @ truth.intrinsics[j].T
    target = (image[..., :2] / z[..., None]).astype(np.float32)
    there = cv2.remap(other.astype(np.float32), target[..., 0], target[..., 1], cv2.INTER_NEAREST)
    seen = (depth > 0) & (depth < truth.max_depth) & (np.abs(there - z) < 0.03 * z)
    return target - pixels.astype(np.float32), seen


def rendered_pairs(count, size=(288, 512)):
    """Neighbours and frames four apart of rendered clips that no weights were trained on."""
    from dpm_cli.workshop.synthetic import render_clips, scene_seed

    for index in range(2000, 2000 + count):
        clip = render_clips([scene_seed("val", index)], 9, size)
        for step in (1, 4):
            pair = clip.pair(0, step)
            images = (pair.images[0] * 255).round().byte().permute(0, 2, 3, 1).numpy()
            yield (
                f"rendered {index} 0-{step}",
                images[0],
                images[1],
                pair.flow[0, 0].numpy(),
                pair.visible[0, 0].numpy(),
            )


def scores(flow, truth, valid):
    """Mean end-point error, and the share of outliers by KITTI's rule (3 px and 5 %), in per cent."""
    error = np.linalg.norm(flow - truth, axis=-1)[valid]
    length = np.linalg.norm(truth, axis=-1)[valid]
    outliers = (error > 3) & (error > 0.05 * length)
    return {"epe": float(error.mean()), "fl": 100 * float(outliers.mean())}


def timed(measure):
    """What `measure` returns and the seconds it took."""
    start = time.perf_counter()
    found = measure()
    return found, time.perf_counter() - start


def ours(first, second, thorough):
    """Flow both ways as measured by a matcher that has never seen the images."""
    return measure_flow(Picture(first), Picture(second), thorough=thorough)


def expected(both, grey):
    """Expected error (H, W) in pixels of the flow from image 1 to 2."""
    flow = torch.from_numpy(np.stack(both))[None]
    tensors = structure_tensor(torch.from_numpy(np.stack(grey)).float())[None]
    return dense_match(flow, tensors).expected_px[0, 0].numpy()


def calibration(samples):
    """Measured over expected mean error in `BINS` bins of samples (expected, measured), the sure ones first."""
    said, found = (np.concatenate(column) for column in zip(*samples, strict=True))
    bins = np.array_split(np.argsort(said), BINS)
    return [float(found[b].mean() / said[b].mean()) for b in bins]


def row(name, first, second, truth, valid, thorough):
    """All numbers of one pair."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    (plain, _), plain_s = timed(lambda: (dis_flow(*grey), dis_flow(grey[1], grey[0])))
    both, seconds = timed(lambda: ours(first, second, thorough))
    flow = both[0]
    dis = {**scores(plain, truth, valid), "seconds": plain_s}
    dpm = {**scores(flow, truth, valid), "seconds": seconds}
    length = float(np.linalg.norm(truth, axis=-1)[valid].mean())
    error = np.linalg.norm(flow - truth, axis=-1)[valid]
    # As many pixels of every pair, whatever its size.
    chosen = np.random.default_rng(0).integers(0, len(error), SAMPLES)
    sample = expected(both, grey)[valid][chosen], error[chosen]
    return {"pair": name, "length_px": length, "dis": dis, "dpm": dpm}, sample


def line(entry):
    """One row of the markdown table."""
    numbers = [
        f"{entry[who][key]:{form}}"
        for key, form in (("epe", ".3f"), ("fl", ".1f"), ("seconds", ".2f"))
        for who in ("dis", "dpm")
    ]
    ratio = entry["dpm"]["epe"] / entry["dis"]["epe"]
    return f"| {entry['pair']} | {entry['length_px']:.1f} | {' | '.join(numbers)} | {ratio:.2f} |"


def main():
    """Print the table row by row, then the summary of real and of rendered pairs."""
    parser = argparse.ArgumentParser(description="Optical flow beside DIS medium.")
    parser.add_argument("truth", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rendered", type=int, default=8)
    parser.add_argument("--thorough", action="store_true")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    print("| pair | length px | EPE DIS | dpm | Fl % DIS | dpm | s DIS | dpm | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    summary = {}
    for kind, found in (
        ("real and film", pairs_of(asked.truth)),
        ("rendered", rendered_pairs(asked.rendered)),
    ):
        entries, samples = [], []
        for pair in found:
            entry, sample = row(*pair, asked.thorough)
            entries.append(entry)
            samples.append(sample)
            print(line(entries[-1]), flush=True)
        ratios = np.array([e["dpm"]["epe"] / e["dis"]["epe"] for e in entries])
        if len(ratios):
            mean = float(np.exp(np.log(ratios).mean()))
            print(
                f"| {kind}: {len(ratios)} pairs, worst {ratios.max():.2f} | | | | | | | | {mean:.3f} |"
            )
            print("measured over expected error:", *(f"{r:.2f}" for r in calibration(samples)))
            print()
        summary[kind] = entries
    asked.output.write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
