"""How fast this machine answers the pairs of a clip, against the published way of running such networks.

Published (DUSt3R, MonST3R): every unordered pair in both directions, one directed pair at a time, both images encoded
for each, attention as a stored matrix. Here: every frame encoded once, pairs in batches, fused attention, and one
direction, which already holds both images at both times. Both loops use the same weights, precision and images in
one run, and the answers of the shared direction are compared.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dpm_cli.devices import pick_device, pick_dtype
from dpm_cli.errors import UsageError
from dpm_cli.network.large import PairNetwork
from dpm_cli.network.pair_config import PairConfig
from dpm_cli.passes.pairs import pair_graph
from dpm_cli.predictors import load_predictor
from dpm_cli.predictors.large import LargePredictor
from dpm_cli.predictors.protocol import Features, Predictor, PredictorInfo
from dpm_cli.progress import Reporter
from dpm_cli.structures import PairPrediction
from dpm_cli.workshop.network_cost import matmul_peak, network_cost
from dpm_cli.workshop.settings import BenchmarkSettings
from dpm_cli.workshop.synthetic.speed import RenderSpeed, render_speed

_RANDOM = "random"
QUARTER_SIZE = PairConfig(
    enc_width=256,
    enc_heads=4,
    dec_width=192,
    dec_heads=3,
    dpt_levels=(24, 48, 96, 192),
    dpt_features=64,
    dpt_last=32,
)
"""The large network at a quarter of its width and full depth: the same shares of work, a sixteenth of it."""


@dataclass(frozen=True)
class BenchmarkResult:
    """Times in seconds for one clip, its pairs answered in both ways."""

    model: str
    device: str
    frames: int
    size: tuple[int, int]
    """(height, width)."""
    pairs: int
    """Unordered."""
    batch_size: int
    published_s: float
    both_directions_s: float
    """Encode once and batches, but still both directions: the gain that owes nothing to fewer pairs."""
    ours_s: float
    largest_difference: float
    """Between the two ways, of the points of the shared direction, relative to the largest coordinate."""
    operations: float
    """Of our way: matrix products, convolutions and attention, a multiplication and its addition being two."""
    bytes_moved: float
    """Of our way, every operation being a pass over memory."""
    peak_operations_per_s: float
    """Of one large matrix product here, in the same number format."""

    @property
    def ratio(self) -> float:
        """Clip time of the published way over ours."""
        return self.published_s / self.ours_s

    @property
    def ratio_same_directions(self) -> float:
        """The same where ours runs both directions too."""
        return self.published_s / self.both_directions_s

    @property
    def share_of_peak(self) -> float:
        """Time that our way's operations would take at the peak over the time that it took."""
        return self.operations / self.peak_operations_per_s / self.ours_s

    @property
    def pairs_per_second(self) -> float:
        """Unordered pairs answered a second, frames encoded included."""
        return self.pairs / self.ours_s


