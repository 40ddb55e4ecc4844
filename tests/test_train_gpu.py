"""Training on a CUDA device: pairs from either side of the bus, both kinds of network, resume, and the answer there."""

from dataclasses import replace

import pytest
import torch
from test_train_loop import ToySource, job, settings

from dpm_cli.workshop.train.batches import Batch, draw_batch, truth_to
from dpm_cli.workshop.train.checkpoint import load_checkpoint
from dpm_cli.workshop.train.loop import _Run, train
from dpm_cli.workshop.train.sources import MixedPairs, RenderedPairs, fixed_batches

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("preset", ["tiny", "tiny-pair"])
@pytest.mark.parametrize("where", ["cpu", "cuda", "both"])
def test_steps_on_the_device_are_finite_validated_and_resumed(tmp_path, preset, where):
    rendered = RenderedPairs("cuda", "train", (1, 4))
    toy = ToySource()
    mixed = MixedPairs(((toy, 0.5), (rendered, 0.5)))
    source = {"cpu": toy, "cuda": rendered, "both": mixed}[where]
    validation = fixed_batches(toy, 1, 4, (32, 48), "cuda", preset == "tiny")
    chosen = settings(4, preset=preset)
    there = replace(
        job(tmp_path, chosen), source=source, device=torch.device("cuda"), validation=validation
    )
    result = train(there)
    assert result.skipped_steps == 0
    assert result.scores is not None
    assert result.scores.epe_11 > 0
    found = load_checkpoint(tmp_path, chosen.to_json())
    assert found is not None
    assert all(value.isfinite().all() for value in found.network.values())
    assert train(there).steps == 4


@pytest.mark.parametrize("preset", ["tiny", "tiny-pair"])
def test_a_step_on_the_device_is_that_of_the_cpu(tmp_path, preset):
    chosen = settings(2, preset=preset, autocast=False)
    batch = draw_batch(ToySource(), chosen, 0, 0.0, needs_flow=preset == "tiny")
    numbers = []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        there = Batch(
            truth_to(batch.truth, device),
            batch.flow.to(device),
            batch.focal_px.to(device),
            batch.noise_px.to(device),
        )
        run = _Run(replace(job(tmp_path / name, chosen), device=device))
        numbers.append({k: float(v) for k, v in run.learn(there, 0.0).items()})
    assert numbers[1] == pytest.approx(numbers[0], rel=0.02, abs=1e-3)
