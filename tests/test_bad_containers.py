"""What X cannot be: told by name, before anything is changed; and NaN wherever it is."""

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import zarr

from sklearn_softmax import SoftmaxRegressionClassifier

X = np.random.default_rng(0).standard_normal((60, 4)).round(2)
Y = np.arange(60) % 3
FRAME = pd.DataFrame(X, columns=list("abcd"))
DAYS = pd.date_range("2020", periods=60)

REFUSED = {
    "masked": (np.ma.masked_greater(X, 2.0), r"X is a masked array with masked entries"),
    "datetime64": (X.astype("M8[s]"), r"X must hold numbers; its dtype is datetime64\[s\]"),
    "timedelta64": (X.astype("m8[s]"), r"X must hold numbers; its dtype is timedelta64\[s\]"),
    "records": (np.zeros((60, 2), dtype=[("a", "f8")]), r"X must hold numbers; its dtype"),
    "complex": (X + 0j, r"Complex data not supported"),
    "text": (X.astype("U"), r"not compatible with arrays of bytes/strings"),
    "object of text": (np.full((60, 2), "a", dtype=object), r"could not convert string to float"),
    "a number": (np.float64(1.0), r"Expected 2D array, got scalar array"),
    "one dimension": (X[:, 0], r"Expected 2D array, got 1D array"),
    "three dimensions": (X[None], r"Found array with dim 3"),
    "column of times": (FRAME.assign(b=DAYS), r"the dtype of column 'b' is datetime64"),
    "column of periods": (FRAME.assign(b=DAYS.to_period()), r"column 'b' is period"),
    "column of durations": (FRAME.assign(b=DAYS - DAYS[0]), r"column 'b' is timedelta64"),
    "all times": (pd.DataFrame({"a": DAYS}), r"column 'a' is datetime64"),
    "Arrow times": (
        FRAME.assign(b=DAYS).astype({"b": "timestamp[s][pyarrow]"}),
        r"column 'b' is timestamp\[s\]\[pyarrow\]",
    ),
    "polars dates": (
        pl.DataFrame(X, schema=list("abcd")).with_columns(b=pl.Series(DAYS.date.tolist())),
        r"column 'b' is Date",
    ),
    "polars objects": (
        pl.DataFrame(X, schema=list("abcd")).with_columns(b=pl.Series(DAYS.date, dtype=pl.Object)),
        r"X must hold numbers: .*not 'datetime.date'",
    ),
    "same names": (
        pd.DataFrame(X, columns=["a", "b", "a", "a"]),
        r"X must have another name for each column; 'a' is the name of 3",
    ),
    "missing": (FRAME.astype("Float64").where(FRAME > 0), r"Input X contains NaN"),
    "zarr of complex": (zarr.array(X + 0j), r"X must hold numbers; its dtype is complex128"),
    "zarr of three dimensions": (zarr.array(X[None]), r"its shape is \(1, 60, 4\)"),
}


@pytest.mark.filterwarnings("ignore:X has feature names, but")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_of_numbers(name):
    given, message = REFUSED[name]
    clf = SoftmaxRegressionClassifier(random_state=0)
    for method in (clf.fit, lambda X, y: clf.partial_fit(X, y, classes=[0, 1, 2])):
        with pytest.raises(ValueError, match=message):
            method(given, Y)
        assert not [name for name in vars(clf) if name.endswith("_")]
    fitted = SoftmaxRegressionClassifier().fit(X, Y)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match=f"{message}|feature names|expecting 4 features"):
        fitted.predict(given)
    assert vars(fitted) == before


def tensors():
    import torch

    tensor = torch.tensor(X)
    return {
        "COO": (tensor.to_sparse(), r"layout sparse_coo, which is not supported. Pass X.to_dense"),
        "CSR": (tensor.to_sparse_csr(), r"layout sparse_csr.*or a CSR matrix of SciPy's"),
        "meta": (tensor.to("meta"), r"X is a PyTorch tensor on the device 'meta'"),
        "complex": (tensor.to(torch.complex64), r"X must hold numbers; its dtype is torch.complex"),
        "a number": (torch.tensor(1.0), r"its shape is \(\)"),
        "one dimension": (tensor[:, 0], r"its shape is \(60,\)"),
        "three dimensions": (tensor[None], r"its shape is \(1, 60, 4\)"),
    }


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize(
    "name", ["COO", "CSR", "meta", "complex", "a number", "one dimension", "three dimensions"]
)
@pytest.mark.parametrize("device", [None, "cpu"])
def test_tensors(name, device):
    pytest.importorskip("torch")
    given, message = tensors()[name]
    clf = SoftmaxRegressionClassifier(device=device)
    with pytest.raises(ValueError, match=message if device is None else "."):
        clf.fit(given, Y)
    assert not hasattr(clf, "coef_")
    with pytest.raises(ValueError, match=message if device is None else "."):
        SoftmaxRegressionClassifier(device=device).fit(X, Y).predict(given)


