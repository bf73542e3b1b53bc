import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """Features mixed at random, and labels drawn from a softmax of them."""

    name = "correlated"
    parameters = {
        "n_rows, n_features, n_classes": [(30_000, 300, 10), (500, 5_000, 3), (200_000, 100, 50)]
    }

    def get_data(self):
        rng = np.random.default_rng(0)
        mixing = rng.standard_normal((self.n_features, self.n_features))
        X = rng.standard_normal((self.n_rows, self.n_features)) @ mixing
        logits = X @ rng.standard_normal((self.n_features, self.n_classes)) / self.n_features
        y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
        return {"X": X, "y": y}
