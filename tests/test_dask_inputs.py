"""What partitions may hold: what the same rows in memory may; and where a fit may run."""

import pickle
import threading

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from dask.distributed import Client, LocalCluster, get_worker
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._rows.dask import graphs as _graphs

NAMES = list("abcd")


def make_problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4)).round(1)
    y = (X @ [1, -1, 0, 1] + rng.standard_normal(400) > 0.3).astype(int) + (X[:, 0] > 1)
    return X, y


X, Y = make_problem()
FRAME = pd.DataFrame(X, columns=NAMES)
PARTS = da.from_array(X, chunks=(100, -1))


def fitted(X, y=Y, weight=None, **options):
    return SoftmaxRegressionClassifier(tol=1e-7, random_state=0, **options).fit(X, y, weight)


def assert_same_model(clf, expected):
    """Both are at the same optimum, which tol promises the objective of."""
    atol = 1e-3 if expected.coef_.dtype == np.float32 else 1e-6
    assert clf.coef_.dtype == expected.coef_.dtype
    assert_allclose(clf.coef_, expected.coef_, atol=atol)
    assert_allclose(clf.intercept_, expected.intercept_, atol=atol)
    assert_array_equal(clf.classes_, expected.classes_)


# X -----------------------------------------------------------------------------------------

FRAMES = {
    "floats and booleans": FRAME.assign(a=FRAME.a > 0),
    "float32": FRAME.astype("float32"),
    "integers and booleans": FRAME.assign(a=FRAME.a > 0).astype({"b": int, "c": "int8", "d": bool}),
    "nullable": FRAME.astype("Float64"),
    "nullable, mixed": FRAME.assign(a=pd.array(FRAME.a > 0), b=(10 * FRAME.b).round()).astype(
        {"b": "Int64", "c": "Float32"}
    ),
    "Arrow": FRAME.astype("double[pyarrow]"),
    "Arrow, mixed": FRAME.assign(a=FRAME.a > 0).astype({"a": "bool[pyarrow]", "b": "float32"}),
    "objects": FRAME.astype(object),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FRAMES)
def test_columns_of_any_dtype(name):
    frame = FRAMES[name]
    parts = dd.from_pandas(frame, npartitions=4)
    expected, clf = fitted(frame), fitted(parts)
    assert_same_model(clf, expected)
    proba = clf.predict_proba(parts)
    assert proba.dtype == proba.compute().dtype == expected.predict_proba(frame).dtype
    assert_allclose(proba.compute(), expected.predict_proba(frame), atol=1e-3)
    assert_allclose(clf.score(parts, Y), clf.score(frame, Y))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.assign(a=FRAME.a.astype("Float64").where(FRAME.index != 250)), "Partition 2: X con"),
        (FRAME.assign(a=pd.date_range("2020", periods=400)), r"column 'a' is datetime64"),
        (FRAME.assign(a="text"), r"Partition \d: .*could not convert string to float: 'text'"),
    ],
)
def test_columns_that_are_refused(frame, message):
    with pytest.raises(ValueError, match=message):
        fitted(dd.from_pandas(frame, npartitions=4))


def sparse_in(numbers, kind):
    def convert(block, block_info=None):
        return kind(block) if block_info[0]["chunk-location"][0] in numbers else block

    return convert


MIXED = {
    "sparse last": da.concatenate([PARTS[:200], PARTS[200:].map_blocks(sp.csr_matrix)]),
    "sparse first": da.concatenate([PARTS[:200].map_blocks(sp.csc_matrix), PARTS[200:]]),
    "told of as dense": PARTS.map_blocks(
        sparse_in({1, 3}, sp.csr_matrix), dtype=float, meta=np.empty((0, 0))
    ),
    "told of as sparse": PARTS.map_blocks(
        sparse_in({0, 3}, sp.csr_matrix), dtype=float, meta=sp.csr_matrix((0, 0))
    ),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5, "C": 0.1}], ids=["l2", "l1"])
def test_dense_and_sparse_partitions_mixed(name, options):
    expected, clf = fitted(X, **options), fitted(MIXED[name], **options)
    assert_allclose(clf.predict_proba(MIXED[name]).compute(), expected.predict_proba(X), atol=1e-4)
    assert_allclose(clf.score(MIXED[name], Y), clf.score(X, Y))


