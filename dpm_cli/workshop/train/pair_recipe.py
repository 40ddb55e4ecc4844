"""Training the paper's pair network: images alone in, four maps out, from nothing or from DUSt3R-like weights.

A file of DUSt3R or MonST3R gives its two heads to both times, so training starts at the static solution
P_i(t_1) = P_i(t_2), as the paper's does, and its licence goes on to what is trained from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dpm_cli.network.large import PairMaps, PairNetwork
from dpm_cli.network.pair_config import PAIR_SIZES, PairConfig
from dpm_cli.structures import PairTruth
from dpm_cli.weights.checkpoint import Checkpoint, save_checkpoint
from dpm_cli.weights.convert import duplicate_heads
from dpm_cli.weights.inspect import licence_of, recognise
from dpm_cli.weights.load import load_pair_network
from dpm_cli.workshop.losses import LossWeights
from dpm_cli.workshop.train.batches import Batch
from dpm_cli.workshop.train.pair_loss import pair_loss
from dpm_cli.workshop.train.pair_scores import score_pairs
from dpm_cli.workshop.train.settings import OWN_LICENCE, TrainingPlan, TrainingStage
from dpm_cli.workshop.train.speed import counted_flops
from dpm_cli.workshop.train.validate import Scores

_PAPER_SIZES = ((288, 512), (336, 512), (288, 512), (336, 512), (512, 288))
"""The paper's two; one step in five is portrait, because telephones film so."""
_SMALL_SIZES = ((96, 128), (80, 128), (96, 128), (80, 128), (128, 80))
_MIDDLE_SIZES = ((192, 256), (144, 256), (192, 256), (144, 256), (256, 144))
_WIDE = 1024
"""Encoders of this width are the paper's: they need its image sizes and its gentle rates."""


@dataclass(frozen=True, eq=False)
class PairRecipe:
    """See `recipe.Recipe`."""

    preset: str
    config: PairConfig
    initial: Mapping[str, Tensor] | None = None
    """State of all four heads."""
    licence: str = OWN_LICENCE
    source: str | None = None
    """Name of the file that it started from."""
    needs_flow = False
    inner: tuple[str, ...] = ()
    shown = "distance"

    @classmethod
    def started_from(cls, checkpoint: Checkpoint) -> "PairRecipe":
        """Recipe of the network in a file of ours, DUSt3R's or MonST3R's; WeightsError where there is none."""
        network = load_pair_network(checkpoint, all_heads=True)
        names = [name for name, config in PAIR_SIZES.items() if config == network.config]
        return cls(
            names[0] if names else "custom",
            network.config,
            network.state_dict(),
            licence_of(checkpoint, recognise(checkpoint)),
            checkpoint.path.name,
        )

    def plan(self, gpu: bool) -> TrainingPlan:
        """Small pictures first, unless the weights know geometry already.

        Batches on a GPU, counted on shapes with bfloat16 blocks: the paper's size keeps 2.4 GB a pair for the backward
        pass beside 12 GB of weights, gradients, optimiser and average; `base-pair` 0.3 GB at 256x192 beside 1.6 GB.
        """
        warm = self.initial is not None
        if not gpu:
            stages = (TrainingStage(0.0, _SMALL_SIZES, 16),)
            return TrainingPlan(stages, 5e-4 if warm else 1e-3, validation=(4, 16, (96, 128)))
        if self.config.enc_width < _WIDE:
            stages = (TrainingStage(0.0, _SMALL_SIZES, 64), TrainingStage(0.4, _MIDDLE_SIZES, 16))
            stages = (TrainingStage(0.0, _MIDDLE_SIZES, 16),) if warm else stages
            return TrainingPlan(stages, 1e-4 if warm else 5e-4, validation=(4, 16, (192, 256)))
        stages = (TrainingStage(0.0, _MIDDLE_SIZES, 64), TrainingStage(0.5, _PAPER_SIZES, 16))
        stages = (TrainingStage(0.0, _PAPER_SIZES, 16),) if warm else stages
        rate = 5e-5 if warm else 1.5e-4  # MonST3R's and DUSt3R's
        return TrainingPlan(stages, rate, validation=(8, 4, (288, 512)), checkpoint_every=1000)

    def network(self) -> PairNetwork:
        """New, or with a copy of the given weights; a new one is static too, both times' heads being alike."""
        if self.initial is None:
            network = PairNetwork(self.config)
            network.load_state_dict(duplicate_heads(network.state_dict()))
            return network
        with torch.device("meta"):
            network = PairNetwork(self.config)
        # The given tensors may be pages of their file: training must not write there.
        network.load_state_dict({k: v.clone() for k, v in self.initial.items()}, assign=True)
        return network

    def forward(self, network: nn.Module, batch: Batch) -> PairMaps:
        """Both images."""
        return network(batch.truth.images[:, 0], batch.truth.images[:, 1])

    def loss(
        self, out: PairMaps, truth: PairTruth, weights: LossWeights
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The paper's."""
        return pair_loss(out, truth, weights)

    def validate(self, network: nn.Module, batches: list[Batch], autocast: bool) -> Scores:
        """Scores by the reductions of the maps."""
        return score_pairs(network, batches, autocast)

    def save(
        self, path: Path, network: nn.Module, metadata: Mapping[str, str], validation: list[Batch]
    ) -> None:
        """A pair network's file, float32, for `--model dpm-large --weights`."""
        assert isinstance(network, PairNetwork)
        origin = {"started_from": self.source} if self.source else {}
        save_checkpoint(
            path,
            network.state_dict(),
            network="pair",
            config=network.config.as_dict(),
            licence=self.licence,
            **origin,
            **metadata,
        )

    def pair_flops(self, size: tuple[int, int]) -> float:
        """Counted on shapes alone: a run of the paper's network takes a CPU most of a minute."""
        with torch.device("meta"):
            network, images = PairNetwork(self.config), torch.zeros(1, 3, *size)
        return counted_flops(lambda: network(images, images).points.sum().backward())
