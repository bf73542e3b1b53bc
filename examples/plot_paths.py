"""
Regularisation paths and cross-validation
=========================================

How many features does a model need, and how strong should the penalty be? A path shows the
models; cross-validation chooses one.
"""

# %%
# The path
# --------
# With an L1 penalty, features enter the model one after another as the penalty becomes weaker.
# Each line is the coefficient of one feature for one class.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifierCV, softmax_path

data = load_wine()
X, y = StandardScaler().fit_transform(data.data), data.target
path = softmax_path(X, y, l1_ratio=1.0, Cs=60)

fig, axes = plt.subplots(
    1, 3, figsize=(10, 3.5), sharey=True, layout="constrained"
)
for k, ax in enumerate(axes):
    ax.semilogx(path.Cs, path.coefs[:, k])
    for j in np.argsort(-np.abs(path.coefs[-1, k]))[:2]:
        ax.annotate(
            data.feature_names[j],
            (path.Cs[-1], path.coefs[-1, k, j]),
            ha="right",
        )
    ax.set(title=f"class {data.target_names[k]}", xlabel="C")
axes[0].set_ylabel("coefficient")

# %%
# How far each model is from its optimum, at most, and how many coefficients it has:

for i in range(0, 60, 12):
    gap = path.duality_gaps[i] / path.objectives[i]
    print(
        f"C={path.Cs[i]:<8.3g} {path.n_nonzero[i]:3} coefficients, duality gap {gap:.0e}"
    )

# %%
# The validation curve
# --------------------
# The best mean score of ten folds has a standard error. ``selection="one_standard_error"`` takes
# the strongest penalty whose mean is no more than that below it.

Cs = np.logspace(-2, 2, 25)
options = {"Cs": Cs, "l1_ratios": [1.0], "cv": 10}
best = SoftmaxRegressionClassifierCV(**options).fit(X, y)
simple = SoftmaxRegressionClassifierCV(
    **options, selection="one_standard_error"
).fit(X, y)

losses = -best.scores_[:, 0]
mean, error = (
    losses.mean(axis=0),
    losses.std(axis=0, ddof=1) / np.sqrt(len(losses)),
)

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.semilogx(Cs, mean)
ax.fill_between(
    Cs, mean - error, mean + error, alpha=0.3, label="one standard error"
)
for clf, name in ((best, "best"), (simple, "one_standard_error")):
    count = np.count_nonzero(clf.coef_)
    style = ":" if clf is best else "--"
    ax.axvline(
        clf.C_, ls=style, color="k", label=f"{name}: {count} coefficients"
    )
ax.set(xlabel="C", ylabel="log loss (10-fold)", ylim=(0, 0.6))
ax.legend()
plt.show()
