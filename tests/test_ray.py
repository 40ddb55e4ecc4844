"""Inputs, and the pairs of one input, on Ray with two workers of this machine: the same bytes, a worker that dies."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from dpm_cli.cli import main
from dpm_cli.clip_store.clip import decode_clip
from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.errors import DpmError, PartialResultError
from dpm_cli.passes.run import pass_graph
from dpm_cli.pipeline import ray_passes, ray_runs
from dpm_cli.pipeline.machine import load_machine
from dpm_cli.pipeline.pass_work import PassWork
from dpm_cli.pipeline.plan import plan_target
from dpm_cli.pipeline.reconstruct import reconstruct_many
from dpm_cli.progress import SilentReporter
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.synthetic import render_clip, scene_seed

ray = pytest.importorskip("ray")
SETTINGS = ReconstructSettings(model="geometric", device="cpu", formats=(), prior="none")


@pytest.fixture(scope="module", autouse=True)
def two_workers():
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    words = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", num_cpus=4, **words)
    yield
    ray.shutdown()


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
    def dies_once(here, target, settings, rights, takes):
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


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def film(photos):
    """Two shots of two frames."""
    return tuple(str(folder / f"{t}.png") for folder in photos for t in (0, 1))


def test_the_shots_of_one_input_are_spread_and_give_the_bytes_of_one_process(film, tmp_path):
    settings = replace(SETTINGS, batch_size=1)
    targets = [RunTarget(film, tmp_path / name) for name in ("plain", "spread")]
    reconstruct_many(targets[:1], settings)
    ray_runs.reconstruct_on_ray(targets[1:], settings, "auto", reporter=SilentReporter())
    one, other = (files_of(target.folder) for target in targets)
    manifest = json.loads(other.pop(Path("dpm.json")))
    assert one.pop(Path("dpm.json"))
    assert manifest["pieces_elsewhere"] >= 1
    assert Sequence4D.open(targets[1].folder).shot.tolist() == [0, 0, 1, 1]
    assert one == other


def test_a_piece_whose_process_dies_is_begun_again_elsewhere(film, tmp_path, monkeypatch):
    machine = load_machine(SETTINGS, SilentReporter())
    plan = plan_target(RunTarget(film, tmp_path), SETTINGS.clip, machine.predictor.info)
    work = PassWork(
        clip=decode_clip(plan, tmp_path / "images", SilentReporter()),
        graph=pass_graph(np.zeros(4, np.int64), "auto"),
        intrinsics=None,
        told=np.array(((60.0, 0, 31.5), (0, 60.0, 23.5), (0, 0, 1))),
        prior=None,
        masks=None,
        folder=tmp_path / "one",
        batch_size=1,
        features_bytes=2**20,
        settings=SETTINGS,
    )
    assert [*map(list, work.pieces(2))] == [[0, 1, 2], [3, 4]]
    work.prepare(machine)
    work.run(machine, SilentReporter())

    def dies_once(here, work, piece, make=ray_passes.make_piece):
        mark = work.folder.parent / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return make(here, work, piece)

    monkeypatch.setattr(ray_passes, "make_piece", dies_once)
    shared = replace(work, folder=tmp_path / "two")
    assert ray_passes.spread_over({"num_cpus": 2})(shared, machine) >= 1
    assert (tmp_path / "died").exists()
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    work.clip.frames.close()  # pyright: ignore[reportAttributeAccessIssue]
