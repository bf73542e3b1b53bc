"""Fits along C on the training rows of each fold, and what they score on its other rows.

The folds are the same rows with different weights, 0 for those that a fold holds out. No part of X
is copied for a fit.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from ._arrays.portable import is_sliceable
from ._objective.linear import SoftmaxObjective
from ._objective.scaling import Scaling
from ._path import Penalties, PenaltyPath
from ._prediction import needs_float64
from ._predictor import snapshot
from ._rows.blas_threads import uphold_limit
from ._rows.dispatch import rows_of
from ._targets import class_mass
from ._validation import row_weights


@dataclass
class Fold:
    """Fits to a part of the rows, and the rows to score them on.

    Attributes
    ----------
    path : PenaltyPath
        The fits. A row that occurs twice among those to train on counts twice.
    test : ndarray of int
        Positions of rows.
    """

    path: PenaltyPath
    test: np.ndarray


def checked_folds(splits, data):
    """Return training and test rows of each fold as positions; raise an error if one has none."""
    n_rows = data.X.shape[0]
    folds = []
    for number, (train, test) in enumerate(splits):
        parts = tuple(_positions(rows, n_rows, number) for rows in (train, test))
        for name, rows in zip(("training", "test"), parts, strict=True):
            weight = None if data.sample_weight is None else data.sample_weight[rows]
            if not len(rows) or (weight is not None and not weight.any()):
                raise ValueError(
                    f"cv must give each fold training and test rows of positive weight; fold "
                    f"{number} has no such {name} rows."
                )
        folds.append(parts)
    if not folds:
        raise ValueError("cv must give at least one fold; it gives none.")
    return folds


def _positions(rows, n_rows, number):
    """Return rows, which a splitter gives as positions or a mask, as positions from 0 on."""
    rows = np.asarray(rows)
    try:
        return np.arange(n_rows)[rows if rows.size else rows.astype(np.intp)]
    except IndexError as error:
        said = f"cv must give positions of rows, or masks; fold {number}: {error}."
        raise ValueError(said) from None


def folds_of(estimator, data, blocks, parts, Cs):
    """Return the :class:`Fold` of each pair of training and test rows.

    Parameters
    ----------
    estimator : SoftmaxRegressionClassifier
        Its parameters but C and ``l1_ratio``.
    data : TrainingData
        All rows.
    blocks : RowBlocks
        The same, within whose context the fits are made.
    parts : list of tuple of ndarray of int
        Training and test rows.
    Cs : ndarray
        All values of C there will be.
    """
    folds = []
    for number, (train, test) in enumerate(parts):
        counts = np.bincount(train, minlength=blocks.n_rows).astype(np.float64)
        sample_weight = counts if data.sample_weight is None else counts * data.sample_weight
        weight, of_classes = row_weights(
            estimator.class_weight, data.classes, data.y, sample_weight
        )
        _refuse_unknown_classes(estimator, data, weight, number)
        own = replace(data, weight=weight, class_weight=of_classes)
        # A fold learns nothing from the rows that it holds out: scale and start are its own.
        penalties = Penalties(estimator, blocks.with_weight(weight, of_classes), Cs)
        path = PenaltyPath(estimator, own, penalties)
        folds.append(Fold(path, test))
    return folds


def _refuse_unknown_classes(estimator, data, weight, number):
    """Raise an error if training rows lack a class, of which their model would say nothing."""
    if estimator.label_smoothing > 0:
        return
    # (A class without weight in all rows is not the folds' fault.)
    is_missing = (class_mass(data.y, len(data.classes), weight) == 0) & (
        class_mass(data.y, len(data.classes), data.weight) > 0
    )
    if is_missing.any():
        missing = data.classes[is_missing].tolist()[0]
        raise ValueError(
            f"cv must give each fold training rows of every class; fold {number} has none of class "
            f"{missing!r}. Pass another cv (fewer folds, or StratifiedKFold), leave out rare "
            "classes, or set label_smoothing above 0."
        )


class LogLikelihood:
    """The mean log-likelihood of rows under a model, in nats: the negative log loss.

    Parameters
    ----------
    data : TrainingData
        All rows.
    blocks : RowBlocks
        The same. Neither class weights nor label smoothing count.
    """

    def __init__(self, data, blocks):
        self._weight = data.sample_weight
        plain = np.ones(blocks.n_rows)
        self._objective = SoftmaxObjective(
            blocks.with_weight(plain), C=np.inf, scaling=Scaling.unscaled()
        )

    def __call__(self, model, rows, penalty):
        """Return the score of fitted attributes on the rows at these positions."""
        weight = None
        if self._weight is not None:
            rows = rows[self._weight[rows] > 0]
            weight = self._weight[rows]
        objective = self._objective
        if needs_float64(objective.blocks, model["coef_"]):
            objective = objective.in_float64()
        vector = objective.parameters(
            model["coef_"].astype(np.float64), model["intercept_"].astype(np.float64)
        )
        loss = objective.mean_loss(vector, rows, weight)
        if not np.isfinite(loss):
            raise ValueError("The loss of the test rows is not finite.")
        return -loss


class Scorer:
    """What a scorer of scikit-learn's says of a model.

    Parameters
    ----------
    scorer : callable
        ``scorer(estimator, X, y, **params)``.
    estimator : SoftmaxRegressionClassifier
        One that has not been fitted, but knows the features.
    X, y : array-like
        As they were given.
    params : dict
        What the scorer is passed besides; what has an entry for each row is cut to the rows.
    """

    def __init__(self, scorer, estimator, X, y, params):
        self._scorer = scorer
        self._estimator = estimator
        self._X, self._y = X, y
        self._params = params

    def __call__(self, model, rows, penalty):
        """Return the score of fitted attributes on the rows at these positions."""
        fitted = snapshot(self._estimator)
        fitted.l1_ratio, fitted.C = penalty
        vars(fitted).update(model)
        params = _check_method_params(self._X, self._params, indices=rows)
        score = self._scorer(fitted, self._rows_of_X(rows), _safe_indexing(self._y, rows), **params)
        try:
            if not np.ndim(score):
                return float(score)
        except (TypeError, ValueError):
            pass
        raise ValueError(f"scoring must return a single number; it returned {score!r}.")

    def _rows_of_X(self, rows):
        if is_sliceable(self._X):
            # (A file cannot return rows in arbitrary order, or one row twice.)
            return rows_of(self._X, n_classes=2).take(rows).X
        return _safe_indexing(self._X, rows)


@dataclass
class Search:
    """Scores and models of all folds and penalties.

    Attributes
    ----------
    scores : ndarray of shape (n_folds, n_l1_ratios, n_Cs)
        NaN where a path has ended early.
    coefs : ndarray of shape (n_folds, n_l1_ratios, n_Cs, n_outputs, n_features + fit_intercept)
        NaN there, too.
    n_iter : ndarray of int of shape (n_folds, n_l1_ratios, n_Cs)
    not_converged : list of (float, float, int, str)
        ``l1_ratio``, C, fold and reason of fits that have not converged.
    """

    scores: np.ndarray
    coefs: np.ndarray
    n_iter: np.ndarray
    not_converged: list


def search(folds, l1_ratios, Cs, *, score, fit_intercept, report, patience=None):
    """Fit and score all folds at all penalties.

    Parameters
    ----------
    folds : list of Fold
    l1_ratios, Cs : ndarray
        The penalties. Along C fits go from the strongest penalty to the weakest.
    score : callable
        ``score(model, rows, penalty)``, with the penalty's ``l1_ratio`` and C.
    fit_intercept : bool
        Whether the coefficients that are kept have a last column for the intercept.
    report : object
        Is told of every fit: ``report.begin(l1_ratio, C, fold)`` before, and ``report.end(model)``
        after, which returns whether to stop; ``report.scored(l1_ratio, C, scores)`` once all
        folds have been scored.
    patience : int or None
        A path ends when the mean score has not risen for so many values of C.

    Returns
    -------
    Search
    """
    shape = len(folds), len(l1_ratios), len(Cs)
    found = Search(np.full(shape, np.nan), np.empty(0), np.zeros(shape, dtype=np.int32), [])
    for i, l1_ratio in enumerate(l1_ratios):
        for fold in folds:
            fold.path.restart()
        best, n_worse = -np.inf, 0
        for j in np.argsort(Cs, kind="stable"):
            penalty = l1_ratio, Cs[j]
            stops = _fit_folds(found, folds, (i, j), penalty, score, fit_intercept, report)
            scores = found.scores[:, i, j]
            report.scored(l1_ratio, Cs[j], scores)
            if stops:
                return found
            n_worse = 0 if scores.mean() > best else n_worse + 1
            best = max(best, scores.mean())
            if patience is not None and n_worse >= patience:
                break
    return found


def _fit_folds(found, folds, place, penalty, score, fit_intercept, report):
    """Fit and score all folds at one penalty; return whether to stop."""
    stops = False
    l1_ratio, C = penalty
    for number, fold in enumerate(folds):
        uphold_limit()
        report.begin(l1_ratio, C, number)
        fitted = fold.path.fit(C, l1_ratio)
        model, at = fitted.model, (number, *place)
        found.scores[at] = score(model, fold.test, (float(l1_ratio), float(C)))
        found.n_iter[at] = fitted.training.state.n_iter
        parts = [model["coef_"], model["intercept_"][:, None]][: 1 + fit_intercept]
        coefs = np.concatenate(parts, axis=1)
        if not found.coefs.size:
            found.coefs = np.full((*found.scores.shape, *coefs.shape), np.nan, coefs.dtype)
        if coefs.dtype != found.coefs.dtype:
            # (Some fits of float32 rows may need float64.)
            found.coefs = found.coefs.astype(np.float64)
        found.coefs[at] = coefs
        if fitted.training.reason != "converged":
            found.not_converged.append((l1_ratio, C, number, fitted.training.reason))
        stops = report.end(model) or stops
    return stops


def select(scores, Cs, rule):
    """Return the positions of the ``l1_ratio`` and the C that are chosen.

    Parameters
    ----------
    scores : ndarray of shape (n_folds, n_l1_ratios, n_Cs)
        The higher the better. What is not finite in a fold is not chosen.
    Cs : ndarray of shape (n_Cs,)
    rule : {"best", "one_standard_error"}
        The best mean; or with its ``l1_ratio`` the smallest C whose mean is no more than the best
        mean's standard error below that.

    Returns
    -------
    tuple of int
    """
    means = scores.mean(axis=0)
    is_known = np.isfinite(means)
    if not is_known.any():
        raise ValueError(
            "scoring must give a finite score in every fold for one penalty at least; it gives "
            f"{scores.ravel()[:10].tolist()}."
        )
    means = np.where(is_known, means, -np.inf)
    # Of equally good ones the strongest penalty is taken, whatever its l1_ratio.
    order = np.argsort(Cs, kind="stable")
    by_C = means.T[order]
    column, row = np.unravel_index(np.argmax(by_C), by_C.shape)
    best = int(row), int(order[column])
    if rule == "best" or len(scores) < 2:
        return best
    of_best = scores[:, best[0], best[1]]
    error = of_best.std(ddof=1) / np.sqrt(len(of_best))
    is_near = means[best[0]] >= means[best] - error
    return best[0], int(next(j for j in order if is_near[j]))


def mean_models(coefs, fit_intercept) -> dict[str, Any]:
    """Return coefficients and intercepts, averaged over the first axis."""
    mean = coefs.mean(axis=0)
    if fit_intercept:
        return {"coef_": np.ascontiguousarray(mean[:, :-1]), "intercept_": mean[:, -1].copy()}
    return {"coef_": mean, "intercept_": np.zeros(len(mean), dtype=mean.dtype)}
