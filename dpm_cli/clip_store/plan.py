"""Which frames of what the user named are taken, which part of them and at what size."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from dpm_cli.clip_store.area import picture_area
from dpm_cli.clip_store.frames import ClipPlan
from dpm_cli.errors import InputError, UsageError
from dpm_cli.video.bars import Area, whole_area
from dpm_cli.video.camera_data import lens_of_photos
from dpm_cli.video.decode import can_tone_map
from dpm_cli.video.image_decoder import image_decoder
from dpm_cli.video.inputs import clip_files, clip_name, is_image
from dpm_cli.video.motion_photo import film_start
from dpm_cli.video.probe import probe
from dpm_cli.video.select import select_frames, working_size


def plan_clip(
    inputs: list[str],
    *,
    long_side: int = 512,
    size: tuple[int, int] | None = None,
    multiple: int = 1,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    crop: str | Area = "none",
) -> ClipPlan:
    """Decide frames and working size of one clip without decoding it.

    `inputs` is one of the lists of `split_inputs`. `size` (height, width) overrides `long_side` and `multiple`. `crop`
    is an area of the source, or see `picture_area`; only to find bars some frames are decoded.

    Raises:
        InputError: the input cannot be read, or images differ in size.
        UsageError: options that contradict each other or the input.
    """
    files = tuple(clip_files(inputs))
    film = len(files) == 1 and film_start(files[0]) is not None
    if is_image(files[0]) and not film:
        if start is not None or end is not None or fps is not None:
            raise UsageError("images carry no times: use --stride and --max-frames")
        video, notes = None, ()
        source_size, pixel_aspect = _common_size(files), 1.0
        times = np.arange(len(files), dtype=np.float64)
    else:
        video = probe(files[0])
        notes = video.notes
        if film:
            notes = (*notes, f"motion photo: the film in {files[0].name} is taken, not the still")
        source_size, pixel_aspect = video.size, video.pixel_aspect
        times = video.timestamps
        if video.interlaced:
            notes = (*notes, "interlaced video: the two fields of each frame are made one picture")
        if video.hdr and not can_tone_map():
            notes = (
                *notes,
                "HDR video, and this ffmpeg has no zscale filter: colours are not tone-mapped",
            )
    indices = select_frames(
        times, start=start, end=end, fps=fps, stride=stride, max_frames=max_frames
    )
    plan = ClipPlan(
        name=clip_name(inputs),
        source=inputs[0] if len(inputs) == 1 else f"{len(inputs)} images, first {inputs[0]}",
        files=files,
        video=video,
        source_size=source_size,
        area=whole_area(source_size),
        size=size or source_size,
        pixel_aspect=pixel_aspect,
        lens=lens_of_photos(files) if video is None else video.lens,
        frame_index=indices,
        timestamps=times[indices],
        notes=notes,
    )
    area = picture_area(plan, crop) if isinstance(crop, str) else crop
    if crop == "auto" and area != plan.area:
        whole = f"{source_size[1]}x{source_size[0]}"
        bars = f"bars: the picture is {area} (x,y,w,h) of {whole}, the rest is left out; --crop none keeps it"
        plan = replace(plan, notes=(*notes, bars))
    fitted = size or working_size(area.size, long_side, multiple, pixel_aspect)
    return replace(plan, area=area, size=fitted)


def _common_size(files: tuple[Path, ...]) -> tuple[int, int]:
    sizes = [image_decoder().size(path) for path in files]
    odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if odd is not None:
        (h1, w1), (h2, w2) = sizes[0], sizes[odd]
        raise InputError(
            f"images differ in size: {files[0].name} is {w1}x{h1}, {files[odd].name} is {w2}x{h2}; "
            "resize them to one size or give them as separate clips"
        )
    return sizes[0]


def fingerprint(files: tuple[Path, ...]) -> str:
    """sha256 over the content of the files, in order; names do not count."""
    total = hashlib.sha256()
    for path in files:
        try:
            with open(path, "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return total.hexdigest()
