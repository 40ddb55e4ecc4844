"""Tables, published rows, worst cases, baselines, and the quick suite's scalar."""

import csv
import io
import json

import numpy as np
import pytest
import torch

from dpm_cli.matching.dis import dis_flow
from dpm_cli.workshop.datasets.sintel import PROTOCOL_SEQUENCES
from dpm_cli.workshop.evaluate.baselines import ConstantDepth, DisFlow, StaticCopy
from dpm_cli.workshop.evaluate.outputs import worst_cases, write_outputs
from dpm_cli.workshop.evaluate.published import published_rows
from dpm_cli.workshop.evaluate.quick import quality, quick_cases
from dpm_cli.workshop.evaluate.results import Score, table, worst
from dpm_cli.workshop.evaluate.tables import as_csv, as_json, as_markdown


def score(model="a", dataset="d/video", sequence="s", weight=1.0, **values):
    return Score(model, dataset, sequence, values, 0.5, weight, np.zeros((4, 6, 3), np.uint8))


def test_depth_is_averaged_by_pixels_and_the_rest_by_cases():
    rows = [
        score(weight=1, absrel=0.1, ate=1.0),
        score(sequence="t", weight=3, absrel=0.3, ate=2.0, extra=7.0),
    ]
    means = table(rows)["a"]["d/video"]
    assert means["absrel"] == pytest.approx(0.25)
    assert means["ate"] == pytest.approx(1.5)
    assert means["extra"] == 7.0
    assert means["cases"] == 2


def test_formats_say_the_same():
    rows = [score("a", absrel=0.1, motion_iou=0.2), score("b", absrel=0.2, motion_iou=0.9)]
    assert json.loads(as_json(rows))["b"]["d/video"]["absrel"] == 0.2
    lines = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert {
        "model": "a",
        "dataset": "d/video",
        "sequence": "mean",
        "metric": "absrel",
        "value": "0.1",
    } in lines
    markdown = as_markdown(rows)
    assert "| absrel ↓ | **0.1** | 0.2 |" in markdown
    assert "| motion_iou ↑ | 0.2 | **0.9** |" in markdown


def test_worst_cases_are_the_worst():
    rows = [score(sequence=f"s{i}", absrel=v) for i, v in enumerate((0.1, 0.5, 0.3))]
    assert [s.sequence for s in worst(rows)] == ["s1", "s2"]
    masks = [score(sequence=f"m{i}", motion_iou=v) for i, v in enumerate((0.9, 0.1, 0.5))]
    assert [s.sequence for s in worst(masks, 1)] == ["m1"]


def test_published_rows_need_the_same_sequences():
    everything = set(PROTOCOL_SEQUENCES)
    names = {row.model for row in published_rows("sintel/video", everything)}
    assert "V-DPM (published)" in names
    assert published_rows("sintel/video", everything - {"cave_2"}) == []
    assert published_rows("sintel/video", everything | {"alley_1"}) == []
    assert published_rows("tum/video", {"one"}) == []
    bonn = {
        f"rgbd_bonn_{n}"
        for n in ("balloon2", "crowd2", "crowd3", "person_tracking2", "synchronous")
    }
    dpm = next(r for r in published_rows("bonn/video", bonn) if r.model == "DPM (published)")
    assert dpm.values == {"absrel_shift": 0.068, "delta_1_25_shift": 0.939}
    ours = [
        score("ours", "bonn/video", name, absrel_shift=0.07, delta_1_25_shift=0.9)
        for name in sorted(bonn)
    ]
    assert "| absrel_shift ↓ | 0.07 | 0.063 | 0.068 | 0.057 | **0.043** |" in as_markdown(ours)


def test_outputs(tmp_path):
    rows = [
        score(sequence=f"s {i}", dataset="synth/stride-2", epe=v) for i, v in enumerate((0.1, 0.5))
    ]
    rows += [score(dataset="synth/stride-8", epe=0.7)]
    write_outputs(rows, tmp_path, quick=True)
    assert worst_cases(rows)[0] == "synth/stride-2: a on s 1, epe 0.5"
    assert json.loads((tmp_path / "quality.json").read_text())["score"] == {"a": 0.5}
    assert (tmp_path / "worst" / "synth_stride-2-a-0-s_1.png").is_file()
    assert "Worst cases" in (tmp_path / "table.md").read_text()


def test_the_scalar_needs_both_strides():
    rows = [score("a", "synth/stride-2", epe=0.2), score("b", "synth/stride-2", epe=0.1)]
    rows += [score("a", "synth/stride-8", epe=0.4)]
    assert quality(rows)["score"] == {"a": pytest.approx(0.3)}


def test_quick_cases_are_test_scenes_at_both_strides():
    cases = list(quick_cases(1, (24, 32)))
    assert [(c.dataset, c.name) for c in cases] == [
        ("synth/stride-2", "test-000 0>2"),
        ("synth/stride-8", "test-000 0>8"),
    ]
    assert all(c.maps is not None and c.images.shape == (2, 24, 32, 3) for c in cases)
    assert (cases[0].images[0] == cases[1].images[0]).all()
    assert (cases[0].images[1] != cases[1].images[1]).any()


def images():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (12, 16, 3), np.uint8)
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(noise).permute(2, 0, 1)[None].float() / 255, (48, 64), mode="bilinear"
    )
    return smooth, torch.roll(smooth, 2, -1)


def test_constant_depth_is_a_wall():
    predictor = ConstantDepth()
    one, two = images()
    said = predictor.predict(predictor.encode(one), predictor.encode(two))
    assert said.points.shape == (1, 2, 2, 48, 64, 3)
    assert (said.points[..., 2] == 1).all()
    # Focal length 64 px, centre 31.5: the last column's ray is 31.5 / 64.
    assert float(said.points[0, 1, 0, 5, 63, 0]) == pytest.approx(31.5 / 64)


def test_dis_flow_moves_the_wall_by_dis_flow():
    predictor = DisFlow()
    one, two = images()
    said = predictor.predict(predictor.encode(one), predictor.encode(two))
    arrays = [(i[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for i in (one, two)]
    flow = dis_flow(arrays[0], arrays[1])
    moved = (said.points[0, 0, 1] - said.points[0, 0, 0])[..., :2].numpy() * 64
    assert moved == pytest.approx(flow, abs=1e-3)


def test_static_copy_takes_the_motion_out():
    predictor = StaticCopy(DisFlow())
    one, two = images()
    said = predictor.predict(predictor.encode(one), predictor.encode(two))
    assert (said.points[:, 0, 1] == said.points[:, 0, 0]).all()
    assert (said.points[:, 1, 0] == said.points[:, 1, 1]).all()
    assert said.flow is None
    assert predictor.info.name == "static:dis-flow"
