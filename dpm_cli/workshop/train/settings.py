"""Every knob of `dpm train`, and the schedule they make."""

import json
import math
from dataclasses import asdict, dataclass, field

from dpm_cli.workshop.losses import LossWeights

OWN_LICENCE = "Apache-2.0"
"""Of weights that started from nothing, or from weights of this project."""


@dataclass(frozen=True)
class TrainingStage:
    """From `start` (share of the run) on: image sizes (height, width), one drawn a step, and the batch."""

    start: float
    sizes: tuple[tuple[int, int], ...]
    batch: int


CPU_STAGES = (
    TrainingStage(0.0, ((64, 80), (64, 96), (80, 64), (48, 80)), 32),
    TrainingStage(0.35, ((96, 128), (96, 128), (80, 112), (64, 112), (80, 128), (96, 80)), 24),
)
"""Small pictures first: twice the pairs a second while the coarse geometry is learnt."""

GPU_STAGES = (
    TrainingStage(0.0, ((96, 128), (96, 96), (128, 96)), 256),
    TrainingStage(0.15, ((192, 256), (144, 256), (256, 192)), 128),
    TrainingStage(0.8, ((288, 384), (224, 384), (384, 288)), 48),
)


@dataclass(frozen=True)
class TrainingPlan:
    """What suits a network where the user does not say."""

    stages: tuple[TrainingStage, ...]
    learning_rate: float
    validation: tuple[int, int, tuple[int, int]]
    """Batches, pairs a batch, size."""
    checkpoint_every: int = 250
    muon: bool = False
    """Whether the network learns faster with Muon."""


@dataclass(frozen=True)
class TrainSettings:
    """Frozen into the checkpoint; a resumed run must have the same."""

    preset: str = "mini"
    minutes: float | None = None
    """Wall clock to spend; the schedule ends with it whatever the speed."""
    steps: int | None = None
    """Instead of minutes: exactly reproducible."""
    stages: tuple[TrainingStage, ...] = CPU_STAGES
    shards: int = 1
    """A batch is drawn in this many parts with their own random numbers, so that several processes share it."""
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    muon: bool = False
    """Muon for the inner matrices of a network that names them, instead of AdamW for all."""
    warmup_steps: int = 150
    flat: float = 0.4
    """Share of the run at the full rate; a cosine to 0 follows."""
    ema: float = 0.998
    """Of the averaged weights, which are kept; 0 = no average but the weights themselves (a fifth less memory)."""
    clip: float = 1.0
    known_focal: float = 0.25
    """Share of pairs whose focal length is told to a network that asks for it."""
    prior: bool = False
    """Train the decoder that is told a depth prior, and nothing else."""
    best_flow: float = 0.2
    """Measured flow keeps between this share and all of its error where the point is seen: training pictures are small,
    and flow measured in large ones is better by as much."""
    seed: int = 0
    autocast: bool = True
    """bfloat16 where it is safe; heads and losses stay in float32."""
    validate_every: int = 500
    checkpoint_every: int = 250
    loss: LossWeights = field(default_factory=LossWeights)

    def to_json(self) -> str:
        """All settings on one line, for the checkpoint and the weights."""
        return json.dumps(asdict(self), sort_keys=True)

    def progress(self, step: int, elapsed_s: float) -> float:
        """Share of the run done, 0..1."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        assert self.minutes is not None
        return min(elapsed_s / (60 * self.minutes), 1.0)

    def rate(self, step: int, progress: float) -> float:
        """Learning rate: linear warm-up, flat, cosine to zero."""
        warm = min((step + 1) / self.warmup_steps, 1.0)
        fall = max(progress - self.flat, 0.0) / max(1 - self.flat, 1e-9)
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(fall, 1.0)))

    def stage(self, progress: float) -> TrainingStage:
        """The last stage that has begun."""
        return [s for s in self.stages if s.start <= progress][-1]
