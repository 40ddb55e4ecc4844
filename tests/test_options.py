"""Options of commands are the settings: same words, same defaults, same variables; predictors come from their table."""

import dataclasses
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.cli.options import fields, with_options
from dpm_cli.config import ENVIRONMENT, ClipSettings, ExportOptions, ReconstructSettings
from dpm_cli.knobs import helps, knob_of
from dpm_cli.predictors import LOADERS
from dpm_cli.workshop.settings import (
    BenchmarkSettings,
    EvaluateSettings,
    SynthSettings,
    TrainOptions,
)

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


SETTINGS = {
    "reconstruct": (ReconstructSettings(), ClipSettings()),
    "export": (ExportOptions(min_confidence=2.0),),
    "synth": (SynthSettings(),),
    "train": (TrainOptions(),),
    "evaluate": (EvaluateSettings(),),
    "benchmark": (BenchmarkSettings(),),
}
EACH = [(command, settings) for command, those in SETTINGS.items() for settings in those]


def options(command):
    return {p.name: p for p in COMMANDS[command].params}


@pytest.mark.parametrize(("command", "settings"), EACH)
def test_every_setting_is_an_option_with_its_words_and_default(command, settings):
    words = helps(ReconstructSettings) | helps(ClipSettings) | helps(type(settings))
    for field in dataclasses.fields(settings):
        if field.name in ("clip", "reporter"):
            continue
        option, knob = options(command)[field.name], knob_of(field.metadata)
        assert option.help == words[field.name].format(predictors=", ".join(LOADERS))
        default = getattr(settings, field.name)
        shown = knob.shown if knob.shown is not None else default
        assert option.default == (None if shown == () else shown), field.name


@pytest.mark.parametrize("command", ["reconstruct", "flow"])
def test_environment_variables_are_named(command):
    named = {p.name: p.envvar for p in COMMANDS[command].params if p.envvar}
    assert named == {name: f"DPM_{name.upper()}" for name in ENVIRONMENT}


def test_options_fill_the_settings_that_the_command_gets():
    seen = []

    @with_options
    def command(
        settings: Annotated[
            ReconstructSettings, fields("batch_size", "formats", Size=("size", "crop"))
        ] = ReconstructSettings(fov_deg=50.0),
        options: Annotated[TrainOptions, fields("caches", "data", "ema")] = TrainOptions(seed=3),
    ) -> None:
        seen.append((settings, options))

    app = typer.Typer()
    app.command()(command)
    words = "--batch-size 3 --format none --size 64 --cache a --cache b --data movi=c --no-ema"
    for given in (words.split(), []):
        assert CliRunner().invoke(app, given, catch_exceptions=False).exit_code == 0
    settings, options = seen[0]
    clip = ClipSettings(size=64)
    assert settings == ReconstructSettings(fov_deg=50.0, batch_size=3, formats=(), clip=clip)
    data = (("movi", Path("c")),)
    assert options == TrainOptions(caches=(Path("a"), Path("b")), data=data, ema=False, seed=3)
    assert seen[1] == (ReconstructSettings(fov_deg=50.0), TrainOptions(seed=3))


@pytest.mark.parametrize("command", ["reconstruct", "flow", "evaluate"])
def test_help_names_every_predictor(command):
    assert any(
        all(name in (text or "") for name in LOADERS)
        for text in (p.help for p in COMMANDS[command].params)
    )
