"""The weights that dpm knows: where they are, how large, under which licence, and what they can do.

Only `dpm-mini` is shipped; the others are fetched from their publishers on the user's command.
Where no check sum was found in print `sha256` is None; `dpm models pull` then holds the file against the sum that the
hub itself announces, and remembers it together with the commit. MoGe-2's are printed by public repositories that pin
the files.
"""

from dataclasses import dataclass
from typing import Literal

from dpm_cli.errors import UsageError


@dataclass(frozen=True)
class WeightsEntry:
    """One row of the table."""

    name: str
    predictor: str
    """The `--model` that runs it, or the kind of depth prior that it is."""
    repository: str | None
    """On the Hugging Face hub; None = not there."""
    file: str
    parameters: int | None
    """Distinct parameters of the network, counted on its published tensor list."""
    licence: str
    abilities: str
    revision: str = "main"
    """Branch, tag or commit that `pull` takes unless told another; a first pull pins the commit it found."""
    sha256: str | None = None
    role: Literal["model", "prior"] = "model"

    @property
    def option(self) -> str:
        """How a run asks for it."""
        return f"--prior {self.name}" if self.role == "prior" else f"--model {self.predictor}"

    @property
    def size_bytes(self) -> int | None:
        """About the size of the file: four bytes a parameter."""
        return None if self.parameters is None else 4 * self.parameters


_DUST3R = "CC BY-NC-SA 4.0 (non-commercial); DUSt3R's training sets add their own terms"
MOGE = "moge-2"
"""Predictor of the rows that are depth priors."""
_MOGE_LICENCE = "MIT (its DINOv2 part Apache-2.0)"
_MOGE_ABILITY = "single images: metric depth, where it is sky, focal length"
_STATIC_PAIRS = "pairs of a still scene: P_i(t1) = P_i(t2)"

TABLE: tuple[WeightsEntry, ...] = (
    WeightsEntry(
        name="dpm-mini",
        predictor="dpm-mini",
        repository=None,
        file="dpm-mini.safetensors",
        parameters=None,
        licence="Apache-2.0",
        abilities="pairs: four maps at two times; inside the wheel",
    ),
    WeightsEntry(
        name="my-large",
        predictor="dpm-large",
        repository=None,
        file="*.safetensors",
        parameters=606_853_136,
        licence="as the file says",
        abilities="pairs: four maps at two times; weights of your own, after `dpm models import`",
    ),
    WeightsEntry(
        name="vdpm",
        predictor="vdpm",
        repository="edgarsucar/vdpm",
        file="model.pt",
        parameters=1_661_508_918,
        licence="non-commercial (V-DPM, derived from VGGT-1B)",
        abilities="pairs and windows: every frame at every frame's time, cameras; the best public quality",
    ),
    WeightsEntry(
        name="monst3r",
        predictor="dpm-large",
        repository="Junyi42/MonST3R_PO-TA-S-W_ViTLarge_BaseDecoder_512_dpt",
        file="model.safetensors",
        parameters=571_171_208,
        licence="CC BY-NC-SA 4.0 (non-commercial)",
        abilities="pairs of a moving scene, each frame at its own time only: no scene flow",
    ),
    WeightsEntry(
        name="dust3r",
        predictor="dpm-large",
        repository="naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt",
        file="model.safetensors",
        parameters=571_171_208,
        licence=_DUST3R,
        abilities=_STATIC_PAIRS,
    ),
    WeightsEntry(
        name="dust3r-linear",
        predictor="dpm-large",
        repository="naver/DUSt3R_ViTLarge_BaseDecoder_512_linear",
        file="model.safetensors",
        parameters=532_342_784,
        licence=_DUST3R,
        abilities=_STATIC_PAIRS,
    ),
    WeightsEntry(
        name="dust3r-224-linear",
        predictor="dpm-large",
        repository="naver/DUSt3R_ViTLarge_BaseDecoder_224_linear",
        file="model.safetensors",
        parameters=532_342_784,
        licence=_DUST3R,
        abilities=_STATIC_PAIRS + "; trained at 224 px",
    ),
    WeightsEntry(
        name="vggt",
        predictor="vdpm",
        repository="facebook/VGGT-1B",
        file="model.safetensors",
        parameters=1_256_537_516,
        licence="non-commercial (VGGT-1B)",
        abilities="windows of a still scene and their cameras; knows no time",
    ),
    WeightsEntry(
        name="moge-2-small",
        predictor=MOGE,
        repository="Ruicheng/moge-2-vits-normal",
        file="model.pt",
        parameters=35_103_656,
        licence=_MOGE_LICENCE,
        abilities=_MOGE_ABILITY + "; fit for a CPU",
        sha256="79a16621928c2bf0ed04659218c55c01075e950507f40bb3332fb4c873d3e1dc",
        role="prior",
    ),
    WeightsEntry(
        name="moge-2-base",
        predictor=MOGE,
        repository="Ruicheng/moge-2-vitb-normal",
        file="model.pt",
        parameters=104_743_592,
        licence=_MOGE_LICENCE,
        abilities=_MOGE_ABILITY,
        sha256="16b8110e86d5dc5a849db120ca96ef3a223fd30b0c9146d1d81db504073da5f6",
        role="prior",
    ),
    WeightsEntry(
        name="moge-2-large",
        predictor=MOGE,
        repository="Ruicheng/moge-2-vitl-normal",
        file="model.pt",
        parameters=330_901_544,
        licence=_MOGE_LICENCE,
        abilities=_MOGE_ABILITY + "; for a GPU",
        sha256="280741fd09bc3f403ccff9967784c2a391b52d2c0742ae3efdb21d9f90cc1a01",
        role="prior",
    ),
)


def entry_named(name: str) -> WeightsEntry:
    """Row `name` of the table; raises UsageError that lists the names."""
    for entry in TABLE:
        if entry.name == name:
            return entry
    raise UsageError(f"no weights named {name!r}: choose from {', '.join(e.name for e in TABLE)}")
