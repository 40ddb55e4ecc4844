"""Main memory: what a process may still take, by the machine and by its control group, and how to give some back.

A container or a batch job has less than the machine: the smallest room of its control group and of all above it counts.
What those groups hold of files that are not in use is free, as it is in the machine's own count.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def free_ram_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process may still take before the system swaps or kills it; `root` is that of the system."""
    if sys.platform != "linux":
        return _PAGE * os.sysconf("SC_PHYS_PAGES") // 2
    fields = _fields(root / "proc/meminfo", ":")
    rooms = [fields["MemAvailable"] * 1024]
    rooms += [room for group in _groups(root) if (room := group.room()) is not None]
    return max(min(rooms), 0)


def used_ram_bytes() -> int | None:
    """Resident memory of this process now; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * _PAGE


def give_back_ram() -> None:
    """Return what was freed to the system, where its allocator would keep it (glibc)."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@dataclass(frozen=True)
class _Group:
    """A control group's folder and what its files are called."""

    folder: Path
    limit: str
    use: str
    idle: str
    """Of `memory.stat`."""

    def room(self) -> int | None:
        """What it leaves free; None where it has no limit, or its files are not to be seen from here."""
        try:
            most = (self.folder / self.limit).read_text().strip()
            if most == "max":
                return None
            idle = _fields(self.folder / "memory.stat", " ").get(self.idle, 0)
            return int(most) - int((self.folder / self.use).read_text()) + idle
        except (OSError, ValueError):
            return None


_NEW = ("memory.max", "memory.current", "inactive_file")
_OLD = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _groups(root: Path) -> Iterator[_Group]:
    """The control groups of this process, inmost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        base = root / ("sys/fs/cgroup/memory" if kinds else "sys/fs/cgroup")
        inmost = Path(path.strip("/"))
        for inside in (inmost, *inmost.parents):
            yield _Group(base / inside, *(_OLD if kinds else _NEW))


def _fields(path: Path, separator: str) -> dict[str, int]:
    """Numbers by their names."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(separator)
        found[name] = int(value.split()[0])
    return found
