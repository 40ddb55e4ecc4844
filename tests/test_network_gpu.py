"""The networks on a CUDA device against the CPU, in float32 without TF32 and in bfloat16."""

import pytest
import torch
from network_helpers import TINY, images, tiny_multi_view, tiny_pair

from dpm_cli.network.large import PairNetwork

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(autouse=True)
def _no_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def answer(network, device, half):
    with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16, enabled=half):
        network = network.to(device)
        pictures = images(2, 112, 112).to(device)
        if isinstance(network, PairNetwork):
            return network(pictures[:1], pictures[1:]).points.cpu()
        return network.maps(network.aggregate(network.encode(pictures)[None]), 1)[0].cpu()


@pytest.mark.parametrize("make", [lambda: tiny_pair(TINY), tiny_multi_view])
@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 0.1)])
def test_the_device_gives_the_answer_of_the_cpu(make, half, tolerance):
    reference = answer(make(), "cpu", half=False)
    ours = answer(make(), "cuda", half)
    assert ours.dtype == torch.float32
    assert (ours - reference).norm() / reference.norm() < tolerance
