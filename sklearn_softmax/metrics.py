"""Scorers for targets that are distributions over the classes, as well as for labels.

scikit-learn's own scorers take labels only: with soft labels "accuracy" raises an error and
"neg_log_loss" gives NaN. These scorers take both, and work wherever scikit-learn has a
``scoring`` parameter, with any classifier that gives probabilities.

Examples
--------
>>> import numpy as np
>>> from sklearn.datasets import load_iris
>>> from sklearn.model_selection import cross_val_score
>>> from sklearn_softmax import SoftmaxRegressionClassifier
>>> from sklearn_softmax.metrics import neg_cross_entropy_scorer
>>> from sklearn_softmax.model_selection import SoftStratifiedKFold
>>> X, y = load_iris(return_X_y=True)
>>> soft = 0.9 * np.eye(3)[y] + 0.1 / 3
>>> scores = cross_val_score(
...     SoftmaxRegressionClassifier(),
...     X,
...     soft,
...     cv=SoftStratifiedKFold(5),
...     scoring=neg_cross_entropy_scorer,
... )
>>> scores.round(2)
array([-0.52, -0.48, -0.53, -0.51, -0.47])
"""

from typing import NamedTuple

import numpy as np
from sklearn.metrics._scorer import _BaseScorer

from ._arrays.portable import in_memory
from ._validation import mean_hits, mean_log_likelihood

__all__ = ["expected_accuracy_scorer", "neg_cross_entropy_scorer"]


class _Prediction(NamedTuple):
    """What a classifier says of some rows, and the classes that it knows."""

    values: np.ndarray
    classes: np.ndarray


class _DistributionScorer(_BaseScorer):
    """A scorer whose score function is told the classes of the estimator."""

    def __init__(self, name, score_func, predict):
        super().__init__(score_func, 1, {})
        self._name = name
        self._predict = predict

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        # (The caller would reduce the probabilities of two classes to one column.)
        prediction = _Prediction(self._predict(estimator, X), np.asarray(estimator.classes_))
        return self._score_func(y_true, prediction, **kwargs)

    def __repr__(self):
        return self._name


def _log_proba(estimator, X):
    if hasattr(estimator, "predict_log_proba"):
        return in_memory(estimator.predict_log_proba(X), "X")
    with np.errstate(divide="ignore"):
        return np.log(in_memory(estimator.predict_proba(X), "X"))


def _labels(estimator, X):
    return in_memory(estimator.predict(X), "X")


def _mean_log_likelihood(y_true, y_pred, sample_weight=None):
    return mean_log_likelihood(y_true, y_pred.values, y_pred.classes, sample_weight)


def _expected_accuracy(y_true, y_pred, sample_weight=None):
    return mean_hits(y_true, y_pred.values, y_pred.classes, sample_weight)


neg_cross_entropy_scorer = _DistributionScorer(
    "neg_cross_entropy_scorer", _mean_log_likelihood, _log_proba
)
"""The negative mean cross-entropy between the targets and the prediction, in nats.

The higher the better. For labels it is scikit-learn's "neg_log_loss", except that probabilities
are not clipped: a zero probability for what happened gives minus infinity. For distributions it is
:math:`\\frac{1}{n} \\sum_i \\sum_k y_{ik} \\log p_{ik}`, which is at most minus the mean entropy of
the targets.
"""

expected_accuracy_scorer = _DistributionScorer(
    "expected_accuracy_scorer", _expected_accuracy, _labels
)
"""The mean probability that the targets give to the predicted class.

For labels it is the accuracy. It is what :meth:`SoftmaxRegressionClassifier.score` returns.
"""
