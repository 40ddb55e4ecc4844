"""Fuzz every reader of files with damaged ones, and print what was found.

    python tests/fuzz_readers.py --seconds 120 [--reader NAME] [--seed 0]

A reader that raises anything but DpmError, takes more than two seconds, or wants more than 2 GiB more memory is a
finding; its file is kept in `--keep`. Coverage is not guided: atheris has no wheel for every Python that dpm runs on.
"""

import argparse
import random
import resource
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from hostile_files import Reader, damage, make_readers

from dpm_cli.errors import DpmError

_MORE_BYTES = 2 * 2**30


def outcome(reader: Reader, content: bytes, place: Path, slow_s: float = float("inf")) -> str:
    """`read`, `refused`, or what is wrong with the reader; also that it took longer than `slow_s`."""
    call = reader.on(content, place)
    begun = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call()
        result = "read"
    except DpmError as error:
        result = "refused" if "\n" not in str(error) else f"{reader.name}: a message of two lines"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = next(
            (
                f
                for f in reversed(traceback.extract_tb(error.__traceback__))
                if "dpm_cli" in f.filename
            ),
            frame,
        )
        own = f"{Path(where.filename).name}:{where.lineno}"
        result = f"{reader.name}: {type(error).__name__} at {own}: {str(error)[:90]}"
    if time.perf_counter() - begun > slow_s:
        result = f"{reader.name}: {time.perf_counter() - begun:.1f} s"
    return result


def fuzz(
    readers: list[Reader], seconds: float, seed: int, keep: Path | None, slow_s: float
) -> Counter[str]:
    """Executions by outcome, over all readers in turn."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    good = {reader.name: reader.file.read_bytes() for reader in readers}
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as place:
        while time.monotonic() < end:
            for number, reader in enumerate(readers):
                (folder := Path(place) / str(number)).mkdir(exist_ok=True)
                content = damage(good[reader.name], rng)
                result = outcome(reader, content, folder, slow_s)
                counts[result] += 1
                if ":" in result and counts[result] == 1:
                    print(result, flush=True)
                    if keep:
                        keep.mkdir(parents=True, exist_ok=True)
                        name = f"{sum(counts.values())}_{reader.name.replace(' ', '_')}"
                        (keep / name).write_bytes(content)
    return counts


def limit_memory() -> None:
    """No reader may take a stranger's word for how much memory to ask for."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", default="")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--slow", type=float, default=2.0, help="seconds that a reader may take")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        readers = [r for r in make_readers(Path(root)) if options.reader in r.name]
        for reader in readers:
            print(f"{reader.name}: {outcome(reader, reader.file.read_bytes(), Path(root))}")
        limit_memory()
        counts = fuzz(readers, options.seconds, options.seed, options.keep, options.slow)
    findings = {name: n for name, n in counts.items() if ":" in name}
    print(
        f"{sum(counts.values())} executions of {len(readers)} readers: {counts['read']} read,",
        end=" ",
    )
    print(
        f"{counts['refused']} refused, {sum(findings.values())} findings of {len(findings)} kinds"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
