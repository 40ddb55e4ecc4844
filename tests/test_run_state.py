import pytest

from dpm_cli.errors import UsageError
from dpm_cli.files import write_json
from dpm_cli.pipeline.run_state import clear_own_files, examine_folder
from dpm_cli.version import __version__

SAME = {"fingerprint": "f", "digest": "d"}


def ask(folder, *, resume=True, overwrite=False, **changed):
    return examine_folder(folder, **{**SAME, **changed}, resume=resume, overwrite=overwrite)


def run_in(folder, stages, version=__version__):
    write_json(folder / "dpm.json", {"schema": 1, "stages": stages, "version": version, **SAME})


def test_an_empty_or_missing_folder_is_fresh(tmp_path):
    assert ask(tmp_path / "new").action == "fresh"
    assert ask(tmp_path).action == "fresh"


def test_what_a_writer_killed_at_its_first_file_has_left_is_nothing(tmp_path):
    left = tmp_path / ".dpm.0123abcd.tmp.json"
    left.write_text("{")
    assert ask(tmp_path).action == "fresh"
    clear_own_files(tmp_path)
    assert not left.exists()
    (tmp_path / ".notes.tmp").write_text("mine")
    with pytest.raises(UsageError, match="not a run of dpm"):
        ask(tmp_path)


def test_the_same_run_goes_on_or_is_done(tmp_path):
    run_in(tmp_path, [])
    assert ask(tmp_path).action == "resume"
    run_in(tmp_path, ["frames"])
    assert ask(tmp_path).action == "done"
    with pytest.raises(UsageError, match="same run"):
        ask(tmp_path, resume=False)
    assert ask(tmp_path, overwrite=True).action == "fresh"


@pytest.mark.parametrize("changed", [{"fingerprint": "g"}, {"digest": "e"}])
def test_another_run_needs_overwrite(tmp_path, changed):
    run_in(tmp_path, ["frames"])
    with pytest.raises(UsageError, match="--overwrite"):
        ask(tmp_path, **changed)
    assert ask(tmp_path, overwrite=True, **changed).action == "fresh"


def test_an_unfinished_run_of_another_version_is_refused_a_finished_one_is_not(tmp_path):
    for stages in ([], ["frames"]):
        run_in(tmp_path, stages, version="0.0.1")
        if stages:
            assert ask(tmp_path).action == "done"
        else:
            with pytest.raises(UsageError, match=r"begun by dpm 0\.0\.1: finish it with that"):
                ask(tmp_path)


def test_a_foreign_folder_and_a_file_are_refused(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a run of dpm"):
        ask(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        ask(tmp_path / "holiday.txt")


def test_clearing_removes_our_names_only(tmp_path):
    run_in(tmp_path, ["frames"])
    ours = [
        "frames/000000.npz",
        "points/frame_000001.ply",
        "flow/fwd_000000_000001.flo",
        "masks/dynamic_000000.png",
    ]
    users = ["frames/notes.txt", "points/edited.ply", "holiday.jpg"]
    for name in ours + users:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    clear_own_files(tmp_path)
    assert not any((tmp_path / n).exists() for n in [*ours, "dpm.json"])
    assert all((tmp_path / n).exists() for n in users)


def test_clearing_a_foreign_folder_removes_nothing(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "000000.npz").write_text("not ours")
    clear_own_files(tmp_path)
    assert (tmp_path / "frames" / "000000.npz").exists()
