"""Softmax (multinomial logistic) regression for people who work with scikit-learn."""

from importlib.metadata import version

from . import functional, inspection, metrics, model_selection
from ._classifier import SoftmaxRegressionClassifier
from ._classifier_cv import SoftmaxRegressionClassifierCV
from ._path import SoftmaxPath, softmax_path

__all__ = [
    "SoftmaxPath",
    "SoftmaxRegressionClassifier",
    "SoftmaxRegressionClassifierCV",
    "functional",
    "inspection",
    "metrics",
    "model_selection",
    "softmax_path",
]
__version__ = version("sklearn-softmax")
