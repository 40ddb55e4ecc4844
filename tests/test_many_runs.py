"""Two runs at once, several inputs of which some fail, and disks that are full."""

import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from oracle import OraclePredictor
from pictures import write_photos

from dpm_cli.cli import main
from dpm_cli.clip_store import ClipStoreWriter
from dpm_cli.errors import AllFailedError, DpmError, Failure
from dpm_cli.files import atomic_path, named_errors, unwritable
from dpm_cli.pipeline.lock import LOCK, folder_lock
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.synthetic import render_clip, scene_seed

SIZE = (48, 64)
NEEDS_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.fixture(scope="module")
def truth():
    return render_clip(scene_seed("test", 2), 2, SIZE, camera="dolly")


@pytest.fixture(scope="module")
def photos(truth, tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("good"), truth)


@pytest.fixture
def reconstruct(truth, monkeypatch, capsys):
    """Run the command in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setitem(LOADERS, "oracle", lambda weights, device, dtype: OraclePredictor(truth))

    def run(*arguments):
        words = ["dpm", "reconstruct", *map(str, arguments), "--model", "oracle"]
        monkeypatch.setattr(sys, "argv", [*words, "--device", "cpu", "--format", "none"])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"not a video")
    return path


def test_the_finished_runs_are_reported_and_every_reason_is_told(
    reconstruct, photos, bad, tmp_path
):
    code, out, err = reconstruct(photos, bad, "-o", tmp_path / "runs", "-q")
    run = next((tmp_path / "runs").glob("good*_dpm"))
    assert (code, out.strip()) == (6, str(run))
    lines = err.strip().splitlines()
    assert len(lines) == 2
    assert "bad.mp4" in lines[0]
    assert "no video format" in lines[0]
    assert "1 of 2 inputs failed" in lines[1]
    code, out, _ = reconstruct(photos, bad, "-o", tmp_path / "runs", "-q", "--json")
    answer = json.loads(out)
    assert code == 6
    assert [r["run"] for r in answer["runs"]] == [str(run)]
    assert answer["failed"][0]["input"] == str(bad)
    assert answer["failed"][0]["exit_code"] == 3
    assert len(Sequence4D.open(run)) == 2


def test_all_failing_is_not_partial(reconstruct, bad, tmp_path):
    other = tmp_path / "other.mp4"
    other.write_bytes(b"neither")
    code, out, err = reconstruct(bad, other, "-o", tmp_path / "runs", "-q", "--json")
    assert code == 3
    assert json.loads(out)["runs"] == []
    assert "bad.mp4" in err
    assert "other.mp4" in err
    assert "all 2 inputs failed" in err
    mixed = AllFailedError("x", [Failure("a", "", 3), Failure("b", "", 5)])
    assert mixed.exit_code == 1


@NEEDS_FULL
def test_a_disk_error_of_one_input_does_not_stop_the_others(reconstruct, photos, tmp_path):
    (tmp_path / "second").mkdir()
    for path in photos.iterdir():
        (tmp_path / "second" / path.name).write_bytes(path.read_bytes())
    runs = tmp_path / "runs"
    runs.mkdir()
    taken = runs / f"{photos.name}_dpm" / ".dpm_work" / "images"
    taken.mkdir(parents=True)
    (taken / "clip.rgb").symlink_to("/dev/full")
    code, out, err = reconstruct(photos, tmp_path / "second", "-o", runs, "--overwrite", "-q")
    assert (code, out.strip()) == (6, str(runs / "second_dpm"))
    assert len(err.strip().splitlines()) == 2
    assert "clip.rgb cannot be written: No space left on device" in err


def test_a_folder_has_one_writer(reconstruct, photos, tmp_path):
    run = tmp_path / "run"
    with folder_lock(run):
        code, out, err = reconstruct(photos, "-o", run, "-q")
    assert (code, out) == (1, "")
    assert f"process {os.getpid()} on " in err
    assert len(err.strip().splitlines()) == 1
    assert not run.exists(), "nothing is left of a lock without a run"
    assert reconstruct(photos, "-o", run, "-q")[0] == 0
    assert not (run / LOCK).exists()
    with folder_lock(run):
        code, _, _ = reconstruct(photos, "-o", run, "-q")
    assert code == 0, "a finished run answers without writing"


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from dpm_cli.pipeline.lock import folder_lock\n"
        "with folder_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(DpmError, match=f"process {holder.pid} on "), folder_lock(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert (tmp_path / LOCK).exists()
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


@NEEDS_FULL
def test_what_numpy_says_of_a_full_disk_is_understood(tmp_path):
    with pytest.raises(OSError) as error, named_errors(tmp_path / "a.npy"):
        raise OSError("2 requested and 1 written")
    assert unwritable(error.value) == (
        f"{tmp_path}/a.npy cannot be written: No space left on device; choose another place with -o"
    )


def test_a_full_disk_names_the_file(tmp_path):
    def save():
        with atomic_path(tmp_path / "a.npz") as path:
            path.symlink_to("/dev/full")
            np.savez(path, a=np.zeros(100_000))

    def fill():
        for _ in range(20):
            writer.append(np.zeros((64, 64, 3), np.uint8))

    with pytest.raises(OSError, match="No space left") as caught:
        save()
    assert caught.value.errno == errno.ENOSPC
    line = unwritable(caught.value)
    assert line is not None
    assert line.startswith(str(tmp_path / "a.npz"))
    (tmp_path / "clip.rgb").symlink_to("/dev/full")
    writer = ClipStoreWriter(tmp_path, (64, 64))
    with pytest.raises(OSError, match=r"clip\.rgb"):
        fill()
    assert unwritable(OSError(errno.EBADF, "Bad file descriptor")) is None
