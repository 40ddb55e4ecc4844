"""The weights that dpm knows: where they are, how large, under which licence, and what they can do.

Nothing of the non-commercial files is shipped; they are fetched from their publishers on the user's command.
The publishers state no check sums in print, so `sha256` is None where nobody could check it; `dpm models pull`
then holds the file against the sum that the hub itself announces, and remembers it together with the commit.
"""

from dataclasses import dataclass

from dpm_cli.errors import UsageError


@dataclass(frozen=True)
class WeightsEntry:
    """One row of the table."""

    name: str
    predictor: str
    """The `--model` that runs it."""
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

    @property
    def size_bytes(self) -> int | None:
        """About the size of the file: four bytes a parameter."""
        return None if self.parameters is None else 4 * self.parameters


_DUST3R = "CC BY-NC-SA 4.0 (non-commercial); DUSt3R's training sets add their own terms"
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
)


def entry_named(name: str) -> WeightsEntry:
    """Row `name` of the table; raises UsageError that lists the names."""
    for entry in TABLE:
        if entry.name == name:
            return entry
    raise UsageError(f"no weights named {name!r}: choose from {', '.join(e.name for e in TABLE)}")
