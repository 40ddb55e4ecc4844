"""What training must know of a network; everything else about training is the same for all of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from dpm_cli.errors import UsageError
from dpm_cli.network.mini import PRESETS
from dpm_cli.network.pair_config import PAIR_SIZES
from dpm_cli.structures import PairTruth
from dpm_cli.weights.checkpoint import read_checkpoint
from dpm_cli.weights.inspect import Kind, recognise
from dpm_cli.workshop.losses import LossWeights
from dpm_cli.workshop.train.batches import Batch
from dpm_cli.workshop.train.mini_recipe import MiniRecipe
from dpm_cli.workshop.train.pair_recipe import PairRecipe
from dpm_cli.workshop.train.settings import TrainingPlan
from dpm_cli.workshop.train.validate import Scores

PRESET_NAMES = (*PRESETS, *PAIR_SIZES)


class Recipe(Protocol):
    """A network of one size, where it starts, what it learns from and how it is kept."""

    @property
    def preset(self) -> str:
        """What `--preset` calls it; `custom` where the first weights have a size that has no name."""
        ...

    @property
    def needs_flow(self) -> bool:
        """Whether the network is given measured flow; measuring it costs as much as rendering."""
        ...

    @property
    def inner(self) -> tuple[str, ...]:
        """Prefixes of the names of the modules whose matrices Muon may take: neither inputs nor outputs."""
        ...

    @property
    def shown(self) -> str:
        """The loss term that a progress line shows beside the loss."""
        ...

    def plan(self, gpu: bool) -> TrainingPlan:
        """Stages, rate and validation that suit the network and its start."""
        ...

    def network(self) -> nn.Module:
        """A new network on the CPU, float32, with the first weights where there are any."""
        ...

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """What the network says of a batch; called under autocast."""
        ...

    def loss(
        self, out: Any, truth: PairTruth, weights: LossWeights
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar to minimise and its terms, detached."""
        ...

    def validate(self, network: nn.Module, batches: list[Batch], autocast: bool) -> Scores:
        """Scores of a network on validation batches."""
        ...

    def save(
        self,
        path: Path,
        network: nn.Module,
        metadata: Mapping[str, str],
        validation: list[Batch],
    ) -> None:
        """Write weights that a predictor reads, with their licence."""
        ...

    def pair_flops(self, size: tuple[int, int]) -> float:
        """Floating point operations to train on one pair of images of `size`."""
        ...


def choose_recipe(preset: str | None, initial: Path | None, prior: bool = False) -> Recipe:
    """The recipe of a preset (default: mini), or of the network in `initial`.

    Args:
        preset: name of a size.
        initial: weights to start from.
        prior: train only what is told a depth prior.

    Raises:
        UsageError: unknown preset, `initial` is of another size, or cannot be told a prior.
        WeightsError: `initial` holds no network that can be trained.
    """
    if preset is not None and preset not in PRESET_NAMES:
        raise UsageError(f"unknown preset {preset!r}: choose one of {', '.join(PRESET_NAMES)}")
    if initial is None:
        name = preset or "mini"
        if prior:
            raise UsageError("--prior trains a part of a trained network: give --init")
        return MiniRecipe(name) if name in PRESETS else PairRecipe(name, PAIR_SIZES[name])
    checkpoint = read_checkpoint(initial)
    mini = recognise(checkpoint) is Kind.MINI
    recipe = MiniRecipe.started_from(initial) if mini else PairRecipe.started_from(checkpoint)
    if isinstance(recipe, MiniRecipe) and preset in PRESETS:
        recipe = recipe.grown_to(preset)
    if preset not in (None, recipe.preset):
        raise UsageError(f"{initial} is another size than preset {preset}: leave --preset out")
    if prior and not isinstance(recipe, MiniRecipe):
        raise UsageError(f"{initial} is no dpm-mini: only that can be told a prior")
    return recipe.with_prior() if prior and isinstance(recipe, MiniRecipe) else recipe
