"""Seconds spent in each stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Collects wall-clock seconds by name."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the duration of the block to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
