"""
Calibration, before and after a temperature
===========================================

A model that was penalised too little is too sure of itself. Dividing its logits
by one number, the temperature, mends most of that. The predicted classes stay
the same.
"""

# %%
# Too little penalty
# ------------------
# ``C=1000`` is too much for 600 images. The temperature is the one with the
# smallest cross-entropy on 400 others.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax.functional import cross_entropy, softmax

X, y = load_digits(return_X_y=True)
X_train, X_rest, y_train, y_rest = train_test_split(
    X, y, train_size=600, stratify=y, random_state=0
)
X_held, X_test, y_held, y_test = train_test_split(
    X_rest, y_rest, train_size=400, stratify=y_rest, random_state=0
)
clf = SoftmaxRegressionClassifier(C=1000).fit(X_train, y_train)
held_logits = clf.decision_function(X_held)
logits = clf.decision_function(X_test)


def held_out_loss(log_temperature):
    """Return the cross-entropy of the held-out images at a temperature."""
    return float(cross_entropy(held_logits / np.exp(log_temperature), y_held))


temperature = float(np.exp(minimize_scalar(held_out_loss, bounds=(-3, 3)).x))
print(f"temperature {temperature:.2f}")

# %%
# A reliability diagram
# ---------------------
# On the diagonal, of the images whose predicted class has a probability of 0.8,
# eight out of ten are classified rightly.

fig, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
ax.plot([0, 1], [0, 1], color="gray", linestyle="--")
for T, name in ((1.0, "before"), (temperature, "after")):
    proba = softmax(logits, temperature=T)
    is_right = proba.argmax(axis=1) == y_test
    share, mean = calibration_curve(
        is_right, proba.max(axis=1), n_bins=6, strategy="quantile"
    )
    loss = log_loss(y_test, proba)
    label = f"{name}: log loss {loss:.2f}, accuracy {is_right.mean():.3f}"
    ax.plot(mean, share, "o-", label=label)
ax.set(
    xlabel="probability of the predicted class",
    ylabel="share that is right",
    xlim=(0.65, 1.01),
    ylim=(0.65, 1.01),
)
ax.legend(loc="upper left")
plt.show()
