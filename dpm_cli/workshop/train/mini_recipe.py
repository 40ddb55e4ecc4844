"""Training `dpm-mini`: flow is given, geometry and motion are learnt, confidence is calibrated at the end."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dpm_cli.network.mini import PRESETS, MiniNetwork, MiniOutput
from dpm_cli.structures import PairTruth
from dpm_cli.weights.mini_file import MiniWeights, load_mini, save_mini
from dpm_cli.workshop.losses import LossWeights, total_loss
from dpm_cli.workshop.train.batches import Batch
from dpm_cli.workshop.train.confidence import fit_confidence
from dpm_cli.workshop.train.grow import grow, with_told_decoder
from dpm_cli.workshop.train.settings import CPU_STAGES, GPU_STAGES, OWN_LICENCE, TrainingPlan
from dpm_cli.workshop.train.speed import counted_flops
from dpm_cli.workshop.train.validate import Scores, validate


@dataclass(frozen=True, eq=False)
class MiniRecipe:
    """See `recipe.Recipe`."""

    preset: str
    initial: MiniWeights | None = None
    told: bool = False
    """Whether only the decoder that is told a depth prior is trained."""
    needs_flow = True
    shown = "depth"
    inner = (
        *("encode_", "decode_", "attention", "down_", "exchange", "settle", "refine", "up_"),
        *("told.decode_", "told.settle", "told.refine", "told.up_"),
    )

    @classmethod
    def started_from(cls, path: Path) -> "MiniRecipe":
        """Recipe of the network in a file that `dpm train` wrote; WeightsError where there is none."""
        initial = load_mini(path)
        plain = replace(initial.network.config, told=False)
        names = [n for n, c in PRESETS.items() if c == plain]
        return cls(names[0] if names else "custom", initial)

    def grown_to(self, preset: str) -> "MiniRecipe":
        """The same start, made deeper where the preset is; UsageError where it is another network."""
        if self.initial is None:
            return MiniRecipe(preset)
        config = replace(PRESETS[preset], told=self.initial.network.config.told)
        network = grow(self.initial.network, config)
        return MiniRecipe(preset, replace(self.initial, network=network))

    def with_prior(self) -> "MiniRecipe":
        """The same, training the decoder that is told a depth prior and nothing else."""
        return replace(self, told=True)

    def plan(self, gpu: bool) -> TrainingPlan:
        """Small pictures first; given weights go on at a gentler rate."""
        stages = GPU_STAGES if gpu else CPU_STAGES
        rate = 8e-4 if self.initial is not None else 1e-3 if gpu else 1.5e-3
        return TrainingPlan(stages, rate, validation=(4, 16, (96, 128)), muon=True)

    def network(self) -> MiniNetwork:
        """New or a copy of the given one."""
        if self.initial is None:
            return MiniNetwork(PRESETS[self.preset])
        trained = self.initial.network
        if self.told:
            return _only_told(with_told_decoder(trained))
        network = MiniNetwork(trained.config)
        network.load_state_dict(trained.state_dict())
        return network

    def forward(self, network: nn.Module, batch: Batch) -> MiniOutput:
        """Both images, flow, and the focal length and the prior where they are told."""
        return network(batch.truth.images, batch.flow, batch.focal_px, batch.noise_px, batch.prior)

    def loss(
        self, out: MiniOutput, truth: PairTruth, weights: LossWeights
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """All terms of `losses`."""
        return total_loss(out, truth, weights)

    def validate(self, network: nn.Module, batches: list[Batch], autocast: bool) -> Scores:
        """Scores by the network's own motion logit, focal length and camera."""
        return validate(network, batches, autocast)

    def save(
        self, path: Path, network: nn.Module, metadata: Mapping[str, str], validation: list[Batch]
    ) -> None:
        """A dpm-mini file, its confidence calibrated on `validation`; what it says of a first decoder stays."""
        assert isinstance(network, MiniNetwork)
        name = "calibration"
        if self.told and self.initial is not None:
            name = "calibration_told"
            own = {f"told_{key}": value for key, value in metadata.items()}
            metadata = {**self.initial.metadata, **own}
        found = {name: fit_confidence(network, validation).to_json()} if validation else {}
        save_mini(path, network, {"licence": OWN_LICENCE, **metadata, **found})

    def pair_flops(self, size: tuple[int, int]) -> float:
        """Counted on a run."""
        network = self.network()
        images, flow = torch.zeros(1, 2, 3, *size), torch.zeros(1, 2, *size, 2)
        prior = torch.ones(1, 2, *size) if self.told else None

        def run() -> None:
            out = network(images, flow, prior=prior)
            (out.points.sum() + out.pose.sum()).backward()

        return counted_flops(run)


def _only_told(network: MiniNetwork) -> MiniNetwork:
    """The network with all of it frozen but the decoder that is told a prior."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("told."))
    return network
