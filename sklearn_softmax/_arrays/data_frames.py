"""Data frames, as the numbers that they hold."""

from collections import Counter

from sklearn.utils import check_array

# The beginnings of the names that pandas, polars and Arrow give to dtypes of times.
_TIMES = ("date", "time", "duration", "period", "interval")


def check_columns(X):
    """Raise an error if X is a data frame with a column of times, or two columns of one name."""
    if not hasattr(X, "columns") or not hasattr(X, "dtypes"):
        return
    for column, dtype in zip(X.columns, X.dtypes, strict=True):
        if str(dtype).lower().startswith(_TIMES):
            raise ValueError(f"X must hold numbers; the dtype of column {column!r} is {dtype}.")
    for column, count in Counter(X.columns).items():
        if count > 1:
            raise ValueError(
                f"X must have another name for each column; {column!r} is the name of {count}."
            )


def rows_of_frame(frame):
    """Return the numbers in a part of a data frame, as scikit-learn takes them from a whole one."""
    if type(frame).__module__.split(".")[0] == "pandas":
        return check_array(
            frame, accept_sparse="csr", ensure_all_finite=False, ensure_min_samples=0
        )
    return frame.to_numpy()
