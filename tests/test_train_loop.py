"""The training loop: it learns, resumes exactly, survives a bad gradient, and processes together equal one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_pairs import toy_pairs

from dpm_cli.errors import InputError, UsageError
from dpm_cli.progress import SilentReporter
from dpm_cli.weights.mini_file import load_mini
from dpm_cli.workshop.settings import TrainOptions
from dpm_cli.workshop.train import start
from dpm_cli.workshop.train.batches import Batch, measured_flow
from dpm_cli.workshop.train.checkpoint import NAME, load_checkpoint
from dpm_cli.workshop.train.curves import plot_run, read_log
from dpm_cli.workshop.train.loop import WEIGHTS, TrainJob, _Run, train
from dpm_cli.workshop.train.recipe import choose_recipe
from dpm_cli.workshop.train.settings import TrainingStage, TrainSettings
from dpm_cli.workshop.train.start import run_training
from dpm_cli.workshop.train.validate import score_points, summarise, validate

SIZE = (32, 48)


class ToySource:
    """The same few toy scenes for every step: enough to learn by heart."""

    def __init__(self):
        self.pool = toy_pairs(8, SIZE, torch.Generator().manual_seed(2))

    def draw(self, batch, size, generator):
        rows = torch.randint(8, (batch,), generator=generator)
        return replace(self.pool, **{k: v[rows] for k, v in vars(self.pool).items()})


def settings(steps: int, **changes) -> TrainSettings:
    stages = (TrainingStage(0.0, (SIZE,), 4),)
    base = TrainSettings(
        preset="tiny",
        steps=steps,
        stages=stages,
        warmup_steps=10,
        checkpoint_every=5,
        validate_every=1000,
    )
    return replace(base, **changes)


def job(folder: Path, chosen: TrainSettings, **changes) -> TrainJob:
    recipe = choose_recipe(chosen.preset, None)
    base = TrainJob(recipe, chosen, ToySource(), [], folder, torch.device("cpu"), "toy")
    return replace(base, **changes)


@pytest.fixture(scope="module")
def validation() -> list[Batch]:
    truth = toy_pairs(6, SIZE, torch.Generator().manual_seed(9))
    return [Batch(truth, measured_flow(truth.images), torch.zeros(6), torch.full((6,), 0.3))]


def test_it_learns_its_scenes_and_everything_is_written(tmp_path):
    pool, lines = ToySource().pool, []
    scenes = [Batch(pool, measured_flow(pool.images), torch.zeros(8), torch.full((8,), 0.3))]
    chosen = settings(41, ema=0.8, learning_rate=4e-3)
    before = validate(_Run(job(tmp_path / "start", chosen)).average, scenes)
    result = train(job(tmp_path, chosen, validation=scenes, report=lambda *a: lines.append(a)))
    assert (result.steps, result.pairs, result.skipped_steps) == (41, 164, 0)
    assert result.scores is not None
    assert result.scores.epe_11 < 0.8 * before.epe_11
    assert result.scores.absrel < 0.8 * before.absrel
    assert result.scores.focal_error < 0.7 * before.focal_error
    assert [int(r["step"]) for r in read_log(tmp_path / "train.csv")] == [0, 20, 40]
    assert (tmp_path / "curves.png").stat().st_size > 1000
    found = load_mini(tmp_path / WEIGHTS)
    assert found.metadata["steps"] == "41"
    assert found.metadata["data"] == "toy"
    assert "calibration" in found.metadata
    assert len(lines) == 3


def test_a_killed_run_resumed_equals_an_uninterrupted_one(tmp_path):
    chosen = settings(20)
    train(job(tmp_path / "whole", chosen))
    run = _Run(job(tmp_path / "killed", chosen))
    for step in range(5):
        run.learn(_batch(chosen, step), chosen.progress(step, 0.0))
    run.save()
    run.learn(_batch(chosen, 5), chosen.progress(5, 0.0))  # lost by the kill
    train(job(tmp_path / "killed", chosen))
    whole, resumed = (load_checkpoint(tmp_path / n, chosen.to_json()) for n in ("whole", "killed"))
    assert whole is not None
    assert resumed is not None
    assert (whole.step, whole.pairs) == (resumed.step, resumed.pairs) == (20, 80)
    for name in whole.network:
        assert torch.equal(whole.network[name], resumed.network[name]), name
        assert torch.equal(whole.average[name], resumed.average[name]), name


def _batch(chosen: TrainSettings, step: int) -> Batch:
    from dpm_cli.workshop.train.batches import draw_batch

    return draw_batch(ToySource(), chosen, step, chosen.progress(step, 0.0))


def test_a_finished_run_answers_at_once_and_other_settings_are_refused(tmp_path):
    chosen = settings(5)
    first = train(job(tmp_path, chosen))
    again = train(job(tmp_path, chosen))
    assert again.steps == first.steps == 5
    with pytest.raises(UsageError, match="other settings"):
        train(job(tmp_path, settings(6)))
    (tmp_path / NAME).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="cannot be read"):
        train(job(tmp_path, chosen))


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path):
    run = _Run(job(tmp_path, settings(5)))
    before = [p.clone() for p in run.network.parameters()]
    good = _batch(settings(5), 0)
    bad = replace(good, truth=replace(good.truth, images=good.truth.images * torch.nan))
    run.learn(bad, 0.0)
    assert run.skipped == 1
    assert all(torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))
    run.learn(good, 0.0)
    assert not all(torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))


def test_scores_of_the_truth_and_of_the_baselines(validation):
    truth, flow = validation[0].truth, validation[0].flow
    nothing = torch.zeros(6)
    exact = summarise([score_points(truth.points * 3, truth, truth.moving, flow, nothing)])
    assert exact.epe_11 < 1e-6
    assert exact.epe_22 < 1e-6
    assert exact.absrel < 1e-6
    assert exact.flow_epe < 1e-3
    assert exact.motion_iou == 1
    assert exact.mover_error < 1e-4
    own = torch.stack((truth.points[:, 0, 0], truth.points[:, 1, 1]), 1)
    copy = own[:, :, None].expand_as(truth.points)
    still = summarise([score_points(copy, truth, ~truth.moving, flow, nothing)])
    assert still.mover_error == pytest.approx(1.0, abs=1e-3)
    assert still.motion_iou == 0
    assert still.epe_11 == pytest.approx(0, abs=0.02)
    assert still.epe_12 > still.epe_11
    flat = 3 * truth.points / truth.points[..., 2:]
    wall = summarise([score_points(flat, truth, truth.moving, flow, nothing)])
    assert wall.absrel > 0.1


def test_validation_runs_the_network(tmp_path, validation):
    run = _Run(job(tmp_path, settings(5)))
    scores = validate(run.average, validation)
    assert scores.mover_error == pytest.approx(1.0, abs=1e-3)
    assert all(v >= 0 for v in scores.row().values() if v == v)


def test_options_are_checked(tmp_path):
    with pytest.raises(UsageError, match="how long"):
        run_training(TrainOptions(tmp_path / "a"), SilentReporter())
    with pytest.raises(UsageError, match="unknown preset"):
        run_training(TrainOptions(tmp_path / "a", steps=1, preset="huge"), SilentReporter())
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        run_training(TrainOptions(tmp_path, steps=1, preset="tiny"), SilentReporter())
    assert (tmp_path / "mine.txt").exists()


def test_a_cache_is_rendered_once(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "CACHE_SIZE", (32, 48))
    options = TrainOptions(
        tmp_path / "run", steps=1, caches=(tmp_path / "c",), cache_clips=2, max_stride=2
    )
    start._fill_cache(options, SilentReporter())
    source, line = start._source(options)
    assert "2 clips" in line
    assert source.draw(3, (32, 48), torch.Generator().manual_seed(0)).images.shape == (
        3,
        2,
        3,
        32,
        48,
    )
    with pytest.raises(UsageError, match="exactly one"):
        start._fill_cache(replace(options, caches=()), SilentReporter())


@pytest.mark.slow
def test_training_on_rendered_scenes_and_from_given_weights(tmp_path):
    options = TrainOptions(tmp_path / "a", steps=2, preset="tiny", batch_scale=0.2)
    first = run_training(options, SilentReporter())
    assert first.steps == 2
    again = run_training(
        TrainOptions(tmp_path / "b", steps=1, initial=first.folder / WEIGHTS, batch_scale=0.2),
        SilentReporter(),
    )
    assert (
        load_mini(again.folder / WEIGHTS).network.config
        == load_mini(first.folder / WEIGHTS).network.config
    )
    plot_run(tmp_path / "a", tmp_path / "curves.png")
    with pytest.raises(UsageError, match="another size"):
        run_training(
            TrainOptions(tmp_path / "c", steps=1, initial=first.folder / WEIGHTS, preset="mini"),
            SilentReporter(),
        )


SHARED_RUN = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from dataclasses import replace
from test_train_loop import ToySource, job, settings
from dpm_cli.workshop.train import processes as group
from dpm_cli.workshop.train.loop import train
torch.set_num_threads(1)
group._MESSAGE = 100_000  # several messages a step
chosen = settings(6, preset=sys.argv[3], shards=2, autocast=False)
with group.joined(torch.device("cpu")) as processes:
    train(job(Path(sys.argv[1]), chosen, processes=processes))
"""


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "tiny-pair"])
def test_two_processes_equal_one(tmp_path, preset):
    script = tmp_path / "shared.py"
    script.write_text(SHARED_RUN)
    tests = str(Path(__file__).parent)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    subprocess.run(
        [*command, str(script), str(tmp_path / "two"), tests, preset],
        check=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    chosen = settings(6, preset=preset, shards=2, autocast=False)
    train(job(tmp_path / "one", chosen))
    one, two = (load_checkpoint(tmp_path / n, chosen.to_json()) for n in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.pairs == two.pairs
    for name in one.network:
        assert torch.allclose(one.network[name], two.network[name], atol=2e-5), name
