"""`dpm evaluate` as a user runs it."""

import json

import numpy as np
import pytest
from dataset_files import grey, write_image, write_text
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.errors import InputError, UsageError
from dpm_cli.workshop.synthetic import render_clip, scene_seed
from dpm_cli.workshop.synthetic.sequence_truth import write_truth

runner = CliRunner()


def evaluate(*arguments):
    return runner.invoke(app, ["evaluate", *map(str, arguments)])


def redwood(root):
    rng = np.random.default_rng(0)
    for i in range(3):
        image = np.repeat(np.repeat(rng.integers(0, 255, (6, 8, 3), np.uint8), 8, 0), 8, 1)
        write_image(root / "color" / f"{i:05d}.jpg", image)
        write_image(root / "depth" / f"{i:05d}.png", np.full((48, 64), 1000 + 100 * i, np.uint16))
    rows = [
        f"{i} {i} {i}\n1 0 0 {0.1 * i}\n0 1 0 {0.02 * i * i}\n0 0 1 0\n0 0 0 1\n" for i in range(3)
    ]
    write_text(root / "trajectory.log", "".join(rows))
    return root


def test_models_on_data(tmp_path):
    data = redwood(tmp_path / "redwood")
    out = tmp_path / "scores"
    result = evaluate(
        "constant-depth", "dis-flow", "--data", f"redwood={data}", "-o", out, "--json", "-q"
    )
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    assert table == json.loads((out / "scores.json").read_text())
    video = table["constant-depth"]["redwood/video"]
    # Depths 1, 1.1, 1.2 against the constant 1.1: errors .1, 0, .1.
    assert video["absrel"] == pytest.approx((0.1 / 1.0 + 0.1 / 1.2) / 3, rel=1e-3)
    assert "redwood/video" not in table["dis-flow"]
    assert table["dis-flow"]["redwood/stride-2"]["cases"] == 1
    assert list((out / "worst").glob("*.png"))
    again = evaluate("constant-depth", "--data", f"redwood={data}", "-o", out, "-q")
    assert isinstance(again.exception, UsageError)
    assert "holds an evaluation" in str(again.exception)


def test_protocol_and_formats(tmp_path):
    data = redwood(tmp_path / "redwood")
    result = evaluate(
        "constant-depth",
        "--data",
        f"redwood={data}",
        "--protocol",
        "video",
        "--format",
        "csv",
        "-q",
    )
    assert result.stdout.startswith("model,dataset,sequence,metric,value\n")
    assert "stride" not in result.stdout
    shown = evaluate("constant-depth", "--data", f"redwood={data}", "--protocol", "pairs", "-q")
    assert "redwood/stride-2" in shown.stdout


def test_a_run_against_its_truth(tmp_path):
    clip = render_clip(scene_seed("test", 5), 3, (48, 64), camera="orbit")
    write_truth(tmp_path / "clip_truth.npz", clip)
    result = evaluate(
        tmp_path / "clip_truth.npz", "--truth", tmp_path / "clip_truth.npz", "--json", "-q"
    )
    assert result.exit_code == 0, result.output
    ((dataset, values),) = json.loads(result.stdout)["synth"].items()
    assert dataset == "synth/video"
    assert values["absrel"] == pytest.approx(0, abs=1e-5)
    assert values["ate"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((), UsageError, "give one of --data"),
        (("geometric",), UsageError, "give one of --data"),
        (("--data", "sintel=/nowhere"), UsageError, "name a model"),
        (("geometric", "--data", "sintel"), UsageError, "give NAME=PATH"),
        (("geometric", "--data", "imagenet=/x"), UsageError, "movi"),
        (("geometric", "--data", "sintel=/nowhere"), InputError, "/nowhere does not exist"),
        (("nonsense", "--data", "redwood={data}"), UsageError, "nonsense"),
        (("geometric", "--data", "redwood={data}", "--suite", "quick"), UsageError, "give one of"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, error, says):
    data = redwood(tmp_path / "redwood")
    result = evaluate(*(a.replace("{data}", str(data)) for a in arguments))
    assert isinstance(result.exception, error), result.exception
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)


def test_nothing_to_judge(tmp_path):
    for i in range(2):
        write_image(tmp_path / "JPEGImages" / "dog" / f"{i:05d}.jpg", grey(i))
        write_image(tmp_path / "Annotations" / "dog" / f"{i:05d}.png", np.zeros((6, 8), np.uint8))
    result = evaluate("constant-depth", "--data", f"davis={tmp_path}", "-q")
    assert isinstance(result.exception, InputError)
    assert "nothing could be judged" in str(result.exception)


def test_help_names_every_data_set():
    shown = evaluate("--help").stdout
    from dpm_cli.workshop.datasets import READERS

    assert [name for name in READERS if name not in shown] == []
