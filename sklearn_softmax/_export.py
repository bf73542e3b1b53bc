"""Ways out of a fitted model: scikit-learn's own estimator, and a table of coefficients."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import check_is_fitted

from ._labels import as_labels

# Before, its penalty must be named besides l1_ratio.
_NAMES_NO_PENALTY = parse_version("1.8")


class ExportMixin:
    """What is made of ``coef_``, ``intercept_`` and ``classes_``, once they are fitted."""

    coef_: Any
    intercept_: Any
    classes_: Any
    n_iter_: Any
    n_features_in_: int
    fit_intercept: bool
    C: float
    l1_ratio: float

    def to_logistic_regression(self) -> LogisticRegression:
        """Return the same model as a fitted LogisticRegression of scikit-learn.

        Its predictions are the same up to rounding errors. Tools that know scikit-learn's own
        estimators (ONNX, SHAP, ELI5) can work with it. Its parameters are those that have the same
        optimum; what ``LogisticRegression`` does not have, such as ``label_smoothing``, is lost.

        Returns
        -------
        LogisticRegression
            It shares no array with this estimator.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from sklearn_softmax import SoftmaxRegressionClassifier
        >>> X, y = load_wine(return_X_y=True)
        >>> clf = SoftmaxRegressionClassifier().fit(X, y)
        >>> clf.to_logistic_regression().predict(X[:2])
        array([0, 0])
        """
        check_is_fitted(self)
        model = LogisticRegression(**self._parameters_of_logistic_regression())
        coef = self.coef_
        model.coef_ = coef.copy() if sp.issparse(coef) else np.array(coef)
        model.intercept_ = np.array(self.intercept_)
        model.classes_ = np.array(self.classes_)
        model.n_iter_ = np.array([np.max(getattr(self, "n_iter_", 0))], dtype=np.int32)
        model.n_features_in_ = coef.shape[1]
        if hasattr(self, "feature_names_in_"):
            model.feature_names_in_ = np.array(self.feature_names_in_)
        return model

    def _parameters_of_logistic_regression(self):
        C = getattr(self, "C_", None) or self.C
        l1_ratio = getattr(self, "l1_ratio_", None)
        l1_ratio = self.l1_ratio if l1_ratio is None else l1_ratio
        names = ("fit_intercept", "class_weight", "max_iter", "warm_start", "random_state")
        parameters = {name: getattr(self, name) for name in names if hasattr(self, name)}
        parameters["C"] = C
        if l1_ratio > 0:
            parameters |= {"l1_ratio": l1_ratio, "solver": "saga"}
        if parse_version(sklearn.__version__) >= _NAMES_NO_PENALTY:
            return parameters
        if np.isinf(C):
            return parameters | {"penalty": None, "C": 1.0}
        return parameters | ({"penalty": "elasticnet"} if l1_ratio > 0 else {})

    def coef_table(self, *, reference: Any = None, scale: Any = None) -> Any:
        """Return the coefficients and odds ratios, by feature and class, as a DataFrame.

        Parameters
        ----------
        reference : label or None, default=None
            The class that the others are compared with, for three and more classes: coefficients
            are then differences to those of this class, which has no rows. None compares each class
            with the geometric mean of all. Two classes are always compared with each other:
            coefficients are those of ``classes_[1]``, unless that is the reference.
        scale : float or array-like of shape (n_features,) or None, default=None
            By how much each feature rises. None is its unit. ``X.std(axis=0)`` makes features that
            have different units comparable.

        Returns
        -------
        DataFrame
            Indexed by "feature" and "class". The column "coefficient" tells by how much a rise of
            the feature raises the logit of the class, and "odds_ratio" by which factor it raises
            its odds against the reference.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_softmax import SoftmaxRegressionClassifier
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> clf = SoftmaxRegressionClassifier().fit(X[["petal length (cm)"]], y)
        >>> clf.coef_table(reference=0).round(2)  # doctest: +NORMALIZE_WHITESPACE
                                 coefficient  odds_ratio
        feature           class
        petal length (cm) 1             2.82       16.78
                          2             6.50      665.82
        """
        check_is_fitted(self)
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("coef_table needs pandas: pip install pandas") from error
        coef = self.coef_.toarray() if sp.issparse(self.coef_) else self.coef_
        coef = np.asarray(coef, dtype=np.float64) * _checked_scale(scale, coef.shape[1])
        position = None if reference is None else _position(reference, self.classes_)
        coef, log_odds, classes = _compared(coef, position, self.classes_)
        index = pd.MultiIndex.from_product(
            [feature_names(self), classes.tolist()], names=["feature", "class"]
        )
        with np.errstate(over="ignore"):  # (they are infinite then, for the digits of a float)
            odds_ratio = np.exp(log_odds)
        columns = {"coefficient": coef.T.ravel(), "odds_ratio": odds_ratio.T.ravel()}
        return pd.DataFrame(columns, index=index)


def feature_names(estimator):
    """Return the names of the features that an estimator was fitted with, or "x0", "x1", ..."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return [str(name) for name in names]
    return [f"x{j}" for j in range(estimator.coef_.shape[1])]


def coefficients_by_class(estimator):
    """Return coefficients with a row for each class that has them, and the labels of those."""
    coef = estimator.coef_
    coef = coef.toarray() if sp.issparse(coef) else np.asarray(coef)
    return coef, np.asarray(estimator.classes_)[-len(coef) :]


def _compared(coef, position, classes):
    """Return coefficients, the logarithms of odds ratios, and the classes that have them."""
    if len(coef) == 1:
        if position == 1:
            return -coef, -coef, classes[:1]
        return coef, coef, classes[1:]
    if position is None:
        return coef, coef - coef.mean(axis=0), classes
    coef = np.delete(coef - coef[position], position, axis=0)
    return coef, coef, np.delete(classes, position)


def _position(reference, classes):
    labels = as_labels([reference], "reference")
    found = np.flatnonzero(classes == labels[0])
    if not len(found):
        raise ValueError(
            f"reference must be None or one of the classes, {classes.tolist()}; got {reference!r}."
        )
    return int(found[0])


def _checked_scale(scale, n_features):
    if scale is None:
        return 1.0
    scale = np.asarray(scale, dtype=np.float64)
    if scale.ndim and scale.shape != (n_features,):
        raise ValueError(
            f"scale must be a number or have an entry for each of the {n_features} features; its "
            f"shape is {scale.shape}."
        )
    if not np.isfinite(scale).all():
        raise ValueError("scale must be finite; it holds NaN or infinity.")
    return scale
