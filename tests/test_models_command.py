"""`dpm models`: list, import, verify; pulling is in test_weights_hub."""

import json
import os
import subprocess
import sys

import pytest
import torch
from network_helpers import public_moge, public_state, tiny_moge, tiny_multi_view, tiny_pair
from test_weights_load import WIDE
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.errors import DpmError, UsageError, WeightsError
from dpm_cli.network.large import PairNetwork
from dpm_cli.weights.checkpoint import save_checkpoint
from dpm_cli.weights.imports import _row_by_size
from dpm_cli.weights.store import find_weights, known_sha256, sha256_of
from dpm_cli.weights.table import TABLE, entry_named


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPM_WEIGHTS_DIR", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def dust3r(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"model": public_state(PairNetwork(WIDE))}, path)
    return path


def run(*arguments):
    done = CliRunner().invoke(app, ["models", *map(str, arguments)])
    if isinstance(done.exception, DpmError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_list_says_what_is_known_of_every_row(store):
    text = run("list")
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))["models"]}
    assert set(rows) == {entry.name for entry in TABLE}
    assert rows["vdpm"]["size_bytes"] == 4 * 1_661_508_918
    assert rows["vdpm"]["here"] is None
    for name in ("vdpm", "monst3r", "dust3r", "dust3r-linear", "vggt"):
        assert "non-commercial" in rows[name]["licence"]
        assert name in text
    assert not store.exists()


def test_import_recognises_keeps_and_finds(store, dust3r):
    out = json.loads(run("import", dust3r, "--json", "-q"))
    assert out["name"] == "dust3r"
    assert "CC BY-NC-SA" in out["licence"]
    assert out["sha256"] == sha256_of(dust3r)
    dust3r.unlink()
    path = find_weights("dpm-large")
    assert path.is_relative_to(store)
    assert known_sha256(path) == out["sha256"]
    os.utime(path, ns=(1, 1))
    assert known_sha256(path) is None
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))["models"]}
    assert rows["dust3r"]["here"] == str(path)
    assert "sha256" in run("verify", "-q")


def test_a_depth_prior_is_listed_imported_and_verified(store, tmp_path):
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))["models"]}
    for size in ("small", "base", "large"):
        row = rows[f"moge-2-{size}"]
        assert row["licence"].startswith("MIT")
        assert row["option"] == f"--prior moge-2-{size}"
        assert len(row["sha256"]) == 64
    path = tmp_path / "model.pt"
    torch.save(public_moge(tiny_moge()), path)
    with pytest.raises(UsageError, match="of another size"):
        run("import", path, "-q")
    out = json.loads(run("import", path, "--name", "moge-2-small", "--json", "-q"))
    assert (out["name"], out["network"]) == ("moge-2-small", "MoGe-2")
    assert out["licence"].startswith("MIT")
    assert "checked against record" in run("verify", "moge-2-small", "-q")
    with pytest.raises(UsageError, match="cannot be kept as vdpm"):
        run("import", path, "--name", "vdpm", "-q")


@pytest.mark.parametrize("row", ["moge-2-small", "moge-2-base", "moge-2-large"])
def test_the_size_of_a_depth_prior_tells_its_row(row):
    count = entry_named(row).parameters
    assert count is not None
    assert _row_by_size({"predictor": "moge-2", "parameters": count + 390}) == row
    assert _row_by_size({"predictor": "vdpm", "parameters": count}) is None


def test_import_as_a_named_row_and_refusals(store, dust3r, tmp_path):
    assert "monst3r" in run("import", dust3r, "--name", "monst3r", "-q")
    with pytest.raises(UsageError, match="cannot be kept as vdpm"):
        run("import", dust3r, "--name", "vdpm")
    with pytest.raises(UsageError, match="choose from dpm-mini"):
        run("import", dust3r, "--name", "nothing")
    croco = {k: v for k, v in public_state(PairNetwork(WIDE)).items() if "downstream" not in k}
    torch.save(croco, tmp_path / "croco.pth")
    with pytest.raises(WeightsError, match="no predictor here runs"):
        run("import", tmp_path / "croco.pth")


@pytest.mark.parametrize(("kind", "row"), [("pair", "my-large"), ("multi_view", "vdpm")])
def test_import_of_our_own_files(store, tmp_path, kind, row):
    network = tiny_pair() if kind == "pair" else tiny_multi_view()
    path = tmp_path / "own.safetensors"
    config = network.config.as_dict()
    save_checkpoint(path, network.state_dict(), network=kind, config=config, licence="Apache-2.0")
    out = json.loads(run("import", path, "--json", "-q"))
    assert (out["name"], out["licence"]) == (row, "Apache-2.0")


def test_verify_notices_a_changed_byte(store, dust3r):
    run("import", dust3r, "-q")
    path = find_weights("dpm-large")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"sha256 .* instead of"):
        run("verify", "dust3r", "-q")
    with pytest.raises(WeightsError, match="not on this machine"):
        run("verify", "vdpm", "-q")


def test_verify_of_the_weights_in_the_wheel(store):
    out = json.loads(run("verify", "dpm-mini", "--json", "-q"))
    assert out["checked_against"] == "its own metadata"
    assert out["licence"] == "Apache-2.0"


def test_verify_of_a_file_in_no_record(store, dust3r):
    out = json.loads(run("verify", dust3r, "--json", "-q"))
    assert out["network"] == "DUSt3R or MonST3R"
    assert out["checked_against"] == "nothing"
    with pytest.raises(WeightsError, match="no such weights file"):
        run("verify", "absent.pth", "-q")


def test_a_wrong_file_is_exit_code_four_and_one_line(store, tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"nothing good")
    code = "from dpm_cli.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "models", "import", str(tmp_path / "bad.pth")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "neither a safetensors nor a PyTorch file" in done.stderr
