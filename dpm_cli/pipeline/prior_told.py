"""What the passes of a run are told of its depth prior: depth where there is no parallax, and the focal length."""

from dpm_cli.focal import FocalEstimate
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline.job import Job
from dpm_cli.pipeline.pass_work import listener, tell_prior
from dpm_cli.pipeline.prior_run import ClipPrior


def heeded(job: Job) -> bool:
    """Whether the passes may be told the prior: until it turns out to be wrong."""
    return not job.writer.manifest["prior"].get("refused")


def hears(job: Job) -> bool:
    """Whether the passes are told the prior where there is no parallax."""
    return listener(job.machine.predictor) is not None and heeded(job)


def tell(prior: ClipPrior | None, job: Job) -> None:
    """Tell the predictor the prior if it can hear one, and nothing if there is none to be heeded."""
    tell_prior(job.machine.predictor, prior.store if prior and heeded(job) else None)


def was_told(focal: FocalEstimate | None, store: PassStore, job: Job) -> bool:
    """Whether the passes hold a word of the prior: the focal length, or depth where no parallax is."""
    told_focal = heeded(job) and focal is not None and focal.source == "prior"
    return told_focal or (hears(job) and bool((store.read_chunks()["status"] != "ok").any()))
