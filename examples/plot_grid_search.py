"""
Pipeline and grid search
========================

``C`` and ``l1_ratio`` are searched as for ``LogisticRegression``. With an L1 penalty the
coefficients of features that are not needed become exactly zero.
"""

# %%
# Raw features
# ------------
# The scale of the features decides what the penalty weighs, not whether the fit converges. To
# penalise all features alike, scale them in the pipeline.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier

data = load_wine(as_frame=True)
X, y = data.data, data.target
pipeline = make_pipeline(StandardScaler(), SoftmaxRegressionClassifier())
for name, clf in (("raw", SoftmaxRegressionClassifier()), ("scaled", pipeline)):
    scores = cross_val_score(clf, X, y, scoring="neg_log_loss")
    print(f"{name:8} log loss {-scores.mean():.3f}")

# %%
# The grid
# --------

grid = {
    "softmaxregressionclassifier__C": np.logspace(-2, 2, 9),
    "softmaxregressionclassifier__l1_ratio": [0.0, 0.5, 1.0],
}
search = GridSearchCV(pipeline, grid, scoring="neg_log_loss").fit(X, y)

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
results = search.cv_results_
for l1_ratio in grid["softmaxregressionclassifier__l1_ratio"]:
    rows = results["param_softmaxregressionclassifier__l1_ratio"] == l1_ratio
    C = results["param_softmaxregressionclassifier__C"][rows].astype(float)
    ax.semilogx(
        C, -results["mean_test_score"][rows], "o-", label=f"l1_ratio={l1_ratio}"
    )
ax.set(xlabel="C", ylabel="log loss (5-fold)", ylim=(0, 0.6))
ax.legend()

# %%
# Which features are left
# -----------------------

sparse = make_pipeline(
    StandardScaler(), SoftmaxRegressionClassifier(C=0.2, l1_ratio=1)
).fit(X, y)
coef = sparse[-1].coef_
print(f"{(coef == 0).mean():.0%} of the coefficients are zero")

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
image = ax.imshow(
    coef, cmap="RdBu_r", vmin=-np.abs(coef).max(), vmax=np.abs(coef).max()
)
ax.set_xticks(range(X.shape[1]), X.columns, rotation=60, ha="right")
ax.set_yticks(range(3), data.target_names)
fig.colorbar(image, shrink=0.6)
plt.show()
