"""Interrupted runs, as reconstruct commands meet them: each is stopped once, resumed, and compared with a whole one.

    python tests/interruptions.py kill --times 50 --model geometric
    python tests/interruptions.py term --times 10
    python tests/interruptions.py kill-write   (killed at one write after the other)
    python tests/interruptions.py write        (the disk is full at one write after the other)
    python tests/interruptions.py read-only    (the disk turns read-only at one write after the other)
    python tests/interruptions.py clock        (killed; the clock jumps by days, back and forth, all the time)
    python tests/interruptions.py disk         (a disk that is really too small; root on Linux)

Every run is a forked child, so the seconds of importing torch are paid once. Prints a table of where the run was
stopped, and what differed: file contents are compared byte by byte, the manifest without times and peak memory.
"""

import argparse
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio

import dpm_cli.files
import dpm_cli.pipeline.run
from dpm_cli.cli import main
from dpm_cli.workshop.synthetic import render_clip, scene_seed

_VARIES = ("timings_s", "peak_memory_bytes")
AT_RANDOM, AT_WRITES = ("kill", "term", "clock"), ("kill-write", "write", "read-only")


def photos(folder: Path, frames: int, size: tuple[int, int]) -> Path:
    """A rendered clip as pictures, rendered in a child: a process that has used torch's threads cannot be forked."""

    def render() -> None:
        clip = render_clip(scene_seed("test", 1), frames, size, camera="orbit")
        for t, image in enumerate(clip.images[0].permute(0, 2, 3, 1).numpy()):
            iio.imwrite(folder / f"{t:03d}.png", image)

    folder.mkdir(parents=True)
    assert finish(start(render)) == 0
    return folder


def start(work: Callable[[], object]) -> int:
    """Process number of a child that does `work`."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(child: int) -> int:
    """Its exit code, negative the signal that has ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Job:
    """One command on one folder, started as often as wanted; what it prints goes to `log`."""

    def __init__(self, source: Path, run: Path, model: str):
        self.run, self.log = run, run.with_suffix(".log")
        self.words = ["dpm", "reconstruct", str(source), "-o", str(run), "--model", model]

    def start(self, before: Callable[[], object] | None = None) -> int:
        def work() -> None:
            log = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.argv = [*self.words, "--device", "cpu", "-q", "--batch-size", "1"]
            (before or self.always)()
            main()

        return start(work)

    def always(self) -> None:
        """What is wrong with the machine the whole time."""

    def said(self) -> list[str]:
        return self.log.read_text(errors="replace").strip().splitlines()


