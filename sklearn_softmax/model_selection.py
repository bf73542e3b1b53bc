"""Splitters for targets that are distributions over the classes, as well as for labels."""

from sklearn.model_selection import StratifiedKFold

from . import _targets

__all__ = ["SoftStratifiedKFold"]


class SoftStratifiedKFold(StratifiedKFold):
    """Stratified folds, where soft labels are stratified by their most probable class.

    With ``cv=5``, scikit-learn stratifies labels but not distributions: those it cuts in the
    order of the rows, which goes wrong if the rows are sorted by class.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to shuffle the rows of each class first.
    random_state : int, RandomState instance or None, default=None
        Used when ``shuffle`` is True.

    See Also
    --------
    sklearn.model_selection.StratifiedKFold : The same for labels.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_softmax.model_selection import SoftStratifiedKFold
    >>> soft = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])
    >>> X = np.zeros((4, 1))
    >>> [test.tolist() for _, test in SoftStratifiedKFold(2).split(X, soft)]
    [[0, 2], [1, 3]]
    """

    def __init__(self, n_splits=5, *, shuffle=False, random_state=None):
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)

    def split(self, X, y, groups=None):
        """Return the rows of each training and test set.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of features, of which only the number matters.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Class labels, or a distribution over the classes for each row.
        groups : None
            Ignored.

        Returns
        -------
        iterator of (ndarray, ndarray)
            Positions of the training rows and of the test rows.
        """
        if _targets.is_distribution(y):
            y = _targets.check_distribution(y)[1].argmax(axis=1)
        return super().split(X, y, groups)
