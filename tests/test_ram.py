"""What is left of the main memory: the machine's, or less where a control group says so."""

import os
import sys

import pytest

from dpm_cli.ram import free_ram_bytes, give_back_ram, used_ram_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells")
MIB = 2**20


@pytest.fixture
def system(tmp_path):
    """A system with 8000 MiB available; `system(files)` adds files, and answers with what is free in MiB."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16384000 kB\nMemAvailable: 8192000 kB\n")

    def free(files: dict[str, str]) -> float:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return free_ram_bytes(tmp_path) / MIB

    return free


def group(folder: str, most: str, used_mib: int, files_mib: int) -> dict[str, str]:
    return {
        f"{folder}/memory.max": f"{most}\n",
        f"{folder}/memory.current": f"{used_mib * MIB}\n",
        f"{folder}/memory.stat": f"anon 1\ninactive_file {files_mib * MIB}\n",
    }


def test_without_groups_it_is_the_machines(system):
    assert system({}) == 8000
    assert system({"proc/self/cgroup": "0::/\n"}) == 8000


def test_the_tightest_group_counts_and_idle_files_are_free(system):
    base = "sys/fs/cgroup"
    here = {"proc/self/cgroup": "3:cpu:/a\n0::/job/step\n"}
    inside = group(f"{base}/job/step", "max", 900, 0)
    assert system(here | inside) == 8000
    assert system(group(f"{base}/job", str(2000 * MIB), 700, 200)) == 1500
    assert system(group(base, str(1000 * MIB), 900, 50)) == 150
    assert system(group(base, str(1000 * MIB), 1100, 50)) == 0, "never less than nothing"


def test_older_groups_are_read_too(system):
    folder = "sys/fs/cgroup/memory"
    files = {
        "proc/self/cgroup": "4:memory:/docker/f00\n0::/\n",
        f"{folder}/memory.limit_in_bytes": str(500 * MIB),
        f"{folder}/memory.usage_in_bytes": str(300 * MIB),
        f"{folder}/memory.stat": f"total_inactive_file {100 * MIB}\n",
    }
    assert system(files) == 300, "the group's own folder is not seen from inside a container"


def test_this_process_is_told_of_itself():
    used = used_ram_bytes()
    assert used is not None
    assert 2**20 < used < free_ram_bytes() + 2**40
    block = bytearray(os.urandom(1) * (64 * MIB))
    assert (used_ram_bytes() or 0) > used + 32 * MIB
    del block
    give_back_ram()
    assert (used_ram_bytes() or 0) < used + 32 * MIB
