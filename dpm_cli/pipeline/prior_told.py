"""What the passes of a run are told of its depth prior: depth where there is no parallax, and the focal length."""

import numpy as np

from dpm_cli.focal import FocalEstimate
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline.job import Job
from dpm_cli.pipeline.prior_run import ClipPrior
from dpm_cli.predictors.protocol import FrameDepth, HearsPrior
from dpm_cli.prior.store import PriorStore


def heeded(job: Job) -> bool:
    """Whether the passes may be told the prior: until it turns out to be wrong."""
    return not job.writer.manifest["prior"].get("refused")


def _listener(job: Job) -> HearsPrior | None:
    """The predictor, if it can be told a prior."""
    predictor = job.machine.predictor
    return predictor if isinstance(predictor, HearsPrior) and predictor.hears_prior else None


def hears(job: Job) -> bool:
    """Whether the passes are told the prior where there is no parallax."""
    return _listener(job) is not None and heeded(job)


def tell(prior: ClipPrior | None, job: Job) -> None:
    """Tell the predictor the prior if it can hear one, and nothing if there is none to be heeded."""
    listener = _listener(job)
    if listener is not None:
        listener.tell(_frame_depth(prior.store) if prior and heeded(job) else None)


def was_told(focal: FocalEstimate | None, store: PassStore, job: Job) -> bool:
    """Whether the passes hold a word of the prior: the focal length, or depth where no parallax is."""
    told_focal = heeded(job) and focal is not None and focal.source == "prior"
    return told_focal or (hears(job) and bool((store.read_chunks()["status"] != "ok").any()))


def _frame_depth(store: PriorStore) -> FrameDepth:
    """What a predictor is told of the frames of a store."""

    def of_frame(t: int) -> np.ndarray:
        estimate = store.read(t)
        return np.where(estimate.valid, estimate.inverse_depth, 0).astype(np.float32)

    return of_frame
