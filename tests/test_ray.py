"""Several inputs on Ray, two workers of this machine: the same runs, a wrong input, a worker that dies."""

import json
import os
import signal
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from dpm_cli.cli import main
from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.errors import DpmError, PartialResultError
from dpm_cli.pipeline import ray_runs
from dpm_cli.progress import SilentReporter
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.synthetic import render_clip, scene_seed

pytest.importorskip("ray")
SETTINGS = ReconstructSettings(model="geometric", device="cpu", formats=(), prior="none")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folders = []
    for number in (2, 3):
        truth = render_clip(scene_seed("test", number), 2, (48, 64), camera="dolly")
        folders.append(tmp_path_factory.mktemp(f"clip{number}"))
        for t, image in enumerate(truth.images[0].permute(0, 2, 3, 1).numpy()):
            iio.imwrite(folders[-1] / f"{t}.png", image)
    return folders


def test_runs_are_those_of_one_process_and_a_wrong_input_stops_no_other(
    photos, tmp_path, monkeypatch, capsys
):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    words = ["dpm", "reconstruct", *map(str, (photos[0], bad, photos[1]))]
    options = ["--model", "geometric", "--device", "cpu", "--format", "none", "--json", "-q"]
    said = []
    for name, more in (("plain", []), ("spread", ["--ray", "auto"])):
        monkeypatch.setattr(sys, "argv", [*words, "-o", str(tmp_path / name), *options, *more])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == PartialResultError.exit_code
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["failed"] == said[1]["failed"]
    for a, b in zip(said[0]["runs"], said[1]["runs"], strict=True):
        one, other = (Sequence4D.open(found["run"]) for found in (a, b))
        np.testing.assert_array_equal(one.cam2world, other.cam2world)
        np.testing.assert_array_equal(one.frame(0).depth, other.frame(0).depth)


def test_an_input_whose_process_dies_is_begun_again(tmp_path, monkeypatch):
    def dies_once(here, target, settings, rights):
        mark = Path(target.folder).parent / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return ray_runs.FinishedRun(target.folder, {})

    monkeypatch.setattr(ray_runs, "_run", dies_once)
    targets = [RunTarget((f"{name}.mp4",), tmp_path / name) for name in ("a", "b")]
    done = ray_runs.reconstruct_on_ray(targets, SETTINGS, "auto", reporter=SilentReporter())
    assert [run.folder for run in done] == [target.folder for target in targets]
    assert (tmp_path / "died").exists()


def test_no_cluster_is_one_line(tmp_path):
    target = RunTarget(("a.mp4",), tmp_path / "a")
    with pytest.raises(DpmError, match="no Ray cluster answers there"):
        ray_runs.reconstruct_on_ray([target], SETTINGS, "127.0.0.1:9", reporter=SilentReporter())
