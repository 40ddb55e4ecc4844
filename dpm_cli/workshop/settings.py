"""Every knob of the workshop's commands, once; the words under a field are the help of its option.

A field without words means what it means for a run (`dpm_cli.config`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from dpm_cli.errors import UsageError
from dpm_cli.knobs import knob

ClipFormat = Literal["mp4", "frames"]
Protocols = Literal["both", "pairs", "video"]
PAIRS_PER_SEQUENCE = 5
"""Of each kind, evenly spaced."""


def parse_data(text: str) -> tuple[str, Path]:
    """A data set as (name, folder) of NAME=FOLDER."""
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise UsageError(f"--data {text}: write NAME=FOLDER, for example movi=/data/movi_f")
    return name, Path(folder)


def parse_form(text: str) -> ClipFormat:
    """`mp4` or `frames`, else UsageError."""
    if text not in get_args(ClipFormat):
        raise UsageError(f"unknown format {text!r}: choose {' or '.join(get_args(ClipFormat))}")
    return cast(ClipFormat, text)


def parse_picture_size(text: str) -> tuple[int, int]:
    """(height, width) of `HxW`, or of a long side with 4:3 pictures.

    Raises:
        UsageError: neither.
    """
    try:
        parts = [int(p) for p in text.lower().split("x")]
    except ValueError:
        parts = []
    if len(parts) == 1 and parts[0] > 0:
        return round(parts[0] * 3 / 8) * 2, parts[0]
    if len(parts) == 2 and min(parts) > 0:
        return parts[0], parts[1]
    raise UsageError(f"size {text!r} is neither HEIGHTxWIDTH nor a long side in pixels")


def parse_working_size(text: str) -> tuple[int, int]:
    """(height, width) of `WIDTHxHEIGHT`."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise UsageError(f"--size {text}: give WIDTHxHEIGHT, for example 512x288")
    return int(height), int(width)


@dataclass(frozen=True)
class SynthSettings:
    """Which scenes are rendered, and how."""

    split: str = "val"
    """train, val or test; their scenes never meet."""
    index: int = knob(0, least=0)
    """Number of the first scene."""
    clips: int = knob(1, least=1)
    """How many scenes."""
    camera: str | None = None
    """still, pan, dolly, orbit or hand. Default: drawn per scene."""
    frames: int = knob(24, least=1)
    """Frames per clip."""
    size: tuple[int, int] = knob((288, 384), reads=parse_picture_size, shown="288x384")
    """HEIGHTxWIDTH, or the long side of 4:3 pictures."""
    fps: float = knob(24.0, least=0.1)
    """Frames a second."""
    supersample: int = knob(1, least=1, most=4)
    """Smoother edges: rays along a pixel's side."""
    form: ClipFormat = knob("mp4", reads=parse_form, shown="mp4", option="--format")
    """mp4 or frames (PNG)."""
    device: str = "auto"
    """auto, cpu or cuda."""
    compile: bool = False
    """torch.compile: minutes to start, pays off for many clips on a GPU."""


@dataclass(frozen=True)
class TrainOptions:
    """What is trained, on what, for how long."""

    out: Path = knob(Path("dpm_train"), option="-o|--out")
    """Run folder; a run in it goes on."""
    minutes: float | None = None
    """Wall clock to spend; the schedule ends with it whatever the speed."""
    steps: int | None = None
    """Steps instead of minutes: exactly reproducible."""
    preset: str | None = None
    """Network: mini, mini-gpu (given flow), large (the paper's, 607 M parameters), base-pair (the same at 79
    M), tiny, tiny-pair (tests). Default: that of --init, or mini; a deeper one makes --init deeper."""
    initial: Path | None = knob(None, option="--init")
    """Start from these weights: of an earlier run, 'shipped', or a DUSt3R or MonST3R file, whose licence the
    result then has."""
    prior: bool = False
    """Train only a second decoder, which is told a depth prior; needs --init of a dpm-mini."""
    caches: tuple[Path, ...] = knob((), option="--cache")
    """Folder of clips rendered before (repeatable); default: new scenes."""
    cache_clips: int | None = None
    """Render this many clips into the --cache folder first."""
    validation_cache: Path | None = knob(None, option="--val-cache")
    """Folder of clips of the validation split."""
    data: tuple[tuple[str, Path], ...] = knob((), reads=parse_data)
    """NAME=FOLDER of a public data set (repeatable): movi, pointodyssey, waymo, spring, scannetpp, blendedmvs,
    megadepth."""
    data_share: float = 0.5
    """Share of pairs from --data; the rest is synthetic."""
    learning_rate: float | None = None
    """Peak rate of AdamW."""
    batch_scale: float = 1.0
    """Multiplies the batch of every stage."""
    max_stride: int = 8
    """Frames between the images of a pair, at most."""
    still: float = 0.25
    """Share of pairs with a still camera (new scenes only)."""
    seed: int = 0
    """Of weights and batches."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    workers: int | None = None
    """Threads that make batches ahead."""
    compile: bool = False
    """torch.compile of network and renderer: minutes to start, pays off on long GPU runs."""
    ema: bool = True
    """Keep averaged weights; without, a fifth less memory."""
    overwrite: bool = False
    """Start anew where a run with other settings lies."""

    @property
    def strides(self) -> tuple[int, int]:
        """Least and most frames between the images of a pair."""
        return 1, self.max_stride


@dataclass(frozen=True)
class EvaluateSettings:
    """How models are evaluated."""

    protocols: Protocols = knob("both", option="--protocol")
    """Pairs of frames, whole reconstructions, or both."""
    max_pairs: int = knob(PAIRS_PER_SEQUENCE, least=1)
    """Pairs of each kind per sequence, evenly spaced."""
    max_frames: int | None = knob(None, least=3)
    """Frames of each sequence to reconstruct."""
    known_intrinsics: bool = False
    """Give models the true focal length."""
    weights: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    size: int | None = None


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is timed."""

    what: str = "all"
    """networks, clip (a whole run, and its alignment against the published one), all: both; or synth: how fast training
    pairs are rendered."""
    model: str = "random"
    """networks: random (a quarter-size one, no weights needed), dpm-large or vdpm."""
    weights: Path | None = None
    frames: int = knob(8, least=2)
    """Length of the clip."""
    size: tuple[int, int] = knob((112, 192), reads=parse_working_size, shown="192x112")
    """Working size, WIDTHxHEIGHT in pixels."""
    pairs: str = "auto"
    """auto, complete, or strides such as 1,2,4,8."""
    batch_size: int | None = knob(None, least=1)
    """Pairs at a time. Default: 4; synth 16, on a GPU 256."""
    compiled: bool | None = knob(None, option="--compile/--no-compile")
    """synth: also with fused kernels, which takes minutes to compile. Default: on a GPU."""
    device: str = "auto"
    dtype: str = "auto"
