"""The predictor without weights: classical two-view geometry that says plainly what it could not know."""

from dpm_cli.predictors.geometric.predictor import GeometricPredictor

__all__ = ["GeometricPredictor"]
