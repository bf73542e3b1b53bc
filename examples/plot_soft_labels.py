"""
Soft labels and label smoothing
===============================

A target may be a distribution over the classes: the votes of several annotators, the output of
another model, or counts divided by their sum. The loss is the same cross-entropy, and its
gradient still :math:`p - y`.
"""

# %%
# Annotators who disagree
# -----------------------
# Three annotators label each image; each is wrong three times out of ten. A DataFrame's columns
# name the classes.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax.functional import entropy

rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
wrong = rng.random((len(y), 3)) < 0.3
votes = np.where(wrong, rng.integers(0, 10, (len(y), 3)), y[:, None])
names = [
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
shares = pd.DataFrame(
    (votes[:, :, None] == np.arange(10)).mean(axis=1), columns=names
)
X, X_test, shares, _, votes, _, y, y_test = train_test_split(
    X, shares, votes, y, random_state=0
)

clf = SoftmaxRegressionClassifier(C=0.01).fit(X, shares)
print("classes, sorted:", clf.classes_.tolist())
print(
    f"accuracy on the true labels: {clf.score(X_test, np.array(names)[y_test]):.3f}"
)
single = SoftmaxRegressionClassifier(C=0.01).fit(X, votes[:, 0])
print(f"fitted to one annotator:     {single.score(X_test, y_test):.3f}")

# %%
# What the loss measures
# ----------------------
# No model's cross-entropy on these targets can be below their mean entropy, which is how
# uncertain the annotators are. What is above it is the model's own.

floor = entropy(shares.to_numpy(), unit="bits").mean()
log_proba = clf.predict_log_proba(X) / np.log(2)
loss = -(shares[list(clf.classes_)].to_numpy() * log_proba).sum(axis=1).mean()
print(
    f"entropy of the votes {floor:.3f} bits, cross-entropy of the model {loss:.3f} bits"
)

# %%
# Label smoothing
# ---------------
# ``label_smoothing`` spreads a share of each target evenly over the classes, so probabilities
# stay away from 0 and 1: less confident where it is wrong.

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for smoothing in (0.0, 0.05, 0.2):
    clf = SoftmaxRegressionClassifier(label_smoothing=smoothing).fit(X, y)
    proba = clf.predict_proba(X_test)
    loss = -clf.predict_log_proba(X_test)[np.arange(len(y_test)), y_test].mean()
    label = f"label_smoothing={smoothing}: log loss {loss:.2f}"
    ax.hist(
        proba.max(axis=1),
        bins=np.linspace(0, 1, 41),
        histtype="step",
        label=label,
    )
ax.set(
    xlabel="probability of the predicted class", ylabel="images", yscale="log"
)
ax.legend(loc="upper left")
plt.show()
