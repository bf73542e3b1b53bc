"""What the data sets and the solvers of this benchmark share."""

import importlib.util
import os
from pathlib import Path

import numpy as np
from benchopt import BaseDataset, BaseSolver


class BundledDataset(BaseDataset):
    """A data set that comes with scikit-learn; ``name`` is that of its loader."""

    def get_data(self):
        import sklearn.datasets

        X, y = getattr(sklearn.datasets, f"load_{self.name}")(return_X_y=True)
        return {"X": X, "y": y}


class FileDataset(BaseDataset):
    """A data set in the folder that the environment variable ``SOFTMAX_DATA`` names.

    The folder holds a ``load.py``, whose ``load(name)`` returns a dict with "X" and "y".
    """

    def get_data(self):
        data = self.load(self.name)
        return {"X": self.prepare(data["X"]), "y": data["y"]}

    def load(self, name):
        """Return what the folder's ``load.py`` does."""
        folder = os.environ.get("SOFTMAX_DATA")
        if folder is None:
            raise FileNotFoundError(f"Set SOFTMAX_DATA to the folder that holds {name}.")
        spec = importlib.util.spec_from_file_location("load", Path(folder) / "load.py")
        loader = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loader)
        return loader.load(name)

    def prepare(self, X):
        """Return X as the solvers get it: raw, unless a data set says otherwise."""
        return X


class TextDataset(FileDataset):
    """Word counts, weighted by tf-idf."""

    def prepare(self, X):
        from sklearn.feature_extraction.text import TfidfTransformer

        return TfidfTransformer().fit_transform(X)


class EstimatorSolver(BaseSolver):
    """A solver that is a scikit-learn estimator.

    ``tolerances`` are those that the panel fits it with, from rough to exact.
    """

    sampling_strategy = "tolerance"
    requirements = ["pip::scikit-learn"]
    tolerances = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)

    def make_estimator(self, tolerance):
        """Return the estimator for ``self.C`` and ``self.n_rows``."""
        raise NotImplementedError

    def set_objective(self, X, y, C):
        self.X, self.y, self.C = X, y, C
        self.n_rows = X.shape[0]

    def run(self, tolerance):
        self.estimator = self.make_estimator(tolerance).fit(self.X, self.y)

    def get_result(self):
        coef = np.asarray(self.estimator.coef_)
        return {"coef": coef, "intercept": np.asarray(self.estimator.intercept_)}
