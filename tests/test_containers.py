"""Every container of X, y and weights: the same optimum, and not a byte of the caller's changed."""

import pickle

import array_api_strict
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.special import logsumexp

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._arrays.sparse import canonical_rows
from sklearn_softmax._objective import linear as _linear
from sklearn_softmax._objective import small_table as _small_table
from sklearn_softmax._rows import blocks as _blocks

SOLVERS = {
    "lbfgs": {},
    "l1": {"l1_ratio": 0.5},
    "sgd": {"solver": "sgd", "max_iter": 5},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.25},
}
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
NAMES = [f"x{i}" for i in range(5)]


def make_problem():
    """Return small whole numbers, which all dtypes hold, half of them 0; and labels."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 8, (90, 5)) * rng.integers(0, 2, (90, 5))
    y = (X @ [1, -1, 1, 0, 1] + rng.integers(0, 6, 90)) // 5 % 3
    return X.astype(float), y


X, Y = make_problem()


def read_only(values):
    values.flags.writeable = False
    return values


def unaligned(values):
    packed = np.zeros(values.shape, dtype=[("pad", "u1"), ("value", values.dtype)])
    packed["value"] = values
    return packed["value"]


def memory_mapped(values, folder):
    np.save(folder / "X.npy", values)
    return np.load(folder / "X.npy", mmap_mode="r")


def in_hdf5(values, folder):
    file = h5py.File(folder / "X.h5", "w")
    return file.create_dataset("X", data=values, chunks=(40, 5))


DENSE = {
    "C": lambda _: X.copy(),
    "Fortran": lambda _: np.asfortranarray(X),
    "strided": lambda _: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "reversed": lambda _: X[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda _: read_only(X.copy()),
    "unaligned": lambda _: unaligned(X),
    "memory-mapped": lambda folder: memory_mapped(X, folder),
    "memory-mapped big-endian": lambda folder: memory_mapped(X.astype(">f4"), folder),
    **{
        f"dtype {code}": (lambda _, code=code: X.astype(code))
        for code in ("f4", "f2", ">f8", ">f4", ">f2", ">i4", "g", "u1", "i2", "i8", ">u8", "O", "?")
    },
    "masked, nothing missing": lambda _: np.ma.masked_array(X.copy()),
    "lists": lambda _: X.tolist(),
    "pandas": lambda _: pd.DataFrame(X, columns=NAMES),
    "pandas nullable": lambda _: pd.DataFrame(X, columns=NAMES).astype("Float64"),
    "pandas nullable integers": lambda _: pd.DataFrame(X.astype(int), columns=NAMES, dtype="Int32"),
    "pandas Arrow": lambda _: pd.DataFrame(X, columns=NAMES).astype("double[pyarrow]"),
    "pandas objects": lambda _: pd.DataFrame(X, columns=NAMES).astype(object),
    "pandas mixed": lambda _: (
        pd.DataFrame(X, columns=NAMES)
        .assign(x2=pd.array(X[:, 2] != 0))
        .astype({"x0": bool, "x1": "int16", "x3": "float32", "x4": "int64[pyarrow]"})
    ),
    "pandas sparse": lambda _: pd.DataFrame(X, columns=NAMES).astype(pd.SparseDtype(float, 0.0)),
    "polars": lambda _: pl.DataFrame(X, schema=NAMES),
    "polars mixed": lambda _: pl.DataFrame(X, schema=NAMES).with_columns(pl.col("x0") > 2),
    "array-api-strict": lambda _: array_api_strict.asarray(X),
    "HDF5": lambda folder: in_hdf5(X, folder),
    "HDF5 big-endian": lambda folder: in_hdf5(X.astype(">f8"), folder),
    "zarr": lambda folder: zarr.array(X, chunks=(40, 5)),
}


# What X is in containers that do not hold it as it is.
VALUES = {
    "dtype ?": (X != 0).astype(float),
    "torch bool": (X != 0).astype(float),
    "pandas mixed": np.where([True, False, True, False, False], X != 0, X),
    "polars mixed": np.where([True, False, False, False, False], X > 2, X),
}


def torch_tensor(dtype, requires_grad=False):
    torch = pytest.importorskip("torch")
    return torch.tensor(X, dtype=getattr(torch, dtype)).requires_grad_(requires_grad)


for _dtype in ("float64", "float32", "float16", "bfloat16", "uint8", "uint16", "int64", "bool"):
    DENSE[f"torch {_dtype}"] = lambda _, dtype=_dtype: torch_tensor(dtype)
DENSE["torch that requires a gradient"] = lambda _: torch_tensor("float32", requires_grad=True)


def parts(kind=sp.csr_array, indices="i4", dtype=float):
    """Return a CSR matrix of X with arrays of its own, and without flags."""
    canonical = sp.csr_array(X)
    given = kind((canonical.data.astype(dtype), canonical.indices.copy(), canonical.indptr.copy()))
    given.resize(X.shape)
    given.indices, given.indptr = given.indices.astype(indices), given.indptr.astype(indices)
    return without_flags(given)


def without_flags(given):
    for name in ("_has_canonical_format", "_has_sorted_indices"):
        vars(given).pop(name, None)
    return given


def unsorted(given):
    for start, stop in zip(given.indptr[:-1], given.indptr[1:], strict=True):
        given.indices[start:stop] = given.indices[start:stop][::-1].copy()
        given.data[start:stop] = given.data[start:stop][::-1].copy()
    return without_flags(given)


def duplicated(given):
    """Store every entry twice: once whole, and once as nothing or as part of it."""
    index = np.repeat(np.arange(given.nnz), 2)
    given.data = given.data[index]
    given.data[::2] -= 1
    given.data[1::2] = 1
    given.indices, given.indptr = given.indices[index], given.indptr * 2
    return without_flags(given)


def with_zeros():
    """Store zeros too: all entries that there are."""
    rows, columns = X.shape
    full = sp.csr_array(
        (X.ravel(), np.tile(np.arange(columns), rows), np.arange(rows + 1) * columns)
    )
    return without_flags(full)


def read_only_parts(given):
    for array in (given.data, given.indices, given.indptr):
        array.flags.writeable = False
    return given


def wrongly_flagged(given):
    """Say of rows that they are canonical when they are not."""
    given.has_canonical_format = given.has_sorted_indices = True
    return given


def with_slack(given):
    given.data = np.append(given.data, np.full(99, np.nan))
    given.indices = np.append(given.indices, np.full(99, -1, dtype=given.indices.dtype))
    return given


def with_values(given, dtype):
    """Set the values as no constructor would: SciPy itself refuses such a dtype."""
    given.data = given.data.astype(dtype)
    return given


SPARSE = {
    "csr_array": parts,
    "csr_matrix": lambda: parts(sp.csr_matrix),
    "int64 indices": lambda: parts(indices="i8"),
    "big-endian indices": lambda: parts(indices=">i4"),
    "unsigned indices": lambda: parts(indices="u2"),
    "unsorted": lambda: unsorted(parts()),
    "duplicated": lambda: duplicated(parts()),
    "duplicated csr_matrix": lambda: duplicated(parts(sp.csr_matrix)),
    "duplicated and unsorted": lambda: unsorted(duplicated(parts())),
    "duplicated integers": lambda: duplicated(parts(dtype="i4")),
    "duplicated float32": lambda: duplicated(parts(dtype="f4")),
    "read-only": lambda: read_only_parts(parts()),
    "read-only, unsorted, int64": lambda: read_only_parts(unsorted(parts(indices="i8"))),
    "read-only, duplicated": lambda: read_only_parts(duplicated(parts())),
    "said to be canonical": lambda: wrongly_flagged(unsorted(duplicated(parts()))),
    "zeros stored": lambda: with_zeros(),
    "slack at the end": lambda: with_slack(parts()),
    "longdouble": lambda: parts(dtype="g"),
    "big-endian": lambda: with_values(parts(), ">f8"),
    "big-endian, unsorted": lambda: with_values(unsorted(parts()), ">f4"),
    "float16": lambda: with_values(parts(), "f2"),
    "objects": lambda: with_values(parts(), object),
    "uint8": lambda: parts(dtype="u1"),
    "csc_array": lambda: sp.csc_array(X),
    "csc_matrix, duplicated": lambda: duplicated_columns(sp.csc_matrix),
    "csc_array, big-endian": lambda: with_values(sp.csc_array(X), ">f8"),
    "coo_array": lambda: sp.coo_array(X),
    "coo_matrix": lambda: sp.coo_matrix(X),
    "coo_array, duplicated": lambda: twice(sp.coo_array(X)),
    "bsr_array": lambda: sp.bsr_array(X, blocksize=(3, 5)),
    "dia_array": lambda: sp.dia_array(X),
    "lil_array": lambda: sp.lil_array(X),
    "dok_array": lambda: sp.dok_array(X),
}


def duplicated_columns(kind):
    columns = duplicated(sp.csr_array(X.T))
    return kind((columns.data, columns.indices, columns.indptr), shape=X.shape)


def twice(coo):
    half = coo.data / 2
    return sp.coo_array(
        (np.append(half, half), (np.append(*[coo.row] * 2), np.append(*[coo.col] * 2))),
        shape=coo.shape,
    )


def state_of(given):
    """Return all that there is to be seen of an object, to be compared."""
    if sp.issparse(given) and given.format not in ("lil", "dok"):
        return {name: state_of(value) for name, value in vars(given).items()}
    if isinstance(given, np.ndarray) and given.dtype == object:
        return given.shape, given.strides, pickle.dumps(given.tolist())
    if isinstance(given, np.ndarray):
        return given.dtype.str, given.shape, given.strides, given.flags.writeable, given.tobytes()
    if isinstance(given, h5py.Dataset | zarr.Array):
        return str(given.dtype), np.asarray(given[:]).tobytes()
    if type(given).__module__.startswith("torch"):
        return str(given.dtype), given._version, given.requires_grad, given.tolist()
    if hasattr(given, "__array_namespace__") and not isinstance(given, np.ndarray):
        return str(given.dtype), np.asarray(given).tobytes()
    if sp.issparse(given):
        return given.dtype, state_of(given.toarray())
    if isinstance(given, pd.DataFrame):  # (pandas keeps what it is asked of a dtype in the dtype)
        columns = [(name, str(dtype)) for name, dtype in given.dtypes.items()]
        return columns, given.index.tolist(), pickle.dumps(given.to_numpy(object).tolist())
    return pickle.dumps(given)


def objective(clf, values):
    """Return the penalised cross-entropy of a model, in float64."""
    coef, intercept = clf.coef_.astype(float), clf.intercept_.astype(float)
    logits = values @ coef.T + intercept
    loss = logsumexp(logits, axis=1) - logits[np.arange(len(Y)), Y]
    l1 = clf.l1_ratio
    return loss.sum() + (1 - l1) / 2 * np.sum(coef**2) + l1 * np.abs(coef).sum()


def use(given, options):
    """Return a model, its probabilities, and one fitted in parts; nothing may change X."""
    before = state_of(given)
    clf = SoftmaxRegressionClassifier(random_state=0, **options).fit(given, Y)
    assert state_of(given) == before, "fit"
    proba = clf.predict_proba(given)
    for method in ("predict", "predict_log_proba", "decision_function"):
        assert getattr(clf, method)(given).shape[0] == len(Y)
        assert state_of(given) == before, method
    clf.score(given, Y)
    assert state_of(given) == before, "score"
    stream = SoftmaxRegressionClassifier(random_state=0).partial_fit(given, Y, classes=[0, 1, 2])
    stream.partial_fit(given, Y)
    assert state_of(given) == before, "partial_fit"
    return clf, np.asarray(proba), stream


@quiet
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", DENSE)
def test_dense(name, solver, tmp_path):
    given, values = DENSE[name](tmp_path), VALUES.get(name, X)
    clf, proba, _ = use(given, SOLVERS[solver])
    if solver in ("lbfgs", "l1"):
        best = objective(
            SoftmaxRegressionClassifier(tol=1e-7, **SOLVERS[solver]).fit(values, Y), values
        )
        assert objective(clf, values) <= best * (1 + (1e-5 if solver == "lbfgs" else 1e-3))
    logits = values @ clf.coef_.T.astype(float) + clf.intercept_
    expected = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(proba, expected, atol=1e-5)


@quiet
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", SPARSE)
def test_sparse(name, solver):
    """The same bits as of the canonical matrix: the rows that are computed with are the same."""
    given = SPARSE[name]()
    is_float32 = given.dtype.kind == "f" and given.dtype.itemsize <= 4
    dtype = np.float32 if is_float32 else np.float64
    expected, expected_proba, expected_stream = use(sp.csr_array(X, dtype=dtype), SOLVERS[solver])
    clf, proba, stream = use(given, SOLVERS[solver])
    assert clf.coef_.dtype == dtype
    assert_array_equal(clf.coef_, expected.coef_)
    assert_array_equal(proba, expected_proba)
    assert_array_equal(stream.coef_, expected_stream.coef_)


@st.composite
def csr_matrices(draw):
    """Draw CSR rows with entries in any order, several for a place, and zeros among them."""
    n_rows, n_columns = 40, draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    lengths = rng.integers(0, draw(st.integers(1, 9)), n_rows)
    dtype = draw(st.sampled_from(["f8", "f4", ">f8", "i4", "u1", "g"]))
    kind = draw(st.sampled_from([sp.csr_array, sp.csr_matrix]))
    index = draw(st.sampled_from(["i4", "i8"]))
    rows = kind((n_rows, n_columns))
    rows.data = rng.integers(0, 4, lengths.sum()).astype(dtype)
    rows.indices = rng.integers(0, n_columns, lengths.sum()).astype(index)
    rows.indptr = np.append(0, np.cumsum(lengths)).astype(index)
    return read_only_parts(rows) if draw(st.booleans()) else rows


def added_up(given):
    """Return the canonical matrix of CSR rows, made without SciPy: of each place the sum."""
    n_rows, n_columns = given.shape
    rows = np.repeat(np.arange(n_rows), np.diff(given.indptr))
    places, owner = np.unique(rows * n_columns + given.indices, return_inverse=True)
    sums = np.bincount(owner, weights=given.data.astype(float), minlength=len(places))
    indptr = np.searchsorted(places, np.arange(n_rows + 1) * n_columns)
    dtype = np.float32 if given.dtype == np.float32 else np.float64
    return sp.csr_array((sums.astype(dtype), places % n_columns, indptr), shape=given.shape)


@quiet
@settings(max_examples=40)
@given_by(csr_matrices())
def test_any_csr_is_its_canonical_matrix(given):
    """The rows that are computed with are the same, to the bit, with every solver."""
    before, canonical, labels = state_of(given), added_up(given), np.arange(given.shape[0]) % 3
    for options in SOLVERS.values():
        clf, expected = (
            SoftmaxRegressionClassifier(random_state=0, **options).fit(rows, labels)
            for rows in (given, canonical)
        )
        assert_array_equal(clf.coef_, expected.coef_)
        assert_array_equal(clf.predict_proba(given), expected.predict_proba(canonical))
    assert state_of(given) == before


def test_canonical_rows_share_the_arrays():
    """Only the object is another: nothing as large as X is copied."""
    given = parts()
    rows = canonical_rows(given)
    assert rows is not given
    for name in ("data", "indices", "indptr"):
        assert np.shares_memory(getattr(rows, name), getattr(given, name))


def spoiled(**parts_of_it):
    given = parts()
    for name, (position, value) in parts_of_it.items():
        getattr(given, name)[position] = value
    return given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (spoiled(indices=(3, 5)), r"indices must be from 0 to 4, but they are from 0 to 5"),
        (spoiled(indices=(3, -1)), r"indices must be from 0 to 4, but they are from -1 to 4"),
        (spoiled(indptr=(9, 10_000)), r"never fall"),
        (spoiled(indptr=(0, 1)), r"start at 0"),
        (spoiled(indptr=(-1, 10_000)), r"end at no more than"),
        (with_values(parts(), "c16"), r"Complex data not supported"),
        (with_values(parts(), "U8"), r"X must hold numbers; its dtype is <U8"),
        (sp.csr_array(X[:, 0]), r"X must have two dimensions; its shape is \(90,\)"),
        (sp.coo_array(X[None]), r"X must have two dimensions; its shape is \(1, 90, 5\)"),
        (sp.csr_array((90, 0)), r"Found array with 0 feature"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
def test_sparse_matrices_that_are_none(given, message, method):
    """What would have compiled code read beyond the end of arrays is an error."""
    clf = SoftmaxRegressionClassifier().fit(X, Y)
    before = clf.coef_

    def call():
        return clf.predict(given) if method == "predict" else getattr(clf, method)(given, Y)

    with pytest.raises(ValueError, match=message):
        call()
    assert clf.coef_ is before


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["CSR", "CSR, duplicated", "CSC", "big-endian", "longdouble"])
def test_entries_that_are_not_finite(solver, value, kind):
    values = np.where(X.max() == X, value, X)
    given = {
        "CSR": sp.csr_array,
        "CSR, duplicated": lambda values: duplicated(sp.csr_array(values)),
        "CSC": sp.csc_array,
        "big-endian": lambda values: values.astype(">f8"),
        "longdouble": lambda values: values.astype("g"),
    }[kind](values)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        SoftmaxRegressionClassifier(solver=solver).fit(given, Y)


@quiet
@pytest.mark.parametrize("solver", SOLVERS)
def test_nothing_stored(solver):
    """Only the intercept is left to fit: the shares of the classes."""
    given = sp.csr_array(X.shape)
    options = {"tol": 1e-7, **SOLVERS[solver]}
    clf = SoftmaxRegressionClassifier(random_state=0, **options).fit(given, Y)
    assert not clf.coef_.any()
    if solver in ("lbfgs", "l1"):
        shares = np.bincount(Y) / len(Y)
        np.testing.assert_allclose(clf.predict_proba(given), np.tile(shares, (90, 1)), atol=1e-5)


# y and weights ---------------------------------------------------------------------------------

PROBA = np.eye(3)[Y] * 0.5 + np.full((90, 3), 1 / 6)
TARGETS = {
    "labels": lambda: Y.copy(),
    "read-only labels": lambda: read_only(Y.copy()),
    "big-endian labels": lambda: Y.astype(">i8"),
    "column of labels": lambda: Y[:, None].copy(),
    "strings": lambda: np.array(["a", "b", "c"])[Y],
    "bytes": lambda: np.array([b"a", b"b", b"c"])[Y],
    "objects": lambda: Y.astype(object),
    "nullable": lambda: pd.DataFrame({"y": pd.array(Y, dtype="Int64")}),
    "distributions": lambda: PROBA.copy(),
    "Fortran distributions": lambda: np.asfortranarray(PROBA),
    "read-only distributions": lambda: read_only(PROBA.copy()),
    "float16 distributions": lambda: PROBA.astype("f2"),
    "big-endian distributions": lambda: PROBA.astype(">f8"),
    "frame of distributions": lambda: pd.DataFrame(PROBA[:, ::-1], columns=[2, 1, 0]),
}
WEIGHTS = {
    "float64": lambda: np.arange(90.0) % 4,
    "read-only": lambda: read_only(np.arange(90.0) % 4),
    "strided": lambda: np.repeat(np.arange(90.0) % 4, 2)[::2],
    "integers": lambda: np.arange(90) % 4,
    "big-endian float32": lambda: (np.arange(90) % 4).astype(">f4"),
    "longdouble": lambda: (np.arange(90) % 4).astype("g"),
    "booleans": lambda: np.arange(90) % 4 > 1,
    "nullable": lambda: pd.DataFrame({"weight": pd.array(np.arange(90) % 4, dtype="Int64")}),
}


@quiet
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(
    ("target", "weights"),
    [(name, "float64") for name in TARGETS] + [("read-only labels", name) for name in WEIGHTS],
)
def test_y_and_weights_are_left_as_they_were(target, weights, solver, class_weight):
    y, weight = TARGETS[target](), WEIGHTS[weights]()
    before = state_of(y), state_of(weight)
    passed = weight["weight"] if isinstance(weight, pd.DataFrame) else weight
    options = {"random_state": 0, "class_weight": class_weight, **SOLVERS[solver]}
    clf = SoftmaxRegressionClassifier(**options).fit(X, y, passed)
    clf.score(X, y, passed)
    stream = SoftmaxRegressionClassifier().partial_fit(X, y, clf.classes_, passed)
    stream.partial_fit(X, y, sample_weight=passed)
    assert (state_of(y), state_of(weight)) == before


# Compiled loops --------------------------------------------------------------------------------

# What reaches them as it is, and what must not.
COMPILED = ["dtype >f8", "dtype >i4", "dtype g", "unaligned"]
COMPILED_SPARSE = ["big-endian", "longdouble", "int64 indices"]


@quiet
@pytest.mark.parametrize("solver", [{}, {"solver": "sgd", "max_iter": 5}], ids=["lbfgs", "sgd"])
@pytest.mark.parametrize("name", COMPILED + [f"sparse: {name}" for name in COMPILED_SPARSE])
def test_compiled_loops_are_given_what_they_can_take(name, solver, monkeypatch, tmp_path):
    pytest.importorskip("numba")
    monkeypatch.setattr(_linear, "_COMPILED_WORK", 0)
    monkeypatch.setattr(_blocks, "_COMPILED_SPARSE_WORK", 0)
    monkeypatch.setattr(_small_table, "_TABLE_BYTES", 0)
    sparse = name.removeprefix("sparse: ")
    given = DENSE[name](tmp_path) if sparse == name else SPARSE[sparse]()
    dtype = np.float32 if given.dtype.kind == "f" and given.dtype.itemsize <= 4 else np.float64
    plain = X.astype(dtype) if sparse == name else sp.csr_array(X, dtype=dtype)
    clf, expected = (
        SoftmaxRegressionClassifier(random_state=0, **solver).fit(rows, Y)
        for rows in (given, plain)
    )
    if solver:  # (the same batches)
        np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-6, atol=1e-8)
    else:
        assert objective(clf, X) <= objective(expected, X) * (1 + 1e-5)
    np.testing.assert_allclose(
        clf.predict_proba(given), clf.predict_proba(plain), rtol=0, atol=1e-6
    )
