"""The result of a run: T frames with cameras, lazily read from a run folder or from one npz file."""

from dpm_cli.sequence.describe import describe_sequence, sequence_facts
from dpm_cli.sequence.frame import FrameResult
from dpm_cli.sequence.header import SequenceHeader
from dpm_cli.sequence.run_folder import RunWriter, read_manifest
from dpm_cli.sequence.sequence import Sequence4D

__all__ = [
    "FrameResult",
    "RunWriter",
    "Sequence4D",
    "SequenceHeader",
    "describe_sequence",
    "read_manifest",
    "sequence_facts",
]
