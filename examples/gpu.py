"""
A GPU
=====

Give ``fit`` an array of CuPy's, or a tensor of PyTorch's that is on a GPU, and it is fitted there.
"""

# %%
# X on the device
# ---------------
# Where there is no GPU, this runs on a device that array-api-strict makes up: any library of the
# array API standard will do.

import numpy as np
from sklearn.datasets import load_digits

from sklearn_softmax import SoftmaxRegressionClassifier

digits, labels = load_digits(return_X_y=True)

try:
    import cupy

    X = cupy.asarray(digits, dtype=cupy.float32)
except Exception:  # no CuPy, or no GPU
    import array_api_strict

    device = array_api_strict.Device("device1")
    X = array_api_strict.asarray(digits.astype(np.float32), device=device)

names = np.array(
    [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
    ]
)
clf = SoftmaxRegressionClassifier(C=0.01).fit(X, names[labels])
print(f"accuracy {clf.score(X, names[labels]):.3f}")

# %%
# What comes back
# ---------------
# Predictions follow X, and stay where it is; the model is made of NumPy arrays.

proba = clf.predict_proba(X)
print(type(X), proba.shape, proba.device)
print(type(clf.coef_), clf.coef_.dtype)
print(clf.predict_proba(digits[:1]).round(3))

# %%
# NumPy arrays are moved with ``SoftmaxRegressionClassifier(device="cuda")``, once for each call.
