"""Softmax (multinomial logistic) regression for people who work with scikit-learn."""

from importlib.metadata import version

from . import functional
from ._classifier import SoftmaxRegressionClassifier

__all__ = ["SoftmaxRegressionClassifier", "functional"]
__version__ = version("sklearn-softmax")
