"""`dpm-large`: the paper's pairwise network, from our own files or from DUSt3R's and MonST3R's."""

from pathlib import Path

import torch

from dpm_cli.network.large import PairNetwork
from dpm_cli.network.pair_config import ALL_MAPS
from dpm_cli.predictors.certainty import relative_confidence
from dpm_cli.predictors.precision import precision
from dpm_cli.predictors.protocol import Features, PredictorInfo
from dpm_cli.predictors.token_network import TokenPredictor
from dpm_cli.structures import PairPrediction
from dpm_cli.weights.checkpoint import Checkpoint, read_checkpoint
from dpm_cli.weights.inspect import licence_of, recognise
from dpm_cli.weights.load import load_pair_network
from dpm_cli.weights.store import find_weights, known_sha256, sha256_of

LONG_SIDE = 512
"""Of the images the public networks were trained on; a file of ours says its own."""
STATIC_NOTE = "these weights know no time: both maps of an image are the same, so scene flow is zero and nothing moves"
PAIR_BYTES_PER_PIXEL = 2100
"""Measured at 512x288, float32, batches of 1 and 3."""


class LargePredictor(TokenPredictor[PairNetwork]):
    """Encodes a frame once, answers directed pairs with four maps in the first camera's frame."""

    def __init__(
        self, network: PairNetwork, info: PredictorInfo, device: torch.device, dtype: torch.dtype
    ):
        blocks = (network.enc_blocks, network.dec_blocks, network.dec_blocks2)
        super().__init__(network, blocks, info, device, dtype)

    @torch.inference_mode()
    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """Four maps a pair, confidence as 1 / expected relative error."""
        with precision(self.device, self.dtype):
            maps = self.network.decode(features_1["tokens"], features_2["tokens"])
        return PairPrediction(maps.points, relative_confidence(maps.points, maps.certainty, 1))


def load(weights: Path | None, device: torch.device, dtype: torch.dtype) -> LargePredictor:
    """Predictor from a file, or from what `dpm models` has on this machine.

    Raises:
        WeightsError: no weights, or not those of a pair network.
    """
    path = Path(weights) if weights else find_weights("dpm-large")
    checkpoint = read_checkpoint(path)
    network = load_pair_network(checkpoint)
    static = set(network.config.maps) != set(ALL_MAPS)
    licence = licence_of(checkpoint, recognise(checkpoint))
    info = PredictorInfo(
        name="dpm-large",
        weights_sha256=known_sha256(path) or sha256_of(path),
        weights_licence=licence,
        multiple=network.config.patch_size,
        default_long_side=_long_side(checkpoint),
        pair_bytes_per_pixel=PAIR_BYTES_PER_PIXEL,
        notes=(f"licence of the weights: {licence}", *([STATIC_NOTE] if static else [])),
    )
    return LargePredictor(network, info, device, dtype)


def _long_side(checkpoint: Checkpoint) -> int:
    said = checkpoint.metadata.get("long_side", "")
    return int(said) if said.isdecimal() and int(said) > 0 else LONG_SIDE
