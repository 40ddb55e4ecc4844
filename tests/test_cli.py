"""The commands as a user types them: results on stdout, one line on stderr, the right exit code."""

import errno
import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from oracle import OraclePredictor
from pictures import write_photos

from dpm_cli.cli import app, main, yield_waiting_threads
from dpm_cli.cli.reconstruct import plan_targets
from dpm_cli.formats.flo import read_flo
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.synthetic import render_clip, scene_seed

SIZE = (64, 96)


@pytest.fixture(scope="module")
def truth():
    return render_clip(scene_seed("test", 2), 6, SIZE, camera="dolly")


@pytest.fixture(scope="module")
def photos(truth, tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("clip"), truth)


@pytest.fixture(autouse=True)
def oracle(truth, monkeypatch):
    monkeypatch.setitem(LOADERS, "oracle", lambda weights, device, dtype: OraclePredictor(truth))


@pytest.fixture
def dpm(monkeypatch, capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dpm", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_help_is_quick_because_it_imports_nothing_heavy():
    heavy = "{'torch', 'open3d', 'cv2', 'scipy', 'imageio'}"
    code = f"import sys, dpm_cli.cli; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_every_command_has_examples_in_its_help(dpm):
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    assert {
        "reconstruct",
        "flow",
        "export",
        "info",
        "synth",
        "train",
        "evaluate",
        "benchmark",
        "doctor",
    } <= set(names)
    for name in names:
        code, out, _ = dpm(name, "--help")
        assert code == 0
        assert f"dpm {name}" in out.split("Examples")[1], name


def test_version(dpm):
    code, out, _ = dpm("--version")
    assert code == 0
    assert out.startswith("dpm ")


def test_reconstruct_writes_every_output_and_prints_the_folder(dpm, photos, tmp_path):
    run = tmp_path / "run"
    code, out, _ = dpm(
        "reconstruct", photos, "-o", run, "--model", "oracle", "--pairs", "1,2", "-q"
    )
    assert (code, out.strip()) == (0, str(run))
    assert len(list((run / "points").glob("frame_*.ply"))) == 6
    assert len(list((run / "flow").glob("*.flo"))) == 10
    assert len(list((run / "masks").glob("dynamic_*.png"))) == 6
    assert (run / "preview" / "contact_sheet.png").is_file()
    assert read_flo(run / "flow" / "fwd_000000_000001.flo").flow.shape == (*SIZE, 2)
    code, out, _ = dpm(
        "reconstruct", photos, "-o", run, "--model", "oracle", "--pairs", "1,2", "--json", "-q"
    )
    assert json.loads(out)["runs"][0]["frames"] == 6
    code, out, err = dpm(
        "reconstruct", photos, "-o", run, "--model", "oracle", "--pairs", "1", "-q"
    )
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "--overwrite" in err


def test_one_bad_input_of_several_is_partial_and_the_good_one_is_written(dpm, photos, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    code, _, err = dpm(
        "reconstruct",
        photos,
        bad,
        "-o",
        tmp_path / "runs",
        "--model",
        "oracle",
        "--max-frames",
        2,
        "--format",
        "none",
    )
    assert code == 6
    assert "bad.mp4" in err
    assert len(Sequence4D.open(next((tmp_path / "runs").glob("clip*_dpm")))) == 2


def test_every_run_has_a_folder_of_its_own(tmp_path):
    for name in ("v/a.mp4", "v/b.mp4", "w/a.mp4", "w/a_2.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    targets = plan_targets([str(tmp_path / "v"), str(tmp_path / "w")], tmp_path / "runs")
    assert [t.folder.name for t in targets] == ["a_dpm", "b_dpm", "a_3_dpm", "a_2_dpm"]
    assert {t.folder.parent for t in targets} == {tmp_path / "runs"}
    assert targets[1].inputs == (str(tmp_path / "v" / "b.mp4"),)


def test_waiting_threads_yield_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    yield_waiting_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    yield_waiting_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_dry_run_tells_the_cost_and_writes_nothing(dpm, photos, tmp_path):
    run = tmp_path / "run"
    code, out, _ = dpm(
        "reconstruct", photos, "-o", run, "--model", "geometric", "--dry-run", "--json"
    )
    plan = json.loads(out)["plans"][0]
    assert code == 0
    assert plan["frames"] == 6
    assert plan["pairs"] == 5 + 4 + 2
    assert plan["disk_bytes"] > 6 * 64 * 96 * 3
    assert not run.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("reconstruct", "nowhere.mp4"), 3, "nowhere.mp4"),
        (("reconstruct", "{photos}", "--model", "magic"), 2, "--model magic"),
        (("reconstruct", "{photos}", "--model", "oracle", "--pairs", "x"), 2, "--pairs x"),
        (("reconstruct", "{photos}", "--model", "oracle", "--format", "obj"), 2, "--format obj"),
        (("reconstruct", "{photos}", "--model", "oracle", "--fov", "400"), 2, "--fov 400"),
        (
            ("reconstruct", "{photos}", "--model", "oracle", "--batch-size", "0"),
            2,
            "--batch-size 0",
        ),
        (
            ("reconstruct", "{photos}", "--model", "oracle", "--mask-dir", "{empty}"),
            3,
            "--mask-dir",
        ),
        (
            ("reconstruct", "{photos}", "--model", "dpm-large", "--weights", "none.pth"),
            4,
            "none.pth",
        ),
        (("reconstruct", "{photos}", "--model", "oracle", "--device", "tpu"), 2, "--device tpu"),
        (("export", "nowhere", "--to", "ply"), 3, "nowhere"),
        (("info", "nowhere"), 3, "nowhere"),
    ],
)
def test_user_errors_are_one_line_with_the_right_code(
    dpm, photos, tmp_path, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    filled = [a.format(photos=photos, empty=tmp_path / "empty") for a in arguments]
    got, out, err = dpm(*filled, *(["-q"] if arguments[0] == "reconstruct" else []))
    assert (got, out) == (code, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_flow_of_two_images(dpm, photos, truth, tmp_path):
    pair = tmp_path / "pair"
    code, out, _ = dpm(
        "flow",
        photos / "000.png",
        photos / "001.png",
        "-o",
        pair,
        "--model",
        "oracle",
        "--json",
        "-q",
    )
    assert code == 0
    summary = json.loads(out)
    flow = read_flo(pair / "fwd.flo").flow
    exact = truth.pair(0, 1)
    seen = exact.visible[0, 0].numpy() & exact.valid[0, 0, 0].numpy()
    error = np.linalg.norm(flow - exact.flow[0, 0].numpy(), axis=-1)
    assert np.quantile(error[seen], 0.99) < 0.05
    assert len(Sequence4D.open(pair / "flow.npz")) == 2
    matches = np.load(pair / "matches.npz")
    assert len(matches["pixels_1"]) == summary["matches"] > 200
    rows, cols = matches["pixels_1"].astype(int).T[::-1]
    landing = matches["pixels_1"] + exact.flow[0, 0].numpy()[rows, cols]
    assert np.median(np.linalg.norm(landing - matches["pixels_2"], axis=-1)) < 1.0
    assert (pair / "dpm.json").is_file()
    assert (pair / "preview" / "contact_sheet.png").is_file()
    assert not (pair / ".dpm_pair").exists()
    code, _, err = dpm(
        "flow", photos / "000.png", photos / "001.png", "-o", pair, "--model", "oracle", "-q"
    )
    assert code == 2
    assert "--overwrite" in err


def test_a_place_that_cannot_be_written_is_one_line(dpm, photos, tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "locked"))

    module = importlib.import_module("dpm_cli.pipeline.run")
    monkeypatch.setattr(module, "examine_folder", refused)
    code, _, err = dpm("reconstruct", photos, "-o", tmp_path / "run", "--model", "oracle", "-q")
    assert code == 1
    assert "locked cannot be written: Permission denied" in err.replace("\n", "")
    assert "Traceback" not in err


def test_an_interrupt_is_130(dpm, photos, tmp_path, monkeypatch):
    def stopped(self, features_1, features_2):
        raise KeyboardInterrupt

    monkeypatch.setattr(OraclePredictor, "predict", stopped)
    code, _, err = dpm("reconstruct", photos, "-o", tmp_path / "run", "--model", "oracle", "-q")
    assert code == 130
    assert "goes on" in err