class ClockJob(Job):
    """The same where the clock jumps: every look at it, and every file's time, is up to ten days off."""

    def always(self) -> None:
        exact = time.time

        def jumping() -> float:
            return exact() + random.uniform(-864000, 864000)

        def replace(source: str | Path, target: str | Path) -> None:
            os.utime(source, (jumping(), jumping()))
            os.rename(source, target)

        random.seed(os.getpid())
        time.time, dpm_cli.files.os.replace = jumping, replace


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run by its name; of the manifest what must not vary."""
    found = {}
    for path in sorted(run.rglob("*")):
        if path.is_file():
            found[path.relative_to(run).as_posix()] = path.read_bytes()
    manifest = {k: v for k, v in json.loads(found["dpm.json"]).items() if k not in _VARIES}
    return found | {"dpm.json": json.dumps(manifest, sort_keys=True).encode()}


def differences(run: Path, reference: dict[str, bytes]) -> list[str]:
    """Files that are missing, too many or of other bytes."""
    own = contents(run)
    return sorted(n for n in own.keys() | reference.keys() if own.get(n) != reference.get(n))


def stage(run: Path) -> str:
    """What a stopped run had reached."""
    work = run / ".dpm_work"
    if not (run / "dpm.json").is_file():
        return "before the first file"
    if "frames" in json.loads((run / "dpm.json").read_text())["stages"]:
        return "writing outputs"
    if (run / "cameras.npz").is_file():
        return "motion or frames"
    if any((work / "passes").glob("chunk_*")):
        return "passes or alignment"
    return "decoding to first pass" if work.is_dir() else "start"


def stopped_at_random(job: Job, seconds: float, number: int) -> tuple[str, str]:
    """Where a run was when the signal came, and how it ended."""
    child = job.start()
    time.sleep(random.uniform(0, seconds))
    os.kill(child, number)
    code = finish(child)
    return stage(job.run), f"exit {code}"


def stopped_at_write(job: Job, number: int, how: str) -> tuple[str, str]:
    """The run that is killed, or cannot write any more, from its `number`-th file on; `end` where it writes fewer."""
    left, kill = [number], how == "kill-write"
    fault = errno.EROFS if how == "read-only" else errno.ENOSPC

    def replace(source: str | Path, target: str | Path) -> None:
        left[0] -= 1
        if left[0] < 0 and kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if left[0] < 0:
            raise OSError(fault, os.strerror(fault), str(source), None, str(target))
        os.rename(source, target)

    def before() -> None:
        dpm_cli.files.os.replace = replace

    code = finish(job.start(before))
    told = f"exit {code}" if kill else one_line(job, code, os.strerror(fault))
    return ("end" if code == 0 else stage(job.run)), told


def full_disk(job: Job) -> tuple[str, str]:
    """A run on a disk that is too small, and that somebody else has filled after the start."""

    def before() -> None:
        dpm_cli.pipeline.run.require_space = lambda *_: None

    code = finish(job.start(before))
    full = os.strerror(errno.ENOSPC)
    return ("end" if code == 0 else stage(job.run)), one_line(job, code, full)


def one_line(job: Job, code: int, fault: str) -> str:
    """What a disk that cannot be written should end in: code 1 and one line that names a path and the fault."""
    said = job.said()
    good = code == 1 and len(said) == 1 and fault in said[0]
    return "one line, exit 1" if good or code == 0 else f"exit {code}: {said[-3:]}"


def resumed(job: Job, reference: dict[str, bytes]) -> str:
    """What differs after the same command was given again."""
    code = finish(job.start())
    if code:
        return f"resume: exit {code}: {job.said()[-1:]}"
    different = differences(job.run, reference)
    return f"differs: {', '.join(different[:4])}" if different else "identical"


def trials(args: argparse.Namespace, source: Path, root: Path, whole_s: float, whole_bytes: int):
    """(job, where it was stopped, how it ended) of every trial; the folder is removed afterwards."""
    number = 0
    while number < args.times:
        kind = ClockJob if args.how == "clock" else Job
        job = kind(source, root / f"run_{number}" / "run", args.model)
        job.run.parent.mkdir()
        begun = time.monotonic()
        disk = args.how == "disk"
        if disk:
            size = int(whole_bytes * 1.6 * (number + 1) / args.times)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(job.run.parent)]
            subprocess.run(mount, check=True)
            job.log = root / f"run_{number}.log"
            where, how = full_disk(job)
            subprocess.run(["mount", "-o", "remount,size=1g", str(job.run.parent)], check=True)
        elif args.how in AT_WRITES:
            where, how = stopped_at_write(job, number, args.how)
        else:
            sent = signal.SIGTERM if args.how == "term" else signal.SIGKILL
            where, how = stopped_at_random(job, whole_s, sent)
        stopped_s = time.monotonic() - begun
        yield job, where, how
        if args.how in AT_RANDOM:
            # The machine may be busier than it was for the whole run.
            both = time.monotonic() - begun
            whole_s = max(0.5 * whole_s, min(both, 0.7 * whole_s + 0.3 * (both - 0.4 * stopped_s)))
        if disk:
            subprocess.run(["umount", str(job.run.parent)], check=True)
        shutil.rmtree(job.run.parent)
        number += 1
        if args.how in AT_WRITES and where == "end":
            return


def table(args: argparse.Namespace) -> int:
    """Run all trials, print a line for each kind; the number of bad ones."""
    random.seed(args.seed)
    root = Path(tempfile.mkdtemp(prefix="interruptions_"))
    source = photos(root / "photos", args.frames, (64, 96))
    whole = Job(source, root / "whole", args.model)
    begun = time.monotonic()
    assert finish(whole.start()) == 0, whole.said()
    seconds = time.monotonic() - begun
    reference = contents(whole.run)
    size = sum(map(len, reference.values()))
    print(f"whole run: {seconds:.1f} s, {size} bytes in {len(reference)} files", flush=True)
    counts: Counter[tuple[str, str, str]] = Counter()
    for job, where, how in trials(args, source, root, seconds, size):
        result = resumed(job, reference)
        counts[where, how, result] += 1
        if result != "identical":
            print(f"  {where} | {how} | {result}", flush=True)
    for (where, how, result), count in sorted(counts.items()):
        print(f"{count:4d}  {where:24} {how:20} {result}")
    shutil.rmtree(root)
    return sum(n for (_, how, result), n in counts.items() if result != "identical" or ":" in how)


def arguments() -> argparse.Namespace:
    """What the caller wants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=(*AT_RANDOM, *AT_WRITES, "disk"))
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--model", default="geometric")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(1 if table(arguments()) else 0)