@pytest.mark.parametrize("what", ["y", "sample_weight"])
def test_tensors_beside_x(what):
    torch = pytest.importorskip("torch")
    beside = {"y": torch.tensor(Y), "sample_weight": torch.ones(60)}
    for given, message in (
        (beside[what].to("meta"), f"{what} is a PyTorch tensor on the device 'meta'"),
        (beside[what].to_sparse(), f"{what} is a PyTorch tensor of layout sparse_coo"),
    ):
        with pytest.raises(ValueError, match=message):
            SoftmaxRegressionClassifier().fit(X, **{**beside, what: given})


WEIGHTLESS = np.arange(60) % 4 > 0


def as_tensor(values, _):
    return pytest.importorskip("torch").tensor(values)


def in_hdf5(values, folder):
    return h5py.File(folder / "X.h5", "w").create_dataset("X", data=values)


PLACES = {
    "C": lambda values, _: values,
    "Fortran": lambda values, _: np.asfortranarray(values),
    "float32": lambda values, _: values.astype("f4"),
    "big-endian": lambda values, _: values.astype(">f8"),
    "CSR": lambda values, _: sp.csr_array(values),
    "pandas": lambda values, _: pd.DataFrame(values),
    "HDF5": in_hdf5,
    "PyTorch": as_tensor,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_of_weight_0_must_be_finite_too(place, solver, value, tmp_path):
    """Whether a loss shows them or not: the same everywhere, and as scikit-learn has it."""
    bad = X.copy()
    bad[8, 2] = value
    assert not WEIGHTLESS[8]
    given = PLACES[place](bad, tmp_path)
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0)
    weight = WEIGHTLESS.astype(float)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        clf.fit(given, Y, weight)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        clf.partial_fit(given, Y, [0, 1, 2], weight)
    without_class = SoftmaxRegressionClassifier(solver=solver, class_weight={Y[8]: 0.0})
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        without_class.fit(given, Y)
    assert not hasattr(clf, "coef_")


WRONG_WEIGHTS = {
    "negative": np.where(np.arange(60) == 7, -1.0, 1.0),
    "NaN": np.where(np.arange(60) == 7, np.nan, 1.0),
    "infinite": np.where(np.arange(60) == 7, np.inf, 1.0),
    "all zero": np.zeros(60),
    "too few": np.ones(59),
    "two columns": np.ones((60, 2)),
    "too large in sum": np.full(60, 1e308),
    "text": ["x"] * 60,
    "complex": np.ones(60, dtype=complex),
    "masked": np.ma.masked_equal(np.arange(60.0), 7.0),
    "missing": pd.Series([1, None] * 30, dtype="Int64"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", WRONG_WEIGHTS)
def test_weights_that_are_refused(place, name, tmp_path):
    given = PLACES[place](X, tmp_path)
    clf = SoftmaxRegressionClassifier(class_weight="balanced")
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        clf.fit(given, Y, WRONG_WEIGHTS[name])
    clf.set_params(class_weight=None)
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        clf.partial_fit(given, Y, [0, 1, 2], WRONG_WEIGHTS[name])
    assert not hasattr(clf, "coef_")
    clf.fit(given, Y)
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        clf.score(given, Y, WRONG_WEIGHTS[name])


@pytest.mark.parametrize("place", ["C", "HDF5", "PyTorch"])
def test_strings_of_hdf5_are_labels(place, tmp_path):
    """h5py gives them as bytes, and bytes they stay; asstr() makes strings of them."""
    labels = np.array(["a", "b", "c"])[Y]
    file = h5py.File(tmp_path / "y.h5", "w")
    file.create_dataset("variable", data=labels.tolist())
    file.create_dataset("fixed", data=labels.astype("S1"))
    given = PLACES[place](X, tmp_path)
    expected = SoftmaxRegressionClassifier().fit(X, labels)
    for y, classes in (
        (file["variable"], [b"a", b"b", b"c"]),
        (file["fixed"], [b"a", b"b", b"c"]),
        (file["variable"].asstr()[:], ["a", "b", "c"]),
    ):
        clf = SoftmaxRegressionClassifier().fit(given, y)
        assert clf.classes_.tolist() == classes
        np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-4, atol=1e-6)
        assert clf.score(given, y) == expected.score(X, labels)
        assert type(clf.predict(given)[0]) in (bytes, np.bytes_, str, np.str_)
