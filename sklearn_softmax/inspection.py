"""Figures of a fitted model, in the form of scikit-learn's displays. They need matplotlib."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._export import coefficients_by_class, feature_names

__all__ = ["CoefficientDisplay", "LossCurveDisplay"]


class LossCurveDisplay:
    """The loss after each iteration or epoch, and that of the validation rows where there are any.

    Create it with :meth:`from_estimator`.

    Parameters
    ----------
    loss_curve : array-like of shape (n_iter,)
        The objective after each iteration, in nats. It includes the penalty.
    validation_loss_curve : array-like of shape (n_iter,) or None, default=None
        The cross-entropy of the validation rows after each iteration, in nats.
    unit : str, default="iteration"
        What an iteration is called.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        The figure.
    lines_ : list of matplotlib Line2D
        The line of the loss, and that of the validation loss.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_softmax import SoftmaxRegressionClassifier
    >>> from sklearn_softmax.inspection import LossCurveDisplay
    >>> clf = SoftmaxRegressionClassifier().fit(*load_wine(return_X_y=True))
    >>> display = LossCurveDisplay.from_estimator(clf)
    >>> display.ax_.get_xlabel()
    'iteration'
    """

    def __init__(self, *, loss_curve, validation_loss_curve=None, unit="iteration"):
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.unit = unit

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure.
        name : str or None, default=None
            What the curves are of; it becomes part of their labels.
        **kwargs : dict
            Options of :meth:`matplotlib.axes.Axes.plot`, for both lines.

        Returns
        -------
        LossCurveDisplay
        """
        self.ax_, self.figure_ = _axes(ax)
        prefix = "" if name is None else f"{name}: "
        curves = {"training (with penalty)": self.loss_curve}
        if self.validation_loss_curve is not None:
            curves["validation"] = self.validation_loss_curve
        self.lines_ = []
        for label, values in curves.items():
            steps = np.arange(1, len(values) + 1)
            options = {"label": f"{prefix}{label}", **kwargs}
            self.lines_ += self.ax_.plot(steps, values, **options)
        self.ax_.set(xlabel=self.unit, ylabel="loss (nats)")
        if len(self.lines_) > 1 or name is not None:
            self.ax_.legend()
        return self

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, name=None, **kwargs):
        """Draw the curves of a fitted classifier.

        Parameters
        ----------
        estimator : SoftmaxRegressionClassifier or Pipeline
            A fitted classifier, or a pipeline that ends with one.
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure.
        name : str or None, default=None
            What the curves are of; it becomes part of their labels.
        **kwargs : dict
            Options of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        LossCurveDisplay
        """
        classifier = _last_step(estimator)
        check_is_fitted(classifier)
        if not hasattr(classifier, "loss_curve_"):
            raise ValueError(
                f"estimator must have a loss_curve_; {type(classifier).__name__} has none."
            )
        scores = getattr(classifier, "validation_score_curve_", None)
        display = cls(
            loss_curve=np.array(classifier.loss_curve_),
            validation_loss_curve=None if scores is None else -np.array(scores),
            unit="epoch" if getattr(classifier, "solver", "") == "sgd" else "iteration",
        )
        return display.plot(ax, name=name, **kwargs)


