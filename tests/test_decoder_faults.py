"""Decoders that hang, crash or never end are one line and exit code 3; stand-ins for ffmpeg do it on demand."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_files import write_numbered

from dpm_cli.cli import main
from dpm_cli.errors import DpmError, InputError, UsageError
from dpm_cli.video import ffmpeg, image_decoder, watched
from dpm_cli.video.bars import Area
from dpm_cli.video.decode import VideoDecoder
from dpm_cli.video.encode import write_mp4
from dpm_cli.video.probe import probe

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins are shell scripts")

_FRAMES = f"""exec {sys.executable} -c '
import sys
for n in range(10**9):
    sys.stderr.write(f"[showinfo] config in time_base: 1/1000 n: {{n}} pts: -{{n}}\\n")
    sys.stdout.buffer.write(bytes(48 * 64 * 3)); sys.stdout.flush()'"""
FAULTS = {
    "hangs": ("sleep 60", "has given nothing for 0.4 s; DPM_DECODE_TIMEOUT=SECONDS waits longer"),
    "crashes": ("kill -SEGV $$", r"died \(SIGSEGV\)"),
    "floods": ("exec cat /dev/zero", "has given nothing for 0.4 s"),
    "floods its log": ('exec yes "[showinfo] n: 1 pts: 5" >&2', "has given nothing for 0.4 s"),
    "never ends": (_FRAMES, "gives many more than the 12 frames it lists"),
}


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("faults") / "a.mp4", 12)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Makes ffmpeg do `what` where `word` is among its arguments, and its own work elsewhere."""
    real = ffmpeg.executable()
    caches = (ffmpeg.executable, ffmpeg.has_filter, ffmpeg.every_frame_once)

    def make(word: str, what: str) -> None:
        script = tmp_path / "ffmpeg"
        script.write_text(
            f'#!/bin/sh\nreal={real}\ncase " $* " in *" {word} "*)\n{what}\n;;\nesac\nexec $real "$@"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("DPM_FFMPEG", str(script))
        monkeypatch.setenv("DPM_DECODE_TIMEOUT", "0.4")
        for cached in caches:
            cached.cache_clear()

    yield make
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize("what", FAULTS)
def test_what_goes_wrong_while_frames_come_is_said_and_leaves_nothing(
    video, stand_in, monkeypatch, what
):
    info = probe(video)
    script, said = FAULTS[what]
    stand_in("rawvideo", script)
    if "given nothing" not in said:  # a busy machine may take its time to start them
        monkeypatch.setenv("DPM_DECODE_TIMEOUT", "60")
    threads = threading.active_count()
    with VideoDecoder(info, np.arange(12), (48, 64)) as decoder, pytest.raises(DpmError) as error:
        list(decoder)
    assert error.match(rf"a\.mp4 cannot be decoded: ffmpeg {said}")
    assert isinstance(error.value, InputError)
    assert threading.active_count() == threads


@pytest.mark.parametrize("word", ["framecrc", "null"])
def test_what_goes_wrong_while_a_video_is_looked_at_is_said(video, stand_in, word):
    stand_in(word, "sleep 60")
    with pytest.raises(InputError, match=r"a\.mp4 cannot be decoded: ffmpeg has given nothing"):
        probe(video)


def test_the_frames_before_a_crash_are_not_taken_for_the_clip(video, stand_in, capsys, monkeypatch):
    stand_in("rawvideo", '$real "$@" | head -c 30000; kill -BUS $$')
    monkeypatch.setattr(sys, "argv", ["dpm", "reconstruct", str(video), "-q", "--prior", "none"])
    monkeypatch.setenv("DPM_DECODE_TIMEOUT", "60")
    monkeypatch.chdir(video.parent)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "died (SIGBUS)" in said.err


def test_ffmpeg_itself_is_asked_under_watch(stand_in, tmp_path):
    stand_in("-filters", "sleep 60")
    with pytest.raises(DpmError, match="has given nothing"):
        ffmpeg.has_filter("zscale")
    stand_in("libx264", "sleep 60")
    frames = (np.zeros((480, 640, 3), np.uint8) for _ in range(3))
    with pytest.raises(DpmError, match=r"b\.mp4 cannot be encoded: has given nothing"):
        write_mp4(tmp_path / "b.mp4", frames, 10)
    (tmp_path / "no_program").write_text("text")
    with pytest.raises(DpmError, match="no_program cannot be run: Permission denied"):
        watched.run_watched([str(tmp_path / "no_program")])


IMAGE_FAULTS = {
    "crashes": ("os.kill(os.getpid(), 11)", r"the image decoder died \(SIGSEGV\)"),
    "hangs": ("time.sleep(60)", "the image decoder has given nothing for 1 s"),
    "wants all memory": ("bytearray(1 << 34)", "needs more than 8 GiB of memory"),
}


@pytest.mark.parametrize("what", IMAGE_FAULTS)
def test_an_image_that_ends_the_decoder_is_one_line_and_the_next_is_read(
    tmp_path, monkeypatch, what
):
    script, said = IMAGE_FAULTS[what]
    swap = f"d.read_image = lambda p: p.name == 'bad.png' and {script} or read(p); d.serve()"
    start = "import sys; sys.path[:] = {path!r}; import os, time, dpm_cli.video.image_decoder as d"
    monkeypatch.setattr(image_decoder, "_START", f"{start}; read = d.read_image; {swap}")
    monkeypatch.setenv("DPM_DECODE_TIMEOUT", "1" if what == "hangs" else "60")
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    for name in ("bad.png", "good.png"):
        Image.fromarray(picture).save(tmp_path / name)
    decoder = image_decoder.ImageDecoder()
    with pytest.raises(InputError, match=rf"bad\.png .*{said}"):
        decoder.read(tmp_path / "bad.png", Area(0, 0, 30, 20), (20, 30))
    monkeypatch.setenv("DPM_DECODE_TIMEOUT", "60")
    part = decoder.read(tmp_path / "good.png", Area(2, 3, 10, 8), (8, 10))
    assert np.array_equal(part, picture[3:11, 2:12])
    decoder.rest()


def test_what_a_library_prints_while_it_decodes_is_no_answer(tmp_path, monkeypatch):
    loud = "d.read_image = lambda p: os.write(1, b'warning: odd') and read(p); d.serve()"
    start = "import sys; sys.path[:] = {path!r}; import os, dpm_cli.video.image_decoder as d"
    monkeypatch.setattr(image_decoder, "_START", f"{start}; read = d.read_image; {loud}")
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    decoder = image_decoder.ImageDecoder()
    read = decoder.read(tmp_path / "a.png", Area(0, 0, 30, 20), (20, 30))
    assert np.array_equal(read, picture)
    decoder.rest()


def test_a_slow_reader_is_no_fault_of_the_decoder(video, monkeypatch):
    info = probe(video)
    monkeypatch.setenv("DPM_DECODE_TIMEOUT", "60")
    with VideoDecoder(info, np.arange(12), (480, 640)) as decoder:
        frames = iter(decoder)
        next(frames)
        assert decoder._stream is not None
        decoder._stream.child._silent_s = 1.0
        time.sleep(1.3)
        assert len(list(frames)) == 11


def test_words_without_end_are_cut(monkeypatch):
    monkeypatch.setattr(watched, "MOST_TEXT", 1 << 20)
    said = watched.run_watched(["yes"])
    assert said.fault == "talks without end"
    assert len(said.stdout) < 1 << 21


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits other processes")
def test_memory_of_decoders_is_limited(monkeypatch):
    monkeypatch.setattr(watched, "MOST_MEMORY", 64 << 20)
    ask = [sys.executable, "-c", "import time; time.sleep(.1); bytearray(1 << 28)"]
    assert "MemoryError" in watched.run_watched(ask).stderr
    limit = subprocess.run(["sh", "-c", "ulimit -d"], capture_output=True, check=True).stdout
    assert limit.strip() == b"unlimited", "the limit is the child's alone"


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf"])
def test_a_timeout_that_is_none_is_said(monkeypatch, text):
    monkeypatch.setenv("DPM_DECODE_TIMEOUT", text)
    with pytest.raises(UsageError, match="give a positive number of seconds"):
        watched.silent_s()


def test_paths_of_images_are_those_of_the_folder_that_one_stands_in(tmp_path, monkeypatch):
    decoder = image_decoder.ImageDecoder()
    for width in (5, 6):
        folder = tmp_path / str(width)
        folder.mkdir()
        Image.new("RGB", (width, 4)).save(folder / "a.png")
        monkeypatch.chdir(folder)
        assert decoder.size(Path("a.png")) == (4, width)
    decoder.rest()
