"""DAVIS 2016 and 2017: JPEGImages/480p/<sequence>/00000.jpg, Annotations/480p/<sequence>/00000.png.

The mask is of the main objects, most of which move; label 255 is DAVIS 2017's void. Any resolution folder, or none.
"""

from pathlib import Path

import numpy as np

from dpm_cli.workshop.datasets.layout import files, first_folder, folders, require, wrong_layout
from dpm_cli.workshop.datasets.rasters import read_label, read_rgb
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth

VAL_2016 = (
    *("blackswan", "bmx-trees", "breakdance", "camel", "car-roundabout", "car-shadow", "cows"),
    *(
        "dance-twirl",
        "dog",
        "drift-chicane",
        "drift-straight",
        "goat",
        "horsejump-high",
        "kite-surf",
    ),
    *("libby", "motocross-jump", "paragliding-launch", "parkour", "scooter-black", "soapbox"),
)
"""The 20 validation sequences of DAVIS 2016."""
_RESOLUTIONS = ("480p", "1080p", "Full-Resolution")


def read_davis(root: Path) -> list[SequenceTruth]:
    """Every annotated sequence.

    Raises:
        InputError: no such folders.
    """
    base = first_folder(root, "DAVIS")
    images, labels = (
        first_folder(base / kind, *_RESOLUTIONS) for kind in ("JPEGImages", "Annotations")
    )
    found = []
    for folder in folders(labels):
        masks = files(folder, "*.png")
        frames = [require("davis", images / folder.name / f"{p.stem}.jpg") for p in masks]
        if masks:
            found.append(
                SequenceTruth(
                    dataset="davis",
                    name=folder.name,
                    images=Lazy(tuple(frames), read_rgb),
                    masks=Lazy(tuple(masks), _mask),
                )
            )
    if not found:
        raise wrong_layout(
            "davis",
            root,
            "JPEGImages/480p/<sequence>/00000.jpg and Annotations/480p/<sequence>/00000.png",
        )
    return found


def _mask(path: Path) -> np.ndarray:
    """Plain files hold 0 and 255, palette files object numbers with 255 for void."""
    labels = read_label(path)
    values = np.unique(labels)
    void = 255 if ((values > 0) & (values < 255)).any() else 256
    return np.where(labels == void, -1, labels > 0).astype(np.int8)
