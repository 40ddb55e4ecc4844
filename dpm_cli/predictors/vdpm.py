"""`vdpm`: V-DPM's network (and VGGT's) as a predictor of pairs, and of windows with cameras of their own."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import invert, rigid, rotation_from_quaternion
from dpm_cli.network.vggt.multi_view import MultiViewNetwork, WindowTokens
from dpm_cli.predictors.certainty import relative_confidence
from dpm_cli.predictors.precision import precision
from dpm_cli.predictors.protocol import Features, PredictorInfo
from dpm_cli.predictors.token_network import TokenPredictor
from dpm_cli.structures import PairPrediction, WindowPrediction
from dpm_cli.weights.checkpoint import read_checkpoint
from dpm_cli.weights.inspect import licence_of, recognise
from dpm_cli.weights.load import load_multi_view_network
from dpm_cli.weights.store import find_weights, known_sha256, sha256_of

LONG_SIDE = 518
STATIC_NOTE = (
    "VGGT's weights know no time: every frame is shown at its own time only, so scene flow is zero and nothing "
    "moves; use V-DPM's weights for the dynamic answer"
)
PAIR_BYTES_PER_PIXEL = 6100
"""Measured at 518x294, float32, one pair: the decoder's hidden units."""
MAP_BYTES_ON_DEVICE = 4 << 30
"""Larger windows keep their maps on the CPU, moved there time by time."""
NARROWEST_FOV, WIDEST_FOV = 0.01, 3.1
"""Radians; the network's ReLU can answer 0, which is no camera."""


class VdpmPredictor(TokenPredictor[MultiViewNetwork]):
    """Image tokens once a frame; a pair is a window of two frames."""

    def __init__(
        self,
        network: MultiViewNetwork,
        info: PredictorInfo,
        device: torch.device,
        dtype: torch.dtype,
    ):
        decoder = [network.decoder] if network.decoder is not None else []
        super().__init__(network, (network.aggregator, *decoder), info, device, dtype)

    @torch.inference_mode()
    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """Four maps a pair, in the first camera's frame; each pair is a window of its own."""
        patches = torch.stack((features_1["tokens"], features_2["tokens"]), 1)
        with precision(self.device, self.dtype):
            window = self.network.aggregate(patches)
            times = [self.network.maps(window, target) for target in range(2)]
        points = torch.stack([points for points, _ in times], 2)
        certainty = torch.stack([certainty for _, certainty in times], 2)
        return PairPrediction(points, relative_confidence(points, certainty, 1))

    @torch.inference_mode()
    def predict_window(
        self,
        features: Features,
        targets: Sequence[int] | None = None,
        sources: slice | None = None,
    ) -> WindowPrediction:
        """Maps and cameras of a window of S frames, the first of which is the world.

        Args:
            features: image tokens (S, rows, columns, C).
            targets: frames at whose times the points are wanted; None = all.
            sources: consecutive frames whose pixels are wanted; None = all.

        Returns:
            Points (T, S', H, W, 3) and confidence (T, S', H, W), on the CPU if they are too many for the
            device; cameras of all S frames, float64, on the CPU.
        """
        with precision(self.device, self.dtype):
            window = self.network.aggregate(features["tokens"][None])
            encoding = self.network.cameras(window)[-1][0]
            chosen = range(window.frames) if targets is None else targets
            points, certainty = self._at_times(window, chosen, sources)
        cam2world, intrinsics = cameras_from_encoding(encoding, (points.shape[2], points.shape[3]))
        confidence = relative_confidence(points[None], certainty[None], 1)[0]
        return WindowPrediction(points, confidence, cam2world, intrinsics)

    def _at_times(
        self, window: WindowTokens, targets: Sequence[int], sources: slice | None
    ) -> tuple[Tensor, Tensor]:
        points, certainty = [], []
        for target in targets:
            at, sure = self.network.maps(window, target, sources)
            fits = len(targets) * (at.nbytes + sure.nbytes) <= MAP_BYTES_ON_DEVICE
            store = at.device if fits else torch.device("cpu")
            points.append(at[0].to(store))
            certainty.append(sure[0].to(store))
        return torch.stack(points), torch.stack(certainty)


def cameras_from_encoding(encoding: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """VGGT's nine numbers of a camera in dpm's conventions, float64 on the CPU.

    Args:
        encoding: (..., 9) world-to-camera translation, quaternion xyzw, vertical and horizontal field of view.
        size: (height, width) of the images in pixels; the principal point is their centre.

    Returns:
        cam2world (..., 4, 4) and intrinsics (..., 3, 3) in pixels.
    """
    numbers = encoding.cpu().double()
    camera_from_world = rigid(rotation_from_quaternion(numbers[..., 3:7]), numbers[..., :3])
    height, width = size
    half_fov = numbers[..., 7:].clamp(NARROWEST_FOV, WIDEST_FOV) / 2
    intrinsics = torch.zeros(*numbers.shape[:-1], 3, 3, dtype=torch.float64)
    intrinsics[..., 0, 0] = width / 2 / half_fov[..., 1].tan()
    intrinsics[..., 1, 1] = height / 2 / half_fov[..., 0].tan()
    intrinsics[..., 0, 2], intrinsics[..., 1, 2] = (width - 1) / 2, (height - 1) / 2
    intrinsics[..., 2, 2] = 1
    return invert(camera_from_world), intrinsics


def load(weights: Path | None, device: torch.device, dtype: torch.dtype) -> VdpmPredictor:
    """Predictor from a file, or from what `dpm models` has on this machine.

    Raises:
        WeightsError: no weights, or not those of V-DPM or VGGT.
    """
    path = Path(weights) if weights else find_weights("vdpm")
    checkpoint = read_checkpoint(path)
    network = load_multi_view_network(checkpoint)
    licence = licence_of(checkpoint, recognise(checkpoint))
    info = PredictorInfo(
        name="vdpm",
        weights_sha256=known_sha256(path) or sha256_of(path),
        weights_licence=licence,
        multiple=network.config.patch_size,
        default_long_side=LONG_SIDE,
        pair_bytes_per_pixel=PAIR_BYTES_PER_PIXEL,
        notes=(
            f"licence of the weights: {licence}",
            *([STATIC_NOTE] if network.decoder is None else []),
        ),
    )
    return VdpmPredictor(network, info, device, dtype)
