"""What the estimators share: predictions, and how the model of a fit is published."""

import functools

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.utils.validation import check_is_fitted

from . import _prediction
from ._arrays.portable import in_memory, is_dask, is_foreign, on_device_of, to_numpy
from ._callbacks import CallbackSupportMixin
from ._export import ExportMixin
from ._validation import check_features, check_finite, mean_hits


class SoftmaxPredictor(
    CallbackSupportMixin, ExportMixin, SparseCoefMixin, ClassifierMixin, BaseEstimator
):
    """A linear softmax model that has ``coef_``, ``intercept_`` and ``classes_`` once fitted."""

    def decision_function(self, X):
        """Compute the logits W x + b.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``, else a logit for each class.
        """
        return self._predict(X, _prediction.log_odds)

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels, of the dtype of ``classes_``.
        """
        return self._predict(X, _prediction.most_probable, to_labels=True)

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; rows sum to 1.
        """
        return self._predict(X, _prediction.probabilities)

    def predict_log_proba(self, X):
        """Return the logarithm of the probability of each class.

        A true log-softmax of the logits: finite also where the probability underflows to 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In nats; columns in the order of ``classes_``.
        """
        return self._predict(X, _prediction.log_probabilities)

    def score(self, X, y, sample_weight=None):
        """Return the accuracy.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of features.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Labels; or distributions, of which the predicted class's probability counts.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights.

        Returns
        -------
        float
            Mean accuracy, in [0, 1].
        """
        model = snapshot(self)
        if is_dask(X):
            from ._rows.dask.data import mean_of_rows

            check_is_fitted(model)
            attributes = model.coef_, model.intercept_, model.classes_
            hits = functools.partial(_prediction.is_hit, *attributes)
            X = check_features(model, X, reset=False)
            return mean_of_rows(hits, X, y, sample_weight, model.classes_)
        predicted = in_memory(model.predict(X), "X")
        return mean_hits(y, predicted, model.classes_, sample_weight)

    def _predict(self, X, transform, *, to_labels=False):
        model = snapshot(self)
        check_is_fitted(model)
        labels = model.classes_ if to_labels else None
        if is_dask(X):
            from ._rows.dask.data import map_rows

            X = check_features(model, X, reset=False)
            attributes = model.coef_, model.intercept_
            predict = functools.partial(_prediction.predict_rows, *attributes, transform, labels)
            return map_rows(predict, X)
        was_host = not is_foreign(X)
        with on_device_of(X):
            X = check_features(model, X, reset=False)
            result = _prediction.predict_finite(
                X,
                model.coef_,
                model.intercept_,
                transform,
                functools.partial(check_finite, model, X),
                n_classes=len(model.classes_),
                n_jobs=model.n_jobs,
            )
            result = to_numpy(result) if was_host else result
            return result if labels is None else _prediction.labels_at(labels, result)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def snapshot(estimator):
    """Return an estimator that holds the same objects, for others to change the first meanwhile.

    Fits work on it, so that one that fails has changed nothing; and so do predictions, so that
    their coefficients and classes are those of one fit, whatever another thread fits meanwhile.
    """
    copied = object.__new__(type(estimator))
    vars(copied).update(vars(estimator))
    return copied


def publish(estimator, fitted):
    """Give an estimator the model of its snapshot in one step: no thread meets a part of it.

    What is no part of the model (parameters, callbacks) may have been set meanwhile, and stays.
    """
    kept = {name: value for name, value in vars(estimator).copy().items() if not _is_fitted(name)}
    model = {name: value for name, value in vars(fitted).items() if _is_fitted(name)}
    estimator.__dict__ = {**vars(fitted), **kept, **model}


def _is_fitted(name):
    return name == "_stream" or (name.endswith("_") and not name.startswith("_"))
