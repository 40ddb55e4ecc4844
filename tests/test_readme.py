"""The README is run, not believed: its commands are executed, its files exist, its length is kept."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.outputs import OUTPUTS
from dpm_cli.predictors import LOADERS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
SMALL = ["--size", "128", "--max-frames", "6", "-q"]
"""Added to `reconstruct`, so that the whole README runs in seconds; `-m slow` runs it as it stands."""


def dpm_commands():
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.S)
    lines = [
        part.strip() for block in blocks for line in block.splitlines() for part in line.split("&&")
    ]
    return [shlex.split(line)[1:] for line in lines if re.match(r"(\.venv/bin/)?dpm ", line)]


def test_every_command_of_the_readme_works(tmp_path, monkeypatch):
    """In this process, for every new one would load torch again."""
    assert {c[0] for c in dpm_commands()} >= {"reconstruct", "flow", "export", "info"}
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    for arguments in dpm_commands():
        extra = SMALL if arguments[0] == "reconstruct" else []
        done = CliRunner().invoke(app, [*arguments, *extra])
        assert done.exit_code == 0, (arguments, done.stderr, done.exception)
    assert (tmp_path / "demo_dpm" / "preview" / "contact_sheet.png").is_file()


@pytest.mark.slow
def test_every_command_of_the_readme_works_as_it_stands(tmp_path):
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    for arguments in dpm_commands():
        done = subprocess.run(
            [sys.executable, "-m", "dpm_cli", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (arguments, done.stderr)
        assert "Traceback" not in done.stderr


def test_tables_are_complete():
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"`dpm {command.name or command.callback.__name__}" in TEXT
    assert all(f"`{name}`" in TEXT for name in (*OUTPUTS, *LOADERS))


def test_it_is_short_and_its_files_exist():
    assert len(TEXT.splitlines()) < 200
    assert all(
        (ROOT / target).exists() for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    )


def test_ci_runs_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    assert "<!-- the test command -->" in script
    block = TEXT.split("<!-- the test command -->")[1].split("```bash\n")[1].split("```")[0]
    assert "pytest" in block
    assert ".ci/constraints.txt" in block


def test_contributing_names_files_that_exist():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:dpm_cli|tests|\.ci)/[\w./]*)`", text)
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []
