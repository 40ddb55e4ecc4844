"""Decoded images on disk: `decode_clip` fills a store once, then frames are read at random in bounded memory."""

from dpm_cli.clip_store.clip import (
    ClipPlan,
    decode_clip,
    decode_clip_frames,
    fingerprint,
    plan_clip,
)
from dpm_cli.clip_store.store import ClipStore, ClipStoreWriter

__all__ = [
    "ClipPlan",
    "ClipStore",
    "ClipStoreWriter",
    "decode_clip",
    "decode_clip_frames",
    "fingerprint",
    "plan_clip",
]