@pytest.mark.parametrize("name", MIXED)
def test_sgd_on_dense_and_sparse_partitions_mixed(name):
    """The steps are those of the kind that the partitions are made to be."""
    kind = sp.csr_matrix if "sparse" in name.removeprefix("sparse") else np.asarray
    options = {"solver": "sgd", "random_state": 0}
    clf = SoftmaxRegressionClassifier(**options).fit(MIXED[name], Y)
    meta = sp.csr_matrix((0, 0)) if kind is sp.csr_matrix else np.empty((0, 0))
    alike = PARTS.map_blocks(kind, dtype=float, meta=meta)
    assert_allclose(clf.coef_, SoftmaxRegressionClassifier(**options).fit(alike, Y).coef_)


def twice_in_reverse(block):
    """Return CSR rows whose entries are stored in halves, and not in order."""
    rows = sp.coo_matrix(block)
    order = np.lexsort((-rows.col, rows.row)).repeat(2)
    indptr = 2 * np.append(0, np.cumsum(np.bincount(rows.row, minlength=len(block))))
    return sp.csr_matrix((rows.data[order] / 2, rows.col[order], indptr), shape=block.shape)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5}, {"solver": "sgd"}])
def test_sparse_partitions_that_are_not_canonical(options):
    canonical = PARTS.map_blocks(sp.csr_matrix)
    given = PARTS.map_blocks(twice_in_reverse)
    assert not given.blocks[0].compute().has_canonical_format
    expected, clf = fitted(canonical, **options), fitted(given, **options)
    assert_allclose(clf.coef_, expected.coef_, rtol=1e-9, atol=1e-12)
    assert_allclose(clf.predict_proba(given).compute(), clf.predict_proba(X), atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5}, {"solver": "sgd"}])
@pytest.mark.parametrize("make", [twice_in_reverse, sp.csr_matrix, np.asfortranarray])
def test_partitions_are_left_as_they_were(options, make):
    """On threads they are the caller's own objects."""
    owned = [make(X[start : start + 100]) for start in range(0, 400, 100)]
    before = [pickle.dumps(vars(rows) if sp.issparse(rows) else rows) for rows in owned]
    parts = da.concatenate(
        [
            da.from_delayed(dask.delayed(rows, traverse=False), (100, 4), meta=rows[:0])
            for rows in owned
        ]
    )
    names = [set(vars(rows)) if sp.issparse(rows) else () for rows in owned]
    weight = np.arange(400.0) % 3
    clf = SoftmaxRegressionClassifier(random_state=0, **options).fit(parts, Y, weight)
    clf.predict_proba(parts).compute()
    clf.score(parts, Y, weight)
    clf.partial_fit(parts, Y)
    assert [set(vars(rows)) if sp.issparse(rows) else () for rows in owned] == names
    after = [pickle.dumps(vars(rows) if sp.issparse(rows) else rows) for rows in owned]
    assert after == before


def test_collections_beside_x_in_memory():
    y, soft = dd.from_pandas(pd.Series(Y), npartitions=3), pd.DataFrame(np.eye(3)[Y])
    weight = da.from_array(np.arange(400.0), chunks=150)
    expected = fitted(X, Y, np.arange(400.0))
    for targets in (y, da.from_array(Y, chunks=90), dd.from_pandas(soft, npartitions=3)):
        clf = fitted(X, targets, weight)
        assert_same_model(clf, expected)
        assert_allclose(clf.score(X, targets, weight), expected.score(X, Y, np.arange(400.0)))


@pytest.mark.parametrize("dtype", [">f8", ">f4", "g", "f2", ">i2", object, bool])
def test_arrays_of_any_dtype(dtype):
    given = (10 * PARTS).astype(dtype)
    assert_same_model(fitted(given), fitted((10 * X).astype(dtype)))


@pytest.mark.parametrize("dtype", ["M8[ns]", "m8[ns]", "c16", "U8"])
def test_arrays_of_what_is_no_number(dtype):
    with pytest.raises(ValueError, match="X must hold numbers"):
        fitted(da.zeros((400, 4), chunks=(100, -1)).astype(dtype))


def test_masked_entries_are_refused():
    with pytest.raises(ValueError, match=r"Partition \d: X has masked entries"):
        fitted(da.ma.masked_greater(PARTS, 2.0))


# Which partition it was --------------------------------------------------------------------


