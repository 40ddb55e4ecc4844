"""Published numbers, shown beside ours only where data and protocol are the same.

Sources: DPM (arXiv 2503.16318), tables 1 to 4; V-DPM's tables 1, 3 and 4 for the rows of DPM, V-DPM, MonST3R and pi3
under its protocols; Easi3R's DAVIS protocol for masks. A row stands only beside a full set of sequences: whoever
evaluates a part of one sees no published row.
"""

from dataclasses import dataclass

from dpm_cli.workshop.datasets.davis import VAL_2016
from dpm_cli.workshop.datasets.sintel import PROTOCOL_SEQUENCES
from dpm_cli.workshop.datasets.tum_rgbd import BONN_SEQUENCES

_FOUR = ("epe_p11", "epe_p12", "epe_p21", "epe_p22")


@dataclass(frozen=True)
class PublishedRow:
    """What a paper reports for one data set."""

    model: str
    source: str
    values: dict[str, float]
    sequences: frozenset[str]
    """Names (their ends) that must all have been evaluated, and no others; empty = at least `least` sequences."""
    least: int = 0


def _depth(
    model: str, source: str, absrel: float, delta: float, sequences: tuple[str, ...]
) -> PublishedRow:
    values = {"absrel_shift": absrel, "delta_1_25_shift": delta}
    return PublishedRow(model, source, values, frozenset(sequences))


def _pose(
    model: str, ate: float, rpe: float, rotation: float, sequences: tuple[str, ...], least: int = 0
):
    values = {"ate": ate, "rpe_trans": rpe, "rpe_rot_deg": rotation}
    return PublishedRow(model, "V-DPM table 4", values, frozenset(sequences), least)


def _maps(model: str, *epe: float) -> PublishedRow:
    return PublishedRow(
        model, "V-DPM table 1", dict(zip(_FOUR, epe, strict=True)), frozenset(), least=50
    )


def _mask(model: str, region: float) -> PublishedRow:
    return PublishedRow(model, "Easi3R, no SAM2", {"motion_iou": region}, frozenset(VAL_2016))


PUBLISHED: dict[str, tuple[PublishedRow, ...]] = {
    "sintel/video": (
        _depth("MonST3R (published)", "DPM table 2", 0.335, 0.585, PROTOCOL_SEQUENCES),
        _depth("DPM (published)", "DPM table 2", 0.328, 0.546, PROTOCOL_SEQUENCES),
        _depth("V-DPM (published)", "V-DPM table 3", 0.247, 0.694, PROTOCOL_SEQUENCES),
        _depth("pi3 (published)", "V-DPM table 3", 0.210, 0.726, PROTOCOL_SEQUENCES),
        _pose("MonST3R (published)", 0.108, 0.042, 0.732, PROTOCOL_SEQUENCES),
        _pose("V-DPM (published)", 0.105, 0.048, 0.67, PROTOCOL_SEQUENCES),
        _pose("pi3 (published)", 0.074, 0.040, 0.282, PROTOCOL_SEQUENCES),
    ),
    "bonn/video": (
        _depth("MonST3R (published)", "DPM table 2", 0.063, 0.964, BONN_SEQUENCES),
        _depth("DPM (published)", "DPM table 2", 0.068, 0.939, BONN_SEQUENCES),
        _depth("V-DPM (published)", "V-DPM table 3", 0.057, 0.973, BONN_SEQUENCES),
        _depth("pi3 (published)", "V-DPM table 3", 0.043, 0.975, BONN_SEQUENCES),
    ),
    "tum/video": (
        _pose("MonST3R (published)", 0.074, 0.019, 0.905, (), least=8),
        _pose("DPM (published)", 0.056, 0.014, 0.836, (), least=8),
        _pose("V-DPM (published)", 0.057, 0.017, 0.34, (), least=8),
        _pose("pi3 (published)", 0.014, 0.009, 0.312, (), least=8),
    ),
    "pointodyssey/stride-2": (
        _maps("DPM (published)", 0.115, 0.114, 0.115, 0.117),
        _maps("V-DPM (published)", 0.029, 0.030, 0.032, 0.032),
    ),
    "pointodyssey/stride-8": (
        _maps("DPM (published)", 0.101, 0.103, 0.103, 0.104),
        _maps("V-DPM (published)", 0.029, 0.031, 0.032, 0.030),
    ),
    "movi/stride-2": (
        _maps("DPM (published)", 0.032, 0.033, 0.032, 0.032),
        _maps("V-DPM (published)", 0.018, 0.019, 0.018, 0.018),
    ),
    "movi/stride-8": (
        _maps("DPM (published)", 0.030, 0.050, 0.044, 0.039),
        _maps("V-DPM (published)", 0.017, 0.039, 0.033, 0.025),
    ),
    "davis/video": (
        _mask("DUSt3R + flow (published)", 0.421),
        _mask("MonST3R (published)", 0.409),
        _mask("Easi3R-dust3r (published)", 0.531),
        _mask("Easi3R-monst3r (published)", 0.577),
        _mask("VGGT4D (published)", 0.621),
    ),
}


def published_rows(dataset: str, sequences: set[str]) -> list[PublishedRow]:
    """The rows that may stand beside ours: `sequences` are the names that were evaluated."""
    return [row for row in PUBLISHED.get(dataset, ()) if _same(row, sequences)]


def _same(row: PublishedRow, sequences: set[str]) -> bool:
    if not row.sequences:
        return len(sequences) >= row.least
    ends = {next((w for w in row.sequences if name.endswith(w)), name) for name in sequences}
    return ends == set(row.sequences)
