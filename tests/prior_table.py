"""What a depth prior brings: whole reconstructions of rendered clips with oracle priors, wrong priors and none.

    python tests/prior_table.py OUTPUT [--models geometric dpm-mini] [--split val] [--index 40] [--priors none 0.04 ...]

A prior is `none`, a level (mean AbsRel of the oracle), or a wrong one (other, constant, inverted). Prints one row a
clip, model and prior and then the means of still and of moving clips; OUTPUT/prior_table.json keeps the numbers.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import oracle_prior

from dpm_cli.config import ReconstructSettings
from dpm_cli.pipeline import reconstruct
from dpm_cli.workshop.datasets.synth import read_synth
from dpm_cli.workshop.evaluate.sequence_scores import score_sequence
from dpm_cli.workshop.metrics.pointmaps import four_map_epe
from dpm_cli.workshop.settings import SynthSettings
from dpm_cli.workshop.synthetic.files import render_files

CAMERAS = ("dolly", "orbit", "hand", "still", "still", "still", "pan")
NAMES = (
    "absrel",
    "epe",
    "focal_error",
    "motion_iou",
    "ate_share",
    "step_rot_deg",
    "scene_flow_movers",
)
SIZE, FRAMES = (192, 288), 8


def clips(output, split, index, cameras=CAMERAS):
    """(camera, folder, truth) of every clip, rendered where it is not there yet."""
    for number, camera in enumerate(CAMERAS, index):
        if camera not in cameras:
            continue
        folder = output / "clips" / f"{number}_{camera}"
        if not folder.is_dir():
            render_files(
                folder,
                SynthSettings(
                    split=split,
                    index=number,
                    frames=FRAMES,
                    size=SIZE,
                    camera=camera,
                    form="frames",
                    device="cpu",
                ),
            )
        yield camera, folder, read_synth(folder)[0]


def epe(result, truth):
    """Mean four-map EPE of neighbours, from the run's points and scene flow."""
    found = []
    for t in range(len(result) - 1):
        first, second = result.frame(t), result.frame(t + 1)
        K, poses = result.intrinsics, result.cam2world
        own, other = (f.points(poses[i], K[i]) for f, i in ((first, t), (second, t + 1)))
        world = np.stack(
            (
                np.stack((own, own + first.scene_flow_fwd)),
                np.stack((other + second.scene_flow_bwd, other)),
            )
        )
        points = (world - poses[t, :3, 3]) @ poses[t, :3, :3]
        exact = truth.four_maps(t, t + 1)
        found.append(four_map_epe(points[None], exact.points.numpy(), exact.valid.numpy()))
    return float(np.nanmean(found))


def make_prior(folder, name, truth, other, seed):
    """Write the maps of a prior and return its folder."""
    depth = np.stack([truth.depth[t] for t in range(len(truth))])
    depth = np.where(np.isfinite(depth), depth, 0)
    sky = depth <= 0
    rng = np.random.default_rng(seed)
    focal = truth.intrinsics[: len(truth), 0, 0]
    if name in oracle_prior.WRONG:
        inverse = oracle_prior.wrong(name, 1 / np.where(sky, depth.max(), depth), other)
        sky, focal = np.zeros_like(sky), focal * 1.3
    else:
        level = float(name)
        inverse = oracle_prior.oracle(depth, level, rng)
        bias = rng.normal(0, oracle_prior.FOCAL_BIAS * level)
        focal = focal * np.exp(bias + rng.normal(0, level / 2, len(focal)))
    oracle_prior.write_maps(folder, inverse, sky, focal)
    return folder


def score(result, truth):
    """The numbers of one run."""
    values = score_sequence(result, truth).values
    values["epe"] = epe(result, truth)
    return {name: values[name] for name in NAMES if name in values}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--models", nargs="+", default=["geometric", "dpm-mini"])
    parser.add_argument("--split", default="val")
    parser.add_argument("--index", type=int, default=40)
    parser.add_argument("--cameras", nargs="+", default=CAMERAS)
    parser.add_argument(
        "--priors", nargs="+", default=["none", "0.04", "0.08", "0.16", *oracle_prior.WRONG]
    )
    options = parser.parse_args()
    found = list(clips(options.output, options.split, options.index, options.cameras))
    rows = []
    for place, (camera, folder, truth) in enumerate(found):
        other = inverse_of(found[(place + 1) % len(found)][2])
        for prior in options.priors:
            maps = "none"
            if prior != "none":
                target = options.output / "priors" / f"{folder.name}_{prior}"
                seed = int(folder.name.split("_")[0])
                maps = str(make_prior(target, prior, truth, other, seed))
            for model in options.models:
                out = options.output / "runs" / f"{folder.name}_{prior}_{model}"
                row = {"clip": folder.name, "camera": camera, "model": model, "prior": prior}
                rows.append(row | score(run(folder, out, model, maps), truth))
                print(line(rows[-1]), flush=True)
    (options.output / "prior_table.json").write_text(json.dumps(rows, indent=1))
    print_means(rows)


def inverse_of(truth):
    """True inverse depth (T, H, W) of a clip, 0 in the sky."""
    depth = np.stack([truth.depth[t] for t in range(len(truth))])
    return 1 / np.where((depth > 0) & np.isfinite(depth), depth, np.inf)


def run(folder, out, model, maps):
    """Reconstruct a clip with a folder of maps, or without a prior."""
    images = next(p for p in folder.iterdir() if p.is_dir()).glob("*.png")
    settings = ReconstructSettings(model=model, prior=maps, prior_kind="metric", formats=())
    return reconstruct(sorted(map(str, images)), out, settings, overwrite=out.exists())


def line(row):
    numbers = " ".join(f"{n} {row[n]:.3f}" for n in NAMES if n in row)
    return f"{row['clip']:9} {row['model']:9} {row['prior']:9} {numbers}"


def print_means(rows):
    """Means over clips of each kind, model and prior."""
    kinds = {"moving": ("dolly", "orbit", "hand"), "still": ("still",), "pan": ("pan",)}
    for kind, cameras in kinds.items():
        for model in dict.fromkeys(r["model"] for r in rows):
            for prior in dict.fromkeys(r["prior"] for r in rows):
                some = [
                    r
                    for r in rows
                    if r["camera"] in cameras and (r["model"], r["prior"]) == (model, prior)
                ]
                if some:
                    mean = {
                        n: np.mean([r[n] for r in some if n in r])
                        for n in NAMES
                        if any(n in r for r in some)
                    }
                    print(line({"clip": kind, "model": model, "prior": prior} | mean))


if __name__ == "__main__":
    main()
