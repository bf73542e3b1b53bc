"""
Coefficients by name
====================

A softmax regression has a coefficient for each feature and class. A heat map
shows them by name, and a table gives the odds ratios.
"""

# %%
# A heat map
# ----------
# The features of the wines have different units. ``scale`` shows what a rise of
# one standard deviation does, so that they can be compared.

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax.inspection import CoefficientDisplay

data = load_wine(as_frame=True)
X, y = data.data, data.target_names[data.target]
clf = SoftmaxRegressionClassifier().fit(X, y)

_, ax = plt.subplots(figsize=(6, 5), layout="constrained")
CoefficientDisplay.from_estimator(clf, scale=X.std(), ax=ax)

# %%
# The same features, penalised alike
# ----------------------------------
# Above, the penalty saw the units as they are, and proline, whose numbers are
# large, was hardly penalised. With a ``StandardScaler`` all are penalised alike,
# and with L1 those that are not needed become exactly zero.

sparse = make_pipeline(
    StandardScaler().set_output(transform="pandas"),
    SoftmaxRegressionClassifier(l1_ratio=1, C=0.2),
).fit(X, y)

_, ax = plt.subplots(figsize=(6, 5), layout="constrained")
CoefficientDisplay.from_estimator(sparse, ax=ax)

# %%
# Odds ratios
# -----------
# Against a class of reference: by which factor the odds change when the
# (standardised) feature rises by one.

table = sparse[-1].coef_table(reference="class_0")
print(table[table["coefficient"].abs() > 0.5].round(2))
plt.show()
