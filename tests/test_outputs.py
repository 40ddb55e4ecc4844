"""The table of outputs: its lines name what exists, and help and errors are made from it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.config import ReconstructSettings
from dpm_cli.export.writers import writer_of
from dpm_cli.outputs import OUTPUTS, RUN_FORMATS, listed

ROOT = Path(__file__).parent.parent
WIDE = {"COLUMNS": "400", "TERM": "dumb", "NO_COLOR": "1"}


def test_every_line_names_a_writer_and_a_known_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, output in OUTPUTS.items():
        assert output.name == name
        assert callable(writer_of(output))
        assert all(suffix.startswith(".") for suffix in output.suffixes)
        assert output.extra == "" or output.extra in project["optional-dependencies"]
        assert bool(output.run_folder) == bool(output.run_files)


def test_a_run_writes_what_the_contract_says():
    assert RUN_FORMATS == ("ply", "flo", "masks", "preview")
    assert ReconstructSettings().formats == RUN_FORMATS
    assert [OUTPUTS[name].run_folder for name in RUN_FORMATS] == [
        "points",
        "flow",
        "masks",
        "preview",
    ]


def test_help_is_made_from_the_table():
    text = CliRunner().invoke(app, ["export", "--help"], env=WIDE).stdout
    said = re.sub(r"[\s│]+", " ", text)
    assert listed() in said
    assert all(name in said for name in OUTPUTS)
    run = CliRunner().invoke(app, ["reconstruct", "--help"], env=WIDE).stdout
    assert ",".join(RUN_FORMATS) in run


def test_the_table_needs_neither_torch_nor_a_library_of_a_format():
    code = "import sys, dpm_cli.cli; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "open3d", "numpy", "cv2", "pxr", "rerun"} & set(done.stdout.split())
