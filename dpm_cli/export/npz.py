"""npz export: one file with exactly the keys of CONVENTIONS.md, written as a stream whatever its size."""

from pathlib import Path

import numpy as np

from dpm_cli.config import ExportOptions
from dpm_cli.formats.npz_stream import npz_stream
from dpm_cli.sequence import Sequence4D
from dpm_cli.sequence.frame import MOTION_KEYS
from dpm_cli.sequence.sequence import motion_dtype, motion_tail

_PIXEL_KEYS: dict[str, tuple[tuple[int, ...], type]] = {
    "points": ((3,), np.float32),
    "confidence": ((), np.float32),
    "valid": ((), np.bool_),
    "depth": ((), np.float32),
    "dynamic": ((), np.float32),
    "images": ((3,), np.uint8),
}


def export_npz(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write the file `path`."""
    count = len(sequence)
    jobs = [(key, count, tail, dtype) for key, (tail, dtype) in _PIXEL_KEYS.items()]
    jobs += [(key, count - 1, motion_tail(key), motion_dtype(key)) for key in MOTION_KEYS]
    with npz_stream(path) as stream, options.reporter.task("npz", len(jobs)) as advance:
        for key, array in sequence.header.arrays().items():
            stream.write(key, array)
        for key, rows, tail, dtype in jobs:
            with stream.rows(key, (rows, *sequence.size, *tail), dtype) as append:
                for t in range(count):
                    row = sequence.read(t, "image" if key == "images" else key)
                    if row is not None:
                        append(row)
            advance()
