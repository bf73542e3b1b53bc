"""Data sets: functions that return X and y, raw as they are."""

import sys

import numpy as np
import sklearn.datasets

BUNDLED = {
    "iris": sklearn.datasets.load_iris,
    "wine": sklearn.datasets.load_wine,
    "breast_cancer": sklearn.datasets.load_breast_cancer,
    "digits": sklearn.datasets.load_digits,
}


def correlated(n_rows, n_features, n_classes, seed=0):
    """Features mixed at random, and labels drawn from a softmax of them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features)) @ rng.standard_normal((n_features, n_features))
    logits = X @ rng.standard_normal((n_features, n_classes)) / n_features
    y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    return X, y


SYNTHETIC = {
    "correlated_30000x300x10": lambda: correlated(30_000, 300, 10),
    "wide_500x5000x3": lambda: correlated(500, 5_000, 3),
    "tall_200000x100x50": lambda: correlated(200_000, 100, 50),
}


def load(name, folder=None):
    """Return X and y of a data set by its name.

    ``folder`` holds a ``load.py`` whose ``load(name)`` returns a dict with "X" and "y".
    """
    if name in BUNDLED:
        return BUNDLED[name](return_X_y=True)
    if name in SYNTHETIC:
        return SYNTHETIC[name]()
    if folder is None:
        known = ", ".join([*BUNDLED, *SYNTHETIC])
        raise ValueError(f"{name} is not one of {known}; others need --folder.")
    sys.path.insert(0, str(folder))
    from load import load as load_file

    data = load_file(name)
    X, y = data["X"], data["y"]
    if hasattr(X, "tocsr"):  # word counts
        from sklearn.feature_extraction.text import TfidfTransformer

        X = TfidfTransformer().fit_transform(X)
    elif name in ("fashion_mnist", "mnist"):
        X = X / 255.0
    return X, y
