"""Damaged and hostile files: every reader gives a result or one line; sizes are bounded; nothing is run or escapes."""

import contextlib
import io
import json
import random
import resource
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzz_readers import outcome
from hostile_files import damage, make_readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dpm_cli.config import parse_batch_size, parse_formats, parse_prior_kind, parse_size
from dpm_cli.errors import InputError, UsageError
from dpm_cli.focal.given import parse_intrinsics
from dpm_cli.formats.npz_read import load_npz
from dpm_cli.passes.pairs import parse_strides
from dpm_cli.sequence import Sequence4D, read_manifest
from dpm_cli.video.bars import parse_area
from dpm_cli.video.images import image_size, read_image
from dpm_cli.video.inputs import natural_key
from dpm_cli.video.select import select_frames, working_size

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
FEW = settings(max_examples=60, deadline=None, suppress_health_check=SLOW)


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return make_readers(tmp_path_factory.mktemp("good"))


def test_the_good_file_of_every_reader_is_read(readers, tmp_path):
    outcomes = {r.name: outcome(r, r.file.read_bytes(), tmp_path) for r in readers}
    assert {name for name, result in outcomes.items() if result != "read"} == {"mini"}


@FEW
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused_in_one_line(readers, tmp_path_factory, data, seed):
    reader = data.draw(st.sampled_from(readers), label="reader")
    content = damage(reader.file.read_bytes(), random.Random(seed))
    assert outcome(reader, content, tmp_path_factory.mktemp("bad")) in ("read", "refused")


@FEW
@given(data=st.data(), content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_one_line(readers, tmp_path_factory, data, content):
    reader = data.draw(st.sampled_from(readers), label="reader")
    assert outcome(reader, content, tmp_path_factory.mktemp("bad")) in ("read", "refused")


PARSERS = {
    "batch": parse_batch_size,
    "size": parse_size,
    "formats": parse_formats,
    "prior": parse_prior_kind,
    "pairs": parse_strides,
    "crop": lambda text: parse_area(text, (480, 640)),
    "intrinsics": parse_intrinsics,
}


@FEW
@given(
    st.sampled_from(sorted(PARSERS)), st.text(max_size=30) | st.from_regex(r"[-\d.,ex ²٣]{0,20}")
)
def test_any_word_for_an_option_is_taken_or_refused_in_one_line(name, text):
    with contextlib.suppress(UsageError, InputError):
        PARSERS[name](text)


@FEW
@given(st.lists(st.text(max_size=8), max_size=12))
def test_any_names_can_be_sorted(names):
    assert sorted(sorted(names, key=natural_key), key=natural_key) == sorted(names, key=natural_key)


NUMBER = (
    st.none() | st.floats(-1e6, 1e6) | st.sampled_from((float("nan"), float("inf"), 0.0, 1e-300))
)


@FEW
@given(start=NUMBER, end=NUMBER, fps=NUMBER, stride=st.integers(-2, 50), most=st.integers(-1, 40))
def test_any_choice_of_frames_is_ascending_or_refused(start, end, fps, stride, most):
    times = np.arange(30) / 7
    try:
        found = select_frames(times, start=start, end=end, fps=fps, stride=stride, max_frames=most)
    except (UsageError, InputError):
        return
    assert (np.diff(found) > 0).all()
    assert 0 < len(found) <= most


@FEW
@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(32, 2048), st.integers(1, 16))
def test_any_working_size_is_of_the_multiple_and_not_much_above_the_side(h, w, side, multiple):
    found = working_size((h, w), side, multiple)
    assert all(n % multiple == 0 and n >= multiple for n in found)
    assert max(found) <= max(min(side, max(h, w)), 1) + multiple


def claim(path: Path, shape: tuple[int, ...], dtype: str = "<f4", content: bytes = b"") -> None:
    """An npz whose array says that it has `shape`."""
    header = io.BytesIO()
    facts = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("depth.npy", header.getvalue() + content)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2**40,), "<f4"), ((2**62, 4), "<f8"), ((-1,), "<f4"), ((1,), "|O")]
)
def test_an_array_that_claims_what_it_does_not_hold_is_refused_before_memory_is_asked_for(
    tmp_path, shape, dtype
):
    claim(tmp_path / "a.npz", shape, dtype, b"\0" * 8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((InputError, ValueError)):
        load_npz(tmp_path / "a.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_an_archive_that_unpacks_without_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dpm_cli.formats.npz_read.MOST_BYTES", 10**6)
    claim(tmp_path / "a.npz", (10**6,), "<f4", b"\0" * 4 * 10**6)
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(InputError, match="unpacks to 4000000 bytes"):
        load_npz(tmp_path / "a.npz")


def test_npz_with_pickles_are_refused_and_not_run(tmp_path):
    np.savez(tmp_path / "a.npz", depth=np.array([print], object))
    with pytest.raises(InputError, match="Python objects"):
        load_npz(tmp_path / "a.npz")
    with pytest.raises(InputError):
        Sequence4D.open(tmp_path / "a.npz")


def test_npz_is_read_as_numpy_reads_it(tmp_path):
    arrays = {
        "plain": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.array("opencv"),
        "none": np.zeros((0, 3), np.float32),
    }
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **arrays)
        for name, array in load_npz(tmp_path / "a.npz").items():
            assert array.dtype == arrays[name].dtype
            np.testing.assert_array_equal(array, arrays[name])
            assert array.flags.writeable
    assert set(load_npz(tmp_path / "a.npz", ("text", "missing"))) == {"text"}


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG that says that it is so big."""
    Image.new("L", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("read", [image_size, read_image])
def test_an_image_bomb_is_refused_by_its_header(tmp_path, read):
    with pytest.raises(InputError, match=r"is too big .* at most 179 megapixels"):
        read(bomb(tmp_path / "a.png", 60_000, 60_000))
    Image.new("1", (12_000, 8_000)).save(tmp_path / "b.png")
    assert image_size(tmp_path / "b.png") == (8_000, 12_000)


def test_a_manifest_of_any_size_and_depth_is_bounded(tmp_path, monkeypatch):
    (tmp_path / "dpm.json").write_text("[" * 200_000)
    with pytest.raises(InputError):
        read_manifest(tmp_path)
    for wrong in ({"schema": "1"}, {"schema": 1, "stages": "frames"}, {"schema": 99}, []):
        (tmp_path / "dpm.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError):
            read_manifest(tmp_path)
    monkeypatch.setattr("dpm_cli.sequence.run_folder._MOST_BYTES", 100)
    (tmp_path / "dpm.json").write_text(json.dumps({"schema": 1, "notes": ["x" * 100]}))
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(tmp_path)


def test_the_fuzz_script_runs(tmp_path):
    script = Path(__file__).with_name("fuzz_readers.py")
    done = subprocess.run(
        [sys.executable, script, "--seconds", "0.5", "--reader", "flo", "--slow", "60"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 findings of 0 kinds" in done.stdout
