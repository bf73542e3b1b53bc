"""
A cluster
=========

X as a Dask collection: the loss and its gradient are summed where the partitions are, and only sums
travel. The same code runs on two threads and on a thousand machines.
"""

# %%
# Data at the workers
# -------------------
# With the address of a scheduler, ``Client("tcp://...")`` is a cluster of machines. ``persist`` has
# the workers keep their parts; without it they make, or read, them again for every evaluation.

import dask.array as da
import numpy as np
from dask.distributed import Client
from sklearn.datasets import load_digits

from sklearn_softmax import SoftmaxRegressionClassifier

client = Client(
    n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
)

digits, labels = load_digits(return_X_y=True)
X = da.from_array(digits, chunks=(450, -1)).persist()
y = da.from_array(labels, chunks=450).persist()

# %%
# One line for each iteration
# ---------------------------
# The solver runs here, at the client; ``verbose=1`` and scikit-learn's callbacks are as ever.

clf = SoftmaxRegressionClassifier(C=0.01, verbose=1).fit(X, y)

# %%
# It is the model of the same rows in memory, and it is made of NumPy arrays: it can be pickled, and
# used where there is no Dask.

in_memory = SoftmaxRegressionClassifier(C=0.01).fit(digits, labels)
print(f"coefficients differ by {np.abs(clf.coef_ - in_memory.coef_).max():.1e}")

# %%
# Predictions
# -----------
# Of a collection they are a Dask array, which is computed where the rows are when it is asked for.

proba = clf.predict_proba(X)
print(proba)
print(
    f"accuracy {clf.score(X, y):.3f}, mean confidence {proba.max(axis=1).mean().compute():.3f}"
)

client.close()
