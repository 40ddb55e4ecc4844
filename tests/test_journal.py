"""What a run knows of its own files: checksums, damage found and repaired, stops by signals, a disk too small."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interruptions import contents, differences
from oracle import OraclePredictor
from pictures import write_photos
from video_files import Notes

from dpm_cli.checked_array import save_checked
from dpm_cli.cli import main
from dpm_cli.config import ClipSettings, ReconstructSettings
from dpm_cli.errors import DpmError, InputError
from dpm_cli.files import write_json
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline import reconstruct
from dpm_cli.pipeline.disk import require_space, run_bytes
from dpm_cli.pipeline.recover import drop_torn_parts
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import RunWriter, read_manifest, verify_run
from dpm_cli.workshop.synthetic import render_clip, scene_seed

FRAMES, SIZE = 4, (48, 64)
SETTINGS = ReconstructSettings(model="oracle", device="cpu", batch_size=2, formats=("flo", "masks"))
OLD = ("sha256", "files")
"""Keys that manifests and stores did not have."""
GEOMETRIC = ReconstructSettings(model="geometric", device="cpu", formats=())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    truth = render_clip(scene_seed("test", 1), FRAMES, SIZE, camera="orbit")
    write_photos(folder, truth)
    LOADERS["oracle"] = lambda weights, device, dtype: OraclePredictor(truth)
    yield folder
    del LOADERS["oracle"]


@pytest.fixture
def run(photos, tmp_path):
    """A finished run of its own."""
    reconstruct(str(photos), tmp_path / "run", SETTINGS)
    return tmp_path / "run"


def interrupt(*_, **__):
    raise KeyboardInterrupt


def flip(path: Path, at: int) -> None:
    """Another byte, as a bad disk makes it; the file is then newer than the manifest."""
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)
    soon = time.time() + 5
    os.utime(path, (soon, soon))


def test_the_journal_holds_every_file_and_verify_names_the_damaged(run, capsys, monkeypatch):
    found = verify_run(run)
    files = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    manifest = read_manifest(run)
    assert manifest is not None
    assert files - {"dpm.json"} == set(manifest["files"])
    assert (found["kind"], found["files"], found["damaged"]) == ("run", len(files) - 1, [])
    flip(run / "frames" / "000002.npz", 999)
    (run / "masks" / "dynamic_000000.png").unlink()
    assert verify_run(run)["damaged"] == ["frames/000002.npz", "masks/dynamic_000000.png"]
    monkeypatch.setattr(sys, "argv", ["dpm", "info", str(run), "--verify", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert json.loads(capsys.readouterr().out)["damaged"][0] == "frames/000002.npz"


def test_what_is_damaged_is_written_again_and_nothing_else(run, photos, monkeypatch):
    reference = contents(run)
    written: list[int] = []
    write = RunWriter.write_frame
    monkeypatch.setattr(
        RunWriter, "write_frame", lambda self, t, frame: (written.append(t), write(self, t, frame))
    )
    flip(run / "flow" / "fwd_000000_000001.flo", 99)
    reconstruct(str(photos), run, SETTINGS)
    assert written == []
    assert differences(run, reference) == []
    flip(run / "frames" / "000002.npz", 999)
    reconstruct(str(photos), run, SETTINGS)
    assert written == [2]
    assert differences(run, reference) == []


def test_a_run_stopped_while_it_writes_frames_keeps_those_it_has(photos, tmp_path, monkeypatch):
    written: list[int] = []
    write = RunWriter.write_frame

    def stopping(self, t, frame):
        if t == 2 and len(written) == 2:
            raise KeyboardInterrupt
        written.append(t)
        write(self, t, frame)

    monkeypatch.setattr("dpm_cli.sequence.run_folder._JOURNAL_S", 0.0)
    monkeypatch.setattr(RunWriter, "write_frame", stopping)
    with pytest.raises(DpmError, match="goes on"):
        reconstruct(str(photos), tmp_path / "run", SETTINGS)
    written.append(-1)
    reconstruct(str(photos), tmp_path / "run", SETTINGS)
    assert written == [0, 1, -1, 2, 3]
    reconstruct(str(photos), tmp_path / "whole", SETTINGS)
    assert differences(tmp_path / "run", contents(tmp_path / "whole")) == []


def test_parts_that_a_power_cut_has_torn_are_made_again(photos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("dpm_cli.pipeline.compute.fuse_run", interrupt)
        with pytest.raises(DpmError):
            reconstruct(str(photos), tmp_path / "run", SETTINGS)
    work = tmp_path / "run" / ".dpm_work"
    (work / "passes" / "pass_000001.npy").write_bytes(b"")
    flip(work / "passes" / "chunk_000002_000004.npz", 300)
    flip(work / "images" / "clip.rgb", 5000)
    notes = Notes()
    reconstruct(str(photos), tmp_path / "run", SETTINGS, reporter=notes)
    assert any("pass_000001.npy is missing or damaged" in line for line in notes.lines)
    reconstruct(str(photos), tmp_path / "whole", SETTINGS)
    assert differences(tmp_path / "run", contents(tmp_path / "whole")) == []


def test_a_work_folder_as_earlier_versions_left_it_is_made_anew(photos, tmp_path, monkeypatch):
    """Passes were npz files, stores had no checksum, manifests no journal."""
    with monkeypatch.context() as patch:
        patch.setattr("dpm_cli.pipeline.compute.fuse_run", interrupt)
        with pytest.raises(DpmError):
            reconstruct(str(photos), tmp_path / "run", SETTINGS)
    work = tmp_path / "run" / ".dpm_work"
    for path in (work / "passes").glob("pass_*.npy"):
        np.savez(path.with_suffix(".npz"), log_depth=np.zeros((2, 3, 4)))
        path.unlink()
    for path in (work / "images" / "clip.json", tmp_path / "run" / "dpm.json"):
        write_json(path, {k: v for k, v in json.loads(path.read_text()).items() if k not in OLD})
    reconstruct(str(photos), tmp_path / "run", SETTINGS)
    reconstruct(str(photos), tmp_path / "whole", SETTINGS)
    assert differences(tmp_path / "run", contents(tmp_path / "whole")) == []


def test_what_a_killed_writer_has_left_is_removed_and_nothing_else(run, photos):
    reference = contents(run)
    left = ["masks/.dynamic_000000.0123abcd.tmp.png", ".dpm.89abcdef.tmp.json"]
    for name in [*left, ".mine.tmp", "masks/.notes.tmp.txt"]:
        (run / name).write_bytes(b"x")
    (run / "flow" / "fwd_000000_000001.flo").unlink()
    reconstruct(str(photos), run, SETTINGS)
    assert differences(run, reference) == [".mine.tmp", "masks/.notes.tmp.txt"]


def test_a_chunk_without_its_passes_does_not_count(tmp_path):
    store = PassStore(tmp_path / "passes")
    for start in (0, 2):
        store.write_chunk(start, start + 2, {"pairs": np.zeros((2, 2))})
        for number in (start, start + 1):
            save_checked(tmp_path / "passes" / f"pass_{number:06d}.npy", np.zeros(3))
    flip(tmp_path / "passes" / "pass_000003.npy", 140)
    assert drop_torn_parts(tmp_path) == ["passes/pass_000003.npy"]
    assert store.done() == [(0, 2)]


def test_a_batch_that_was_halved_and_then_made_whole_counts_once(tmp_path):
    store = PassStore(tmp_path)
    for start, stop in ((0, 2), (0, 4), (4, 6), (6, 8)):
        store.write_chunk(start, stop, {"pairs": np.full((stop - start, 2), start)})
    assert store.done() == [(0, 4), (4, 6), (6, 8)]
    assert len(store.read_chunks()["pairs"]) == 8


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\..\\b", "", "C:x"])
def test_a_strangers_journal_leads_nowhere(tmp_path, name):
    entry = {"bytes": 1, "sha256": "0"}
    write_json(tmp_path / "dpm.json", {"schema": 1, "stages": [], "files": {name: entry}})
    with pytest.raises(InputError, match="no file of a run"):
        verify_run(tmp_path)


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """What the geometric predictor makes of the photos without interruption."""
    run = tmp_path_factory.mktemp("whole") / "run"
    reconstruct(str(photos), run, GEOMETRIC)
    return contents(run)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_stopped_by_a_signal_goes_on_to_the_same_bytes(photos, whole, tmp_path, number):
    run = tmp_path / "run"
    words = ["-m", "dpm_cli", "reconstruct", str(photos), "-o", str(run), "-q", "--format", "none"]
    child = subprocess.Popen(
        [sys.executable, *words, "--model", "geometric", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while child.poll() is None and not any((run / ".dpm_work").glob("passes/chunk_*")):
        time.sleep(0.01)
    child.send_signal(number)
    _, said = child.communicate()
    if number == signal.SIGTERM:
        assert child.returncode == 130
        assert said.count("\n") == 1
        assert "the same command goes on" in said
        assert not (run / ".dpm_lock").exists()
    else:
        assert child.returncode == -signal.SIGKILL
    assert read_manifest(run)["stages"] == []  # pyright: ignore[reportOptionalSubscript]
    reconstruct(str(photos), run, GEOMETRIC)
    assert differences(run, whole) == []


def test_a_disk_too_small_is_told_before_the_start(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Free(10_000))
    with pytest.raises(DpmError, match=r"needs about .* MiB of disk and 0\.0 MiB is free"):
        reconstruct(str(photos), tmp_path / "other", SETTINGS)
    assert not (tmp_path / "other").exists()
    reconstruct(str(photos), run, SETTINGS)  # is there already
    require_space(tmp_path, 10_000, 0)
    require_space(tmp_path, 15_000, 5_000)
    with pytest.raises(DpmError):
        require_space(tmp_path, 15_001, 5_000)


class _Free:
    def __init__(self, free: int):
        self.free = free


def test_the_estimate_of_the_disk_holds_the_run_at_its_fullest(photos, tmp_path, monkeypatch):
    full: list[int] = []
    done = RunWriter.stage_done

    def measured(self, name):
        full.append(sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file()))
        done(self, name)

    monkeypatch.setattr(RunWriter, "stage_done", measured)
    settings = replace(SETTINGS, clip=ClipSettings(), formats=("ply", "flo", "masks"))
    reconstruct(str(photos), tmp_path / "run", settings)
    pixels, pairs = SIZE[0] * SIZE[1], 3 + 2
    told = run_bytes(FRAMES, pixels, pixels, pairs, settings.formats) - 2**20
    assert 0.85 * max(full) < told + 60_000 < 1.35 * max(full)