def with_empty_partitions(values):
    """Return two partitions without rows, and the four of the values."""
    parts = dd.from_pandas(values, npartitions=4)
    empty = parts.get_partition(0).map_partitions(lambda part: part[:0], meta=parts._meta)
    return dd.concat([empty, empty, parts])


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_empty_partitions_count(solver):
    """Of rows 200 to 299, in the fifth partition, errors say that they are in partition 4."""
    clf = SoftmaxRegressionClassifier(solver=solver, random_state=0)
    here = np.arange(400) == 250
    X_parts, y_parts = with_empty_partitions(FRAME), with_empty_partitions(pd.Series(Y))
    bad_X = with_empty_partitions(FRAME.assign(b=np.where(here, np.nan, FRAME.b)))
    bad_y = with_empty_partitions(pd.Series(np.where(here, np.nan, Y)))
    bad_weight = pd.Series(np.where(here, -1.0, 1.0))
    for arguments, message in (
        ((bad_X, Y), "Partition 4: X contains NaN"),
        ((bad_X, y_parts), "Partition 4: X contains NaN"),
        ((X_parts, bad_y), "Partition 4: Input y contains NaN, in entry 50"),
        ((X_parts, Y, bad_weight), "Partition 4: sample_weight"),
        ((X_parts, y_parts, with_empty_partitions(bad_weight)), "Partition 4: sample_weight"),
    ):
        with pytest.raises(ValueError, match=message):
            clf.fit(*arguments)
    assert not hasattr(clf, "coef_")
    clf.fit(X_parts, y_parts)
    with pytest.raises(ValueError, match=r"Partition [2-5]: y has labels of another kind"):
        clf.score(X_parts, with_empty_partitions(pd.Series(np.full(400, "a"))))


# y and weights -----------------------------------------------------------------------------

LABELS = {
    "bytes": np.array([b"x", b"y", b"z"])[Y],
    "objects of bytes": np.array([b"x", b"y", b"z"], dtype=object)[Y],
    "strings": np.array(["x", "y", "z"])[Y],
    "nullable": pd.Series(Y, dtype="Int64"),
    "categories": pd.Series(pd.Categorical(np.array(["x", "y", "z"])[Y])),
    "polars": pl.Series(Y),
    "dates": np.datetime64("2020-01-01") + Y,
    "list": Y.tolist(),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("in_parts", [False, True])
def test_labels(name, in_parts):
    given = LABELS[name]
    expected = fitted(X, given)
    beside = given
    if in_parts:
        is_series = isinstance(given, pd.Series)
        beside = (
            dd.from_pandas(given, npartitions=4)
            if is_series
            else da.from_array(np.asarray(given), chunks=100)
        )
    parts = dd.from_pandas(FRAME, npartitions=4) if isinstance(beside, dd.Series) else PARTS
    clf = fitted(parts, beside)
    assert clf.classes_.dtype == expected.classes_.dtype
    assert_array_equal(clf.classes_, expected.classes_)
    assert_array_equal(clf.predict(parts).compute(), expected.predict(X))
    assert_allclose(clf.score(parts, beside), expected.score(X, given))


SOFT = np.eye(3)[Y] * 0.5 + [[0.5, 0.0, 0.0]]


@pytest.mark.parametrize(
    "given",
    [
        SOFT,
        SOFT.astype(np.float16),
        pd.DataFrame(SOFT[:, ::-1], columns=["z", "y", "x"]),
        pl.DataFrame(SOFT[:, ::-1], schema=["z", "y", "x"]),
    ],
    ids=["array", "float16", "pandas", "polars"],
)
def test_distributions_in_memory(given):
    expected, clf = fitted(X, given), fitted(PARTS, given)
    assert_same_model(clf, expected)
    assert_allclose(clf.score(PARTS, given), expected.score(X, given))


def test_targets_and_weights_on_a_device():
    torch = pytest.importorskip("torch")
    soft, weight = torch.tensor(SOFT).bfloat16(), torch.arange(400.0, requires_grad=True)
    expected = fitted(X, SOFT, np.arange(400))
    clf = fitted(PARTS, soft, weight)
    assert_allclose(clf.coef_, expected.coef_, atol=0.02)  # (targets have three digits)
    assert_allclose(clf.score(PARTS, soft, weight), clf.score(X, soft, weight))
    assert_same_model(fitted(PARTS, torch.tensor(Y), weight), fitted(X, Y, np.arange(400)))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (["a", 1] * 200, r"y must hold labels of one kind.*a string in entry 0 \('a'\), a number"),
        (pd.Series([1, 2, None, 2] * 100, dtype="Int64"), "contains NaN, in entry 2"),
        (pd.DataFrame(SOFT, columns=["a", 1, "b"]), r"y.columns must hold labels of one kind"),
        (np.zeros((400, 2, 2)), "1d array, got an array of shape"),
        (da.from_array(np.array(["a", "b", None, "c"] * 100, dtype=object), chunks=100), "is None"),
        (
            da.from_array(np.repeat(np.array(["a", 1], dtype=object), 200), chunks=100),
            "y has labels of another kind than classes: 'a'|y has labels of another kind",
        ),
    ],
)
def test_y_that_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        fitted(PARTS, y)


