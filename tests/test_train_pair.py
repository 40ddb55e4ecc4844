"""Training the paper's pair network: its loss, learning one scene by heart, DUSt3R-like starts, exact resume, files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from network_helpers import TINY_STATIC, images, public_state, tiny_pair
from safetensors.torch import save_file
from test_train_loop import ToySource, job, settings
from toy_pairs import toy_pairs

from dpm_cli.errors import DpmError, UsageError, WeightsError
from dpm_cli.network.large import PairMaps
from dpm_cli.predictors.large import load
from dpm_cli.structures import PairTruth
from dpm_cli.weights.checkpoint import read_checkpoint
from dpm_cli.weights.inspect import describe
from dpm_cli.workshop.losses import LossWeights
from dpm_cli.workshop.settings import TrainOptions
from dpm_cli.workshop.train import batches
from dpm_cli.workshop.train.batches import Batch, draw_batch, no_flow, truth_to
from dpm_cli.workshop.train.checkpoint import load_checkpoint
from dpm_cli.workshop.train.loop import WEIGHTS, _Run, train
from dpm_cli.workshop.train.pair_loss import own_scale, pair_loss
from dpm_cli.workshop.train.pair_recipe import PairRecipe
from dpm_cli.workshop.train.recipe import PRESET_NAMES, choose_recipe
from dpm_cli.workshop.train.start import settings_of

CPU = torch.device("cpu")
PLAIN = LossWeights(hidden=1.0)


def pair_settings(steps: int, **changes):
    return settings(steps, **{"preset": "tiny-pair", "learning_rate": 3e-3, **changes})


@pytest.fixture
def truth() -> PairTruth:
    return toy_pairs(2, (32, 48), torch.Generator().manual_seed(3))


def said(points, certainty: float = 1.0) -> PairMaps:
    return PairMaps(points, torch.full(points.shape[:-1], certainty))


def distance_of(out: PairMaps, truth: PairTruth) -> float:
    return float(pair_loss(out, truth, PLAIN)[1]["distance"])


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_the_truth_has_no_loss_at_any_scale(truth, scale):
    loss, terms = pair_loss(said(truth.points * scale), truth, PLAIN)
    assert terms["distance"] < 1e-3
    assert loss == pytest.approx(float(terms["distance"]))  # log C is zero
    assert distance_of(said(truth.points + 0.3), truth) > 0.05


def test_the_loss_does_not_pull_at_the_scale(truth):
    points = truth.points + 0.2 * torch.randn(
        truth.points.shape, generator=torch.Generator().manual_seed(0)
    )
    factor = torch.ones((), requires_grad=True)
    (pull,) = torch.autograd.grad(pair_loss(said(points * factor), truth, PLAIN)[0], factor)
    assert pull.abs() < 1e-4
    free = points.clone().requires_grad_()
    pair_loss(said(free), truth, PLAIN)[0].backward()
    assert free.grad is not None
    assert (free.grad.norm(dim=-1) > 0).all()  # and every point is told where to go
    assert torch.allclose(own_scale(3 * points, truth.valid), 3 * own_scale(points, truth.valid))


def test_certainty_is_worth_alpha_over_distance(truth):
    points = truth.points + 0.1
    distance = distance_of(said(points), truth)
    values = torch.linspace(1.0, 20.0, 400)
    losses = [float(pair_loss(said(points, float(c)), truth, PLAIN)[0]) for c in values]
    best = float(values[torch.tensor(losses).argmin()])
    assert best == pytest.approx(max(0.2 / distance, 1.0), rel=0.05)


def test_what_the_data_does_not_know_is_not_judged(truth):
    valid = truth.valid.clone()
    valid[:, 0, 1] = valid[:, 1, 0] = False
    same_time = replace(truth, valid=valid)
    points = truth.points.clone().requires_grad_()
    pair_loss(said(points * 1.0 + 0.1), same_time, PLAIN)[0].backward()
    assert points.grad is not None
    assert (points.grad[:, 0, 1] == 0).all()
    assert (points.grad[:, 1, 0] == 0).all()
    assert (points.grad[:, 0, 0] != 0).any()
    nothing = replace(truth, valid=torch.zeros_like(truth.valid))
    assert distance_of(said(truth.points + 9), nothing) == 0


def test_a_sparse_pair_counts_as_much_as_a_dense_one(truth):
    """Mean inside each pair first: the first pair knows one pixel in a hundred and is wrong by more."""
    valid = truth.valid.clone()
    valid[0] = False
    valid[0, :, :, ::8, ::8] = True
    sparse = replace(truth, valid=valid)
    points = truth.points.clone()
    points[0, 0, 0, ::8, ::8] *= 1.5
    alone = replace(sparse, **{k: v[:1] for k, v in vars(sparse).items()})
    assert distance_of(said(points), sparse) == pytest.approx(
        distance_of(said(points[:1]), alone) / 2, abs=1e-3
    )


def test_it_learns_one_scene_by_heart(tmp_path):
    scene = toy_pairs(1, (48, 64), torch.Generator().manual_seed(2))
    batch = Batch(scene, no_flow(scene), torch.zeros(1), torch.zeros(1))
    run = _Run(job(tmp_path, pair_settings(80, warmup_steps=20, autocast=False, ema=0.8)))
    before = run.recipe.validate(run.average, [batch], False)
    distances = [float(run.learn(batch, 0.0)["distance"]) for _ in range(80)]
    after = run.recipe.validate(run.average, [batch], False)
    assert run.skipped == 0
    assert distances[-1] < distances[0] / 10
    for name in ("epe_11", "epe_12", "epe_21", "epe_22"):
        assert getattr(after, name) < 0.25 * getattr(before, name), name
    assert after.absrel < 0.5 * before.absrel
    assert after.focal_error < 0.2 < before.focal_error
    assert after.measured_flow_epe != after.measured_flow_epe  # nobody measured flow


def test_resumed_equals_uninterrupted_and_the_file_is_a_predictor(tmp_path):
    chosen = pair_settings(8)
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
    for name in whole.network:
        assert torch.equal(whole.network[name], resumed.network[name]), name
        assert torch.equal(whole.average[name], resumed.average[name]), name
    predictor = load(tmp_path / "whole" / WEIGHTS, CPU, torch.float32)
    assert predictor.info.weights_licence == "Apache-2.0"
    assert predictor.info.default_long_side == 48
    assert len(predictor.info.notes) == 1  # not static
    for name, value in predictor.network.state_dict().items():
        assert torch.equal(value, whole.average[name]), name


def _batch(chosen, step: int) -> Batch:
    return draw_batch(ToySource(), chosen, step, chosen.progress(step, 0.0), needs_flow=False)


def test_no_flow_is_measured_for_a_network_that_asks_for_none(tmp_path, monkeypatch):
    def refuse(images):
        raise AssertionError("flow was measured")

    monkeypatch.setattr(batches, "measured_flow", refuse)
    result = train(job(tmp_path, pair_settings(2)))
    assert result.steps == 2
    with pytest.raises(AssertionError, match="measured"):
        draw_batch(ToySource(), pair_settings(2), 0, 0.0)


def test_without_an_average_the_weights_themselves_are_kept(tmp_path):
    chosen = pair_settings(3, ema=0.0)
    run = _Run(job(tmp_path, chosen))
    assert run.average is run.network
    train(job(tmp_path, chosen))
    found = load_checkpoint(tmp_path, chosen.to_json())
    assert found is not None
    assert found.average == {}
    kept = read_checkpoint(tmp_path / WEIGHTS).tensors
    assert all(torch.equal(kept[name], value) for name, value in found.network.items())
    assert train(job(tmp_path, chosen)).steps == 3  # and it resumes


def dust3r_file(folder: Path, config=TINY_STATIC) -> Path:
    """A random network of `tiny-pair`'s size as DUSt3R's hub files are laid out."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(public_state(tiny_pair(config), aliases=False), folder / "model.safetensors")
    arguments = {"enc_num_heads": config.enc_heads, "dec_num_heads": config.dec_heads}
    (folder / "config.json").write_text(json.dumps(arguments))
    return folder / "model.safetensors"


