from benchmark_utils import FileDataset

# Rows that are drawn (at a fixed seed), classes that are kept (the first), components of an SVD.
TABLES = {
    "mnist": (3000, 10, None),
    "fashion_mnist": (6000, 10, None),
    "gas_drift_8of10": (8000, 10, None),
    "clinc151": (None, 26, 300),
}


class Dataset(FileDataset):
    """Tables of the middle: 1,500 to 8,000 rows, 128 to 784 features, 6 to 26 classes."""

    name = "middle"
    parameters = {"table": list(TABLES)}

    def get_data(self):
        import numpy as np
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfTransformer

        data = self.load(self.table)
        n_rows, n_classes, n_components = TABLES[self.table]
        kept = np.flatnonzero(np.isin(data["y"], np.unique(data["y"])[:n_classes]))
        if n_rows is not None:
            kept = np.sort(np.random.default_rng(0).permutation(kept)[:n_rows])
        X, y = data["X"][kept], data["y"][kept]
        if n_components is not None:
            X = TfidfTransformer().fit_transform(X)
            X = TruncatedSVD(n_components, random_state=0).fit_transform(X)
        return {"X": np.asarray(X, dtype=float), "y": y}
