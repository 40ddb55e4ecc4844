"""Which device and number format to use, how much memory there is and how much was used."""

import resource
import sys

import torch

from dpm_cli.errors import UsageError
from dpm_cli.ram import free_ram_bytes, used_ram_bytes

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
    """Free memory of the device; for the CPU what is left of the RAM, see `ram`."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_ram_bytes()


def used_memory_bytes() -> int:
    """Resident memory of this process now; where the system does not tell, the most that it was."""
    used = used_ram_bytes()
    return peak_memory_bytes(torch.device("cpu"))["ram"] if used is None else used


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