def test_a_dust3r_like_file_starts_at_the_static_solution(tmp_path):
    path = dust3r_file(tmp_path / "dust3r")
    content = path.read_bytes()
    recipe = choose_recipe(None, path)
    assert isinstance(recipe, PairRecipe)
    assert recipe.preset == "tiny-pair"
    pair = images(1, 32, 48), images(1, 32, 48, seed=1)
    with torch.no_grad():
        start, static = recipe.network()(*pair), tiny_pair(TINY_STATIC)(*pair)
    assert torch.equal(start.points[:, :, 0], start.points[:, :, 1])
    assert torch.equal(start.points, static.points)
    assert torch.equal(start.certainty, static.certainty)
    chosen = pair_settings(2, warmup_steps=1)
    result = train(job(tmp_path / "run", chosen, recipe=recipe))
    found = describe(result.folder / WEIGHTS)
    assert found["licence"].startswith("CC BY-NC-SA 4.0")
    assert found["metadata"]["started_from"] == "model.safetensors"
    assert not found["static"]
    assert path.read_bytes() == content
    predictor = load(result.folder / WEIGHTS, CPU, torch.float32)
    assert predictor.info.weights_licence.startswith("CC BY-NC-SA 4.0")
    with torch.no_grad():
        moved = predictor.network(*pair)
    assert not torch.equal(moved.points[:, :, 0], moved.points[:, :, 1])
    # What is trained from that goes on with all four heads, its licence too.
    again = choose_recipe("tiny-pair", result.folder / WEIGHTS)
    assert isinstance(again, PairRecipe)
    assert again.licence == found["licence"]
    with torch.no_grad():
        assert torch.equal(again.network()(*pair).points, moved.points)


