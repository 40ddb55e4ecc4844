"""Decoded images on disk: `decode_clip` fills a store once, then frames are read at random in bounded memory."""

from dpm_cli.clip_store.clip import decode_clip, planned_clip
from dpm_cli.clip_store.frames import ClipPlan, decode_clip_frames
from dpm_cli.clip_store.plan import fingerprint, plan_clip
from dpm_cli.clip_store.store import ClipStore, ClipStoreWriter, drop_torn_store

__all__ = [
    "ClipPlan",
    "ClipStore",
    "ClipStoreWriter",
    "decode_clip",
    "decode_clip_frames",
    "drop_torn_store",
    "fingerprint",
    "plan_clip",
    "planned_clip",
]