class CoefficientDisplay:
    """The coefficients as a heat map, by the names of features and classes.

    Create it with :meth:`from_estimator`.

    Parameters
    ----------
    coef : array-like of shape (n_outputs, n_features)
        The coefficients.
    feature_names : list of str
        A name for each feature.
    class_names : list of str
        A name for each row of ``coef``.
    label : str, default="coefficient"
        What the colours show.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        The figure.
    im_ : matplotlib AxesImage
        The heat map.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_softmax import SoftmaxRegressionClassifier
    >>> from sklearn_softmax.inspection import CoefficientDisplay
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> clf = SoftmaxRegressionClassifier().fit(X, y)
    >>> display = CoefficientDisplay.from_estimator(clf, scale=X.std(), max_features=3)
    >>> display.feature_names
    ['proline', 'color_intensity', 'flavanoids']
    """

    def __init__(self, *, coef, feature_names, class_names, label="coefficient"):
        self.coef = coef
        self.feature_names = feature_names
        self.class_names = class_names
        self.label = label

    def plot(self, ax=None, *, cmap="RdBu_r", values_format=".2f", colorbar=True):
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            A diverging colour map, whose middle is a coefficient of 0.
        values_format : str or None, default=".2f"
            How to print the coefficients. None prints none.
        colorbar : bool, default=True
            Whether to add a colour bar.

        Returns
        -------
        CoefficientDisplay
        """
        self.ax_, self.figure_ = _axes(ax)
        coef = np.asarray(self.coef, dtype=np.float64).T
        largest = np.abs(coef).max(initial=0.0) or 1.0
        self.im_ = self.ax_.imshow(coef, cmap=cmap, vmin=-largest, vmax=largest, aspect="auto")
        self.ax_.set_xticks(range(coef.shape[1]), self.class_names)
        self.ax_.set_yticks(range(coef.shape[0]), self.feature_names)
        self.ax_.set(xlabel="class")
        if values_format is not None:
            for (row, column), value in np.ndenumerate(coef):
                color = "white" if abs(value) > 0.6 * largest else "black"
                text = format(value, values_format)
                self.ax_.text(column, row, text, ha="center", va="center", color=color)
        if colorbar:
            self.figure_.colorbar(self.im_, ax=self.ax_, label=self.label)
        return self

    @classmethod
    def from_estimator(cls, estimator, *, scale=None, max_features=20, ax=None, **kwargs):
        """Draw the coefficients of a fitted classifier.

        Parameters
        ----------
        estimator : SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV or Pipeline
            A fitted classifier, or a pipeline that ends with one. Features have the names that the
            steps before it give them.
        scale : array-like of shape (n_features,) or None, default=None
            By how much each feature rises. ``X.std(axis=0)`` makes raw features comparable. None
            is their unit.
        max_features : int or None, default=20
            How many features to show: those with the largest coefficients, times ``scale``. None
            shows all, in their order.
        ax : matplotlib Axes or None, default=None
            Where to draw. None makes a new figure.
        **kwargs : dict
            Options of :meth:`plot`.

        Returns
        -------
        CoefficientDisplay
        """
        classifier = _last_step(estimator)
        check_is_fitted(classifier)
        coef, labels = coefficients_by_class(classifier)
        names = _names_before_last_step(estimator)
        names = feature_names(classifier) if names is None else names
        if scale is not None:
            scale = np.asarray(scale, dtype=np.float64)
            if scale.shape != (coef.shape[1],):
                raise ValueError(
                    f"scale must have an entry for each of the {coef.shape[1]} features; its shape "
                    f"is {scale.shape}."
                )
            coef = coef * scale
        if max_features is not None and max_features < coef.shape[1]:
            largest = np.argsort(-np.abs(coef).max(axis=0), kind="stable")[:max_features]
            coef, names = coef[:, largest], [names[j] for j in largest]
        display = cls(
            coef=coef,
            feature_names=names,
            class_names=[str(label) for label in labels],
            label="coefficient" if scale is None else "coefficient times scale",
        )
        return display.plot(ax, **kwargs)


def _last_step(estimator):
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def _names_before_last_step(estimator):
    """Return the names that the steps of a pipeline give the features; None where they do not."""
    if not isinstance(estimator, Pipeline) or len(estimator) < 2:
        return None
    try:
        return [str(name) for name in estimator[:-1].get_feature_names_out()]
    except (AttributeError, ValueError):
        return None


def _axes(ax):
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError("figures need matplotlib: pip install matplotlib") from error
        _, ax = plt.subplots(layout="constrained")
    return ax, ax.figure
