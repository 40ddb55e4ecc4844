"""`dpm train` on the command line: what it hands on, what it prints, what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.errors import UsageError
from dpm_cli.weights.store import SHIPPED
from dpm_cli.workshop.train import start
from dpm_cli.workshop.train.loop import TrainResult


@pytest.fixture
def seen(monkeypatch):
    """Options of the run that was asked for; nothing is trained."""
    found = []

    def run(options, reporter):
        found.append(options)
        return TrainResult(options.out, 5, 80, 10.0, 8.0, 0, None)

    monkeypatch.setattr(start, "run_training", run)
    return found


def test_options_reach_the_run_and_stdout_is_the_result(seen, tmp_path):
    out = tmp_path / "run"
    arguments = [
        "train",
        "--minutes",
        "3",
        "-o",
        str(out),
        "--init",
        "shipped",
        "--device",
        "cpu",
        "--max-stride",
        "4",
    ]
    result = CliRunner().invoke(
        app, [*arguments, "--data", f"movi={tmp_path}", "--cache", "a", "--cache", "b"]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out / "weights.safetensors")
    options = seen[0]
    assert (options.minutes, options.steps) == (3.0, None)
    assert start.on_this_machine(options).initial == SHIPPED
    assert (start.on_this_machine(options).device, options.workers) == ("cpu", None)
    assert options.data == (("movi", tmp_path),)
    assert options.caches == (Path("a"), Path("b"))
    assert options.strides == (1, 4)
    result = CliRunner().invoke(app, ["train", "--steps", "5", "-o", str(out), "--json", "-q"])
    answer = json.loads(result.stdout)
    assert answer["weights"] == str(out / "weights.safetensors")
    assert (answer["steps"], answer["pairs"], answer["validation"]) == (5, 80, {})


def test_a_data_set_needs_a_folder(seen):
    result = CliRunner().invoke(app, ["train", "--minutes", "1", "--data", "movi"])
    assert isinstance(result.exception, UsageError)
    assert "NAME=FOLDER" in str(result.exception)
    assert not seen
