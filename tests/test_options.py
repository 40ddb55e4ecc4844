"""Options of commands are the settings: same words, same defaults, same variables; predictors come from their table."""

import dataclasses

import pytest
import typer

from dpm_cli.cli import app
from dpm_cli.config import ENVIRONMENT, ClipSettings, ReconstructSettings, helps
from dpm_cli.predictors import LOADERS

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def parameters(command):
    return {p.help: p for p in COMMANDS[command].params}


@pytest.mark.parametrize("kind", [ReconstructSettings, ClipSettings])
def test_every_setting_is_an_option_with_its_words_and_default(kind):
    settings, words = kind(), helps(kind)
    assert set(words) == {f.name for f in dataclasses.fields(kind)} - {"clip"}
    options = parameters("reconstruct")
    for field, text in words.items():
        option = options[text.format(predictors=", ".join(LOADERS))]
        default = getattr(settings, field)
        shown = {"formats": "ply,flo,masks,preview", "batch_size": "auto"}.get(field, default)
        assert option.default == shown, field
        assert option.envvar == (f"DPM_{field.upper()}" if field in ENVIRONMENT else None)


@pytest.mark.parametrize("command", ["reconstruct", "flow", "evaluate"])
def test_help_names_every_predictor(command):
    assert any(all(name in (text or "") for name in LOADERS) for text in parameters(command))