def random_predictor(device: torch.device, dtype: torch.dtype) -> LargePredictor:
    """The quarter-size network with random weights from a fixed seed; its answers mean nothing, its time does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PairNetwork(QUARTER_SIZE)
    info = PredictorInfo("random quarter-size network", None, "none", 16, 256)
    return LargePredictor(network, info, device, dtype)


def random_images(frames: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Images (T, 3, H, W) of noise; a network's time does not depend on what it sees."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(frames, 3, *size, generator=generator).to(device)


def benchmark_networks(settings: BenchmarkSettings, reporter: Reporter) -> BenchmarkResult:
    """Load what `settings` names and run the benchmark on a clip of noise.

    Raises:
        UsageError: an unknown model, device or number format.
        WeightsError: the model's weights are not here.
    """
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    if settings.model not in (_RANDOM, "dpm-large", "vdpm"):
        raise UsageError(f"--model {settings.model}: choose random, dpm-large or vdpm")

    def predictor_in(form: torch.dtype) -> Predictor:
        if settings.model == _RANDOM:
            return random_predictor(device, form)
        return load_predictor(settings.model, weights=settings.weights, device=device, dtype=form)

    predictor = predictor_in(dtype)
    published = predictor if dtype == torch.float32 else predictor_in(torch.float32)
    graph = torch.from_numpy(pair_graph(np.zeros(settings.frames, np.int64), settings.pairs))
    images = random_images(settings.frames, settings.size, device)
    batch_size = settings.batch_size or 4
    return run_benchmark(
        predictor, published, images, graph, batch_size=batch_size, dtype=dtype, reporter=reporter
    )


def benchmark_rendering(settings: BenchmarkSettings, reporter: Reporter) -> RenderSpeed:
    """Time the renderer of training pairs."""
    device = pick_device(settings.device)
    gpu = device.type == "cuda"
    batch = settings.batch_size or (256 if gpu else 16)
    compile = gpu if settings.compiled is None else settings.compiled
    return render_speed(device, settings.size, batch, compile=compile, reporter=reporter)


def run_benchmark(
    predictor: Predictor,
    published: Predictor,
    images: Tensor,
    pairs: Tensor,
    *,
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    reporter: Reporter,
) -> BenchmarkResult:
    """Answer all pairs in the published way, ours, and ours with both directions.

    Args:
        predictor: on the device of `images`.
        published: the same weights in float32 (the same object if it is float32 already).
        images: (T, 3, H, W) float32 in [0, 1], multiples of the predictor's patch.
        pairs: (E, 2) int64 unordered pairs.
        batch_size: pairs at a time in our way.
        dtype: number format of `predictor`.
        reporter: told of the stages.
    """
    both = torch.cat((pairs, pairs.flip(1)))
    with torch.inference_mode():
        _published(published, images, both[:1])
        _ours(predictor, images, pairs[:1], batch_size)
        with reporter.task("published", None):
            published_s, reference = _timed(_published, published, images, both)
        with reporter.task("ours", None):
            ours_s, ours = _timed(_ours, predictor, images, pairs, batch_size)
        with reporter.task("both directions", None):
            both_s, _ = _timed(_ours, predictor, images, both, batch_size)
        with reporter.task("count", None):
            cost = network_cost(predictor, images, len(pairs), batch_size)
            peak = matmul_peak(images.device, dtype)
    shared = reference[: len(pairs)]
    return BenchmarkResult(
        model=predictor.info.name,
        device=str(images.device),
        frames=len(images),
        size=(images.shape[2], images.shape[3]),
        pairs=len(pairs),
        batch_size=batch_size,
        published_s=published_s,
        both_directions_s=both_s,
        ours_s=ours_s,
        largest_difference=float((ours - shared).abs().max() / shared.abs().max()),
        operations=cost.operations,
        bytes_moved=cost.bytes,
        peak_operations_per_s=peak,
    )


def _published(predictor: Predictor, images: Tensor, pairs: Tensor) -> Tensor:
    """One directed pair at a time, both images encoded for it."""
    answers = []
    with sdpa_kernel(SDPBackend.MATH), _tf32(images.device):
        for pair in pairs:
            features = predictor.encode(images[pair])
            answers.append(_corner(predictor.predict(*_split(features))))
    return torch.cat(answers)


@contextmanager
def _tf32(device: torch.device) -> Iterator[None]:
    """TF32 matrix products on a GPU, as importing the published code switches them on."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _ours(predictor: Predictor, images: Tensor, pairs: Tensor, batch_size: int) -> Tensor:
    """Each frame once, pairs in batches."""
    encoded = [predictor.encode(part) for part in images.split(2 * batch_size)]
    features = {key: torch.cat([part[key] for part in encoded]) for key in encoded[0]}
    answers = []
    for part in pairs.split(batch_size):
        first, second = ({k: v[part[:, view]] for k, v in features.items()} for view in range(2))
        answers.append(_corner(predictor.predict(first, second)))
    return torch.cat(answers)


def _split(features: Features) -> tuple[Features, Features]:
    return {k: v[:1] for k, v in features.items()}, {k: v[1:] for k, v in features.items()}


def _corner(prediction: PairPrediction) -> Tensor:
    """Every eighth pixel on the CPU: reading it waits for the device, keeping it costs little."""
    return prediction.points[..., ::8, ::8, :].cpu()


def _timed(run, *arguments) -> tuple[float, Tensor]:
    start = time.perf_counter()
    answers = run(*arguments)
    return time.perf_counter() - start, answers
