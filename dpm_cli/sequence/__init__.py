"""The result of a run: T frames with cameras, lazily read from a run folder or from one npz file."""

from dpm_cli.sequence.describe import describe_sequence, sequence_facts, verify_run
from dpm_cli.sequence.frame import FrameResult
from dpm_cli.sequence.header import SequenceHeader
from dpm_cli.sequence.journal import damaged
from dpm_cli.sequence.run_folder import CAMERAS, MANIFEST, RunWriter, read_manifest
from dpm_cli.sequence.sequence import Sequence4D

__all__ = [
    "CAMERAS",
    "MANIFEST",
    "FrameResult",
    "RunWriter",
    "Sequence4D",
    "SequenceHeader",
    "damaged",
    "describe_sequence",
    "read_manifest",
    "sequence_facts",
    "verify_run",
]
