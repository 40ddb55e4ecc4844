"""The paper's loss of the pair network (eq. 2): confidence-weighted regression of the four stacked maps.

Lengths are compared after division by the median norm of the valid points of a pair's four maps, prediction and truth
each by its own. Static data has one target for both times; data that knows less than four maps says so in `valid`.
The mean is taken inside each pair first, so that sparse pairs count as much as dense ones (V-DPM).
"""

from torch import Tensor

from dpm_cli.network.large import PairMaps
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.losses import LossWeights, masked_mean, median_norm


def pair_loss(
    out: PairMaps, truth: PairTruth, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scalar to minimise and, for the log, the mean distance and the mean log certainty of the pairs.

    Of `weights`, `alpha` and `hidden` (pixels not seen in the other image) count.
    """
    valid = truth.valid
    seen = truth.visible.float() + weights.hidden * (~truth.visible).float()
    weight = valid.float() * seen[:, :, None]
    target = truth.points / _wide(median_norm(truth.points, valid))
    error = out.points / _wide(own_scale(out.points, valid)) - target
    distance = (error.square().sum(-1) + 1e-8).sqrt()
    log_c = out.certainty.log()
    loss = masked_mean(out.certainty * distance - weights.alpha * log_c, weight)
    terms = {"distance": masked_mean(distance, weight), "log_certainty": masked_mean(log_c, weight)}
    return loss.mean(), {name: term.mean().detach() for name, term in terms.items()}


def own_scale(points: Tensor, valid: Tensor) -> Tensor:
    """Median norm (B,) of the prediction, with the gradient of its mean norm.

    Without a gradient the network could lower the loss by shrinking its maps for ever; the median's own gradient
    would fall on a single pixel. That of the mean makes the loss blind to the scale, spread over all pixels.
    """
    mean = masked_mean(points.norm(dim=-1), valid.float()).clamp_min(1e-6)
    return median_norm(points.detach(), valid) * mean / mean.detach()


def _wide(scale: Tensor) -> Tensor:
    return scale[:, None, None, None, None, None]
