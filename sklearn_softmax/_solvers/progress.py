"""When a curve of losses has stopped falling."""

import numpy as np


class Progress:
    """Tells when a curve has stopped falling.

    Parameters
    ----------
    tol : float
        What counts as falling.
    n_iter_no_change : int
        For how many values in a row it may fail to.
    """

    def __init__(self, tol, n_iter_no_change):
        self._tol = tol
        self._patience = n_iter_no_change
        self._n_stalled = 0
        self.best = np.inf

    def has_stalled(self, value):
        """Take note of the next value; return whether patience is at an end."""
        self._n_stalled = 0 if value < self.best - self._tol else self._n_stalled + 1
        self.best = min(self.best, value)
        return self._n_stalled >= self._patience

    def forgive(self):
        """Start waiting anew."""
        self._n_stalled = 0
