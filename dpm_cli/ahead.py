"""Work on items of a clip beside each other, in order and never far ahead, so that memory stays bounded.

Threads, because what the work consists of (NumPy, OpenCV, torch, files) lets others run meanwhile.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

WRITERS = 2
"""Frames whose files are written at the same time: one thread packs while another waits for the disk or for Python."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result]:
    """Results of `work` for every item, in their order; at most one more than there are workers are under way."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
