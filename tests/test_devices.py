import pytest
import torch

from dpm_cli.devices import (
    peak_memory_bytes,
    pick_device,
    pick_dtype,
)
from dpm_cli.errors import UsageError

CPU = torch.device("cpu")


def test_auto_never_fails_and_unknown_names_say_what_to_choose():
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(UsageError, match="--device tpu"):
        pick_device("tpu")
    with pytest.raises(UsageError, match="--dtype int8"):
        pick_dtype("int8", CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is missing")
def test_a_missing_device_is_a_usage_error():
    with pytest.raises(UsageError, match="--device cpu"):
        pick_device("cuda")


def test_the_cpu_computes_in_float32_unless_told():
    assert pick_dtype("auto", CPU) == torch.float32
    assert pick_dtype("bfloat16", CPU) == torch.bfloat16


def test_peak_memory_grows_when_memory_is_used():
    before = peak_memory_bytes(CPU)["ram"]
    block = torch.ones(before // 4 + 30_000_000)
    assert peak_memory_bytes(CPU)["ram"] > before
    del block