WEIGHTS = {
    "all zero": np.zeros(400),
    "negative": np.where(np.arange(400) == 250, -1.0, 1.0),
    "NaN": np.where(np.arange(400) == 250, np.nan, 1.0),
    "infinite": np.where(np.arange(400) == 250, np.inf, 1.0),
    "NA": pd.Series([1, None] * 200, dtype="Int64"),
    "too large in sum": np.full(400, 1e308),
    "text": ["x"] * 400,
    "two columns": np.ones((400, 2)),
    "too few": np.ones(3),
    "masked": np.ma.masked_equal(np.arange(400.0), 7.0),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("place", ["memory", "Dask", "all Dask", "PyTorch"])
def test_weights_that_are_refused(name, place):
    given, weight = X, WEIGHTS[name]
    if place in ("Dask", "all Dask"):
        given = PARTS
    if place == "all Dask":
        if name in ("text", "NA", "masked"):
            weight = np.asarray(weight, dtype=object) if name != "masked" else weight
            weight = da.from_array(weight, chunks=100, asarray=False)
        else:
            weight = da.from_array(weight, chunks=100)
    if place == "PyTorch":
        given = pytest.importorskip("torch").tensor(X)
    clf = SoftmaxRegressionClassifier()
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        clf.fit(given, Y, weight)
    assert not hasattr(clf, "coef_")


def test_one_weight_for_all_rows():
    assert_same_model(fitted(PARTS, Y, 2.0), fitted(X, Y, np.full(400, 2.0)))


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize(
    "options", [{"weight": np.arange(400) != 250}, {"class_weight": {Y[250]: 0.0}}]
)
def test_nan_in_rows_of_weight_0_is_refused_here_too(solver, options):
    bad = X.copy()
    bad[250, 2] = np.nan
    with pytest.raises(ValueError, match="Partition 2: X contains NaN"):
        fitted(da.from_array(bad, chunks=(100, -1)), solver=solver, **options)


# On a cluster ------------------------------------------------------------------------------


@pytest.fixture
def threads():
    """Workers in this process, with as many threads as there are fits to run at once."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
    # (A client that another thread has closed is still named as the scheduler.)
    dask.config.set(scheduler=None)


def fit_in_a_task(barrier_number):
    """Fit where every thread of the worker is in such a fit."""
    parts = da.from_array(X, chunks=(100, -1))
    ALL_ARE_THERE.wait(timeout=30)
    clf = SoftmaxRegressionClassifier(tol=1e-7).fit(parts, Y)
    clf.partial_fit(parts, Y)
    score = clf.score(parts, Y)
    get_worker()  # (still a task)
    return clf.fit(parts, Y).coef_, score


ALL_ARE_THERE = threading.Barrier(2)


def test_fits_in_tasks_on_all_threads_do_not_hang(threads):
    futures = threads.map(fit_in_a_task, range(2), pure=False)
    expected = fitted(X)
    for coef, score in threads.gather([future for future in futures if wait_for(future)]):
        assert_allclose(coef, expected.coef_, atol=1e-6)
        assert 0.5 < score <= 1.0


def wait_for(future):
    future.result(timeout=60)
    return True


def slow_rows(block):
    threading.Event().wait(0.02)
    return block


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("when", [3, 5])
def test_a_client_closed_in_mid_fit_is_told(threads, monkeypatch, persisted, when):
    parts = da.from_array(X, chunks=(100, -1)).map_blocks(slow_rows)
    parts = parts.persist() if persisted else parts
    clf = SoftmaxRegressionClassifier().fit(X, Y)
    before = clf.coef_
    run, calls = _graphs.run, []

    def closing(graph, keys):
        calls.append(keys)
        if len(calls) == when:
            threads.close()
        return run(graph, keys)

    monkeypatch.setattr(_graphs, "run", closing)
    with pytest.raises(RuntimeError, match=r"Dask client .*closed"):
        clf.fit(parts, Y)
    assert clf.coef_ is before


def test_a_client_closed_while_a_sum_is_computed_is_told(threads, monkeypatch):
    parts = da.from_array(X, chunks=(100, -1)).map_blocks(slow_rows)
    clf = SoftmaxRegressionClassifier()
    wait, calls = _graphs._wait, []

    def closing(client, futures):
        calls.append(futures)
        if len(calls) == 4:
            closer.start()
        wait(client, futures)

    closer = threading.Thread(target=threads.close)
    monkeypatch.setattr(_graphs, "_wait", closing)
    with pytest.raises(RuntimeError, match=r"Dask client .*closed"):
        clf.fit(parts, Y)
    closer.join()
    assert not hasattr(clf, "coef_")
    with dask.config.set(scheduler="threads"):
        clf.fit(parts, Y)