def test_a_new_network_is_static_too():
    pair = images(1, 32, 48), images(1, 32, 48, seed=1)
    with torch.no_grad():
        points = choose_recipe("tiny-pair", None).network()(*pair).points
    assert torch.equal(points[:, :, 0], points[:, :, 1])


def test_files_of_other_sizes_and_networks(tmp_path):
    path = dust3r_file(tmp_path / "odd", replace(TINY_STATIC, dec_depth=5, hooks=(0, 2, 3, 5)))
    assert choose_recipe(None, path).preset == "custom"
    with pytest.raises(UsageError, match="another size than preset tiny-pair"):
        choose_recipe("tiny-pair", path)
    with pytest.raises(UsageError, match="base-pair"):
        choose_recipe("enormous", None)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="not weights of a known network"):
        choose_recipe(None, tmp_path / "other.safetensors")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_every_preset_has_a_plan_of_fitting_images(preset, device, tmp_path):
    options = TrainOptions(tmp_path, steps=1, device=device, batch_scale=0.01)
    recipe = choose_recipe(preset, None)
    chosen = settings_of(options, recipe, 2)
    sizes = [s for stage in chosen.stages for s in stage.sizes] + [recipe.plan(True).validation[2]]
    assert all(n % 16 == 0 for size in sizes for n in size)
    assert any(height > width for height, width in sizes)
    assert {stage.batch % 2 for stage in chosen.stages} == {0}
    assert chosen.stages[0].start == 0


def test_operations_of_the_papers_network_are_counted_without_running_it():
    # The published layout takes 1634.5 GFLOP forward; the backward pass twice as many.
    flops = choose_recipe("large", None).pair_flops((288, 512))
    assert flops == pytest.approx(3 * 1634.5e9, rel=0.02)


def test_a_run_that_only_meets_infinities_stops(tmp_path, monkeypatch):
    monkeypatch.setattr("dpm_cli.workshop.train.loop._GIVE_UP", 3)
    run = _Run(job(tmp_path, pair_settings(9)))
    good = _batch(pair_settings(9), 0)
    bad = replace(good, truth=replace(good.truth, images=good.truth.images * torch.nan))
    for _ in range(2):
        run.learn(bad, 0.0)
    run.learn(good, 0.0)  # starts the count anew
    run.learn(bad, 0.0)
    run.learn(bad, 0.0)
    with pytest.raises(DpmError, match="learning-rate"):
        run.learn(bad, 0.0)


def test_pairs_go_to_the_device_that_trains(truth):
    chosen = pair_settings(2)
    found = draw_batch(ToySource(), chosen, 0, 0.0, device="cpu", needs_flow=False)
    assert found.flow.isnan().all()
    assert {v.device.type for v in vars(truth_to(truth, "meta")).values()} == {"meta"}
    assert truth_to(truth, None).images is truth.images
