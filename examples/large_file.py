"""
A file larger than memory
=========================

``fit`` reads X block by block, so X may be a file: a memory map, or a dataset of h5py or zarr. The
rows are read ahead by a thread while the last are computed, and never are all of them in memory.
"""

# %%
# A memory map
# ------------
# Here it is small; the code is the same for a terabyte.

import tempfile
from pathlib import Path

import h5py
import numpy as np
from sklearn.datasets import load_digits

from sklearn_softmax import SoftmaxRegressionClassifier

digits, labels = load_digits(return_X_y=True)
folder = tempfile.TemporaryDirectory()
path = Path(folder.name)

X = np.lib.format.open_memmap(
    path / "digits.npy", mode="w+", dtype=np.float32, shape=digits.shape
)
for start in range(0, len(X), 500):  # (written as it may arrive)
    X[start : start + 500] = digits[start : start + 500]
X.flush()

X = np.load(path / "digits.npy", mmap_mode="r")
mapped = SoftmaxRegressionClassifier().fit(X, labels)
print(f"memory map: accuracy {mapped.score(X, labels):.3f}")

# %%
# HDF5
# ----
# A dataset is read in parts of whole chunks. y and weights may be in the file as well; as long as
# there are rows, they are taken into memory.

with h5py.File(path / "digits.h5", "w") as file:
    file.create_dataset(
        "X", data=digits, chunks=(200, digits.shape[1]), compression="gzip"
    )
    file.create_dataset("y", data=labels)

with h5py.File(path / "digits.h5") as file:
    stored = SoftmaxRegressionClassifier().fit(file["X"], file["y"])
    print(f"HDF5: accuracy {stored.score(file['X'], labels):.3f}")

# %%
# The model is that of the same rows in memory.

in_memory = SoftmaxRegressionClassifier().fit(digits, labels)
print(
    f"coefficients differ by {np.abs(stored.coef_ - in_memory.coef_).max():.1e}"
)

del X
folder.cleanup()
