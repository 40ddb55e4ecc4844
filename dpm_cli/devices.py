"""Which device and number format to use, how much memory there is and how much was used."""

import os
import resource
import sys

import torch

from dpm_cli.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA, else Apple's MPS, else the CPU. Raises UsageError for a device that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.split(":")[0]
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if kind not in there:
        raise UsageError(f"--device {name}: choose auto, cpu, cuda or mps")
    if not there[kind]:
        raise UsageError(
            f"--device {name}: torch sees no such device here; use --device cpu or auto"
        )
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a CUDA card that has it, float32 elsewhere."""
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    if name not in DTYPES:
        raise UsageError(f"--dtype {name}: choose auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def free_memory_bytes(device: torch.device) -> int:
    """Free memory of the device; the machine's available memory for the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if sys.platform == "linux":
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def used_memory_bytes() -> int:
    """Resident memory of this process now; where the system does not tell, the most that it was."""
    if sys.platform == "linux":
        with open("/proc/self/statm") as numbers:
            return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_memory_bytes(torch.device("cpu"))["ram"]


def is_out_of_memory(error: BaseException) -> bool:
    """True for CUDA's and the CPU allocator's out-of-memory errors, and those of the libraries on CUDA."""
    text = str(error)
    signs = ("out of memory", "can't allocate", "ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in signs)
    )


def peak_memory_bytes(device: torch.device) -> dict[str, int]:
    """Peak resident memory of this process, and of the CUDA device where there is one."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"ram": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        peak["cuda"] = torch.cuda.max_memory_allocated(device)
    return peak
