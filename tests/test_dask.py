"""Dask collections: the model of the same rows in memory, on threads and on a cluster."""

import os
import signal
import time

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from dask.distributed import Client, LocalCluster
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._arrays import native as _native
from sklearn_softmax._rows.dask import graphs as _graphs

from .optimum import (
    assert_near_optimum,
    assert_same_optimum,
    assert_same_validation,
    converged,
)

MODELS = {
    "lbfgs": converged(),
    "no intercept": converged(fit_intercept=False, label_smoothing=0.1),
    "balanced": converged(class_weight="balanced"),
}
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(2000, 12, n_informative=8, n_classes=3, random_state=0)
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    return X * np.logspace(-2, 2, 12) + 3.0, np.array(["a", "b", "c"])[y], weight


def two_workers():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


cluster = pytest.fixture(scope="module", name="cluster")(two_workers)
# One whose workers may die.
fragile_cluster = pytest.fixture(name="fragile_cluster")(two_workers)


def with_unknown_sizes(X):
    return dd.from_dask_array(X).to_dask_array()


# In threads --------------------------------------------------------------------------------


def in_chunks(table, chunks):
    columns = 5 if chunks == 700 else -1  # a row may lie in several chunks
    X, y, weight = table
    return (
        da.from_array(X, chunks=(chunks, columns)),
        da.from_array(y, chunks=(chunks,)),
        da.from_array(weight, chunks=(chunks,)),
    )


every_cut = pytest.mark.parametrize("chunks", [2000, 700, (1, 999, 1000), 64])


@every_cut
@pytest.mark.parametrize("name", MODELS)
def test_same_model_as_in_memory(table, name, chunks):
    expected = clone(MODELS[name]).fit(*table)
    clf = clone(MODELS[name]).fit(*in_chunks(table, chunks))
    assert_same_optimum(clf, expected)
    assert clf.n_features_in_ == 12


@every_cut
def test_l1(table, chunks):
    X, y, weight = table
    table = (X - X.mean(axis=0)) / X.std(axis=0), y, weight
    clf = converged(l1_ratio=0.5, C=0.01)
    expected = clone(clf).fit(*table)
    assert_same_optimum(clf.fit(*in_chunks(table, chunks)), expected)
    assert_array_equal(clf.coef_ == 0, expected.coef_ == 0)


@every_cut
def test_same_rows_set_aside_as_in_memory(table, chunks):
    clf = SoftmaxRegressionClassifier(early_stopping=True, random_state=0)
    expected = clone(clf).fit(*table)
    assert_same_validation(clf.fit(*in_chunks(table, chunks)), expected)


def test_large_problems_sample_the_same_rows():
    """Of so many features the curvature is taken from a sample."""
    rng = np.random.default_rng(0)
    y = np.arange(3000) % 10
    X = rng.standard_normal((3000, 90)) @ rng.standard_normal((90, 90))
    X += rng.standard_normal((10, 90))[y]
    expected = converged().fit(X, y)
    clf = converged().fit(da.from_array(X, chunks=(800, -1)), y)
    assert_same_optimum(clf, expected)


def test_unknown_chunk_sizes(table):
    X, y, weight = table
    y = np.searchsorted(["a", "b", "c"], y)
    expected = converged().fit(X, y, weight)
    collections = [da.from_array(array, chunks=600) for array in (X, y, weight)]
    X_unknown, y_unknown, weight_unknown = map(with_unknown_sizes, collections)
    clf = converged().fit(X_unknown, y_unknown, weight_unknown)
    assert_same_optimum(clf, expected)
    assert_same_optimum(converged().fit(X_unknown, y, weight), expected)
    proba = clf.predict_proba(X_unknown)
    assert proba.shape[1] == 3
    assert_allclose(proba.compute(), expected.predict_proba(X), atol=1e-7)


def test_data_frames(table):
    X, y, weight = table
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(12)])
    expected = converged().fit(frame, y, weight)
    X_parts = dd.from_pandas(frame, npartitions=3)
    y_parts = dd.from_pandas(pd.Series(y), npartitions=3)
    weight_parts = dd.from_pandas(pd.Series(weight), npartitions=3)
    clf = converged().fit(X_parts, y_parts, weight_parts)
    assert_same_optimum(clf, expected)
    assert_array_equal(clf.feature_names_in_, frame.columns)
    assert_array_equal(clf.predict(X_parts).compute(), expected.predict(frame))
    assert_allclose(clf.predict_proba(X_parts).compute(), expected.predict_proba(frame), atol=1e-7)
    assert_allclose(clf.score(X_parts, y_parts), expected.score(frame, y))
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(X_parts.rename(columns={"x3": "z"}))


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # (of Dask and pandas)
def test_parquet_files(table, tmp_path):
    """Read in as many partitions for one column as for many."""
    X, y, weight = table
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(12)])
    for number in range(4):
        rows = slice(500 * number, 500 * number + 500)
        whole = frame.assign(y=y, weight=weight)[rows]
        whole.to_parquet(tmp_path / f"{number}.parquet", index=False)
    expected = converged().fit(frame, y, weight)
    files = dd.read_parquet(tmp_path)
    X_parts = files[list(frame.columns)]
    clf = converged().fit(X_parts, files["y"], files["weight"])
    assert_same_optimum(clf, expected)
    assert_allclose(clf.score(X_parts, files["y"]), expected.score(frame, y))
    assert clf.predict(X_parts).numblocks == (4,)


@quiet
@pytest.mark.parametrize("dtype", [int, float])
def test_many_classes(table, dtype):
    X, y = table[0], np.arange(len(table[0])) % 25
    clf = SoftmaxRegressionClassifier(max_iter=2).fit(da.from_array(X, chunks=500), y.astype(dtype))
    assert len(clf.classes_) == 25


def test_distributions(table):
    X, y, weight = table
    proba = pd.get_dummies(y).astype(float)
    expected = converged().fit(X, proba, weight)
    X_parts = da.from_array(X, chunks=(500, -1))
    y_parts = dd.from_pandas(proba, npartitions=4)
    clf = converged().fit(X_parts, y_parts, weight)
    assert_same_optimum(clf, expected)
    assert_allclose(clf.score(X_parts, y_parts), expected.score(X, proba))
    with pytest.raises(ValueError, match=r"Partition 2.*sum to 1"):
        clf.fit(X_parts, y_parts.map_partitions(spoil, meta=proba))


def spoil(part):
    return part * 0.5 if 1100 in part.index else part


def test_sparse_chunks(table):
    X, y, weight = table
    X = np.where(np.abs(X - 3.0) > 0.5, X, 0.0)
    expected = converged().fit(sp.csr_array(X), y, weight)
    parts = da.from_array(X, chunks=(500, -1)).map_blocks(sp.csc_matrix)
    clf = converged().fit(parts, y, weight)
    assert_same_optimum(clf, expected)
    assert_allclose(clf.predict_proba(parts).compute(), expected.predict_proba(X), atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_dtypes(table, dtype):
    X, y, _ = table
    X = (20 * X).astype(dtype)
    X_parts = da.from_array(X, chunks=(500, -1))
    clf = SoftmaxRegressionClassifier().fit(X_parts, y)
    assert clf.coef_.dtype == (np.float32 if dtype == np.float32 else np.float64)
    assert_near_optimum(clf, X, y)
    proba, expected = clf.predict_proba(X_parts), clf.predict_proba(X)
    assert proba.dtype == proba.compute().dtype == expected.dtype
    assert_allclose(proba, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_predictions_are_lazy(table, method):
    X, y, _ = table
    clf = SoftmaxRegressionClassifier().fit(X, y)
    calls = []

    def seen(block):
        calls.append(len(block))
        return block

    lazy = getattr(clf, method)(da.from_array(X, chunks=500).map_blocks(seen, dtype=X.dtype))
    assert not any(calls)
    expected = getattr(clf, method)(X)
    assert lazy.shape == expected.shape
    assert lazy.dtype == expected.dtype
    assert lazy.numblocks[0] == 4
    assert_allclose(lazy.compute(), expected) if expected.ndim > 1 else assert_array_equal(
        lazy, expected
    )
    assert sum(calls) == len(X)


def test_logits_of_two_classes_and_scores(table):
    X, y, weight = table
    is_a = y == "a"
    X_parts, y_parts = da.from_array(X, chunks=(300, -1)), da.from_array(is_a, chunks=300)
    expected = converged().fit(X, is_a)
    clf = converged().fit(X_parts, y_parts)
    assert_same_optimum(clf, expected)
    assert clf.decision_function(X_parts).shape == (2000,)
    assert_allclose(clf.decision_function(X_parts), expected.decision_function(X), atol=1e-6)
    for weights in (None, weight):
        assert_allclose(clf.score(X_parts, y_parts, weights), clf.score(X, is_a, weights))


def test_empty_partitions(table):
    X, y, weight = table
    frame = pd.DataFrame(X)
    X_parts = dd.from_pandas(frame, npartitions=4)
    X_parts = X_parts[X_parts[0] > 3.0]
    X_parts = dd.concat([X_parts[X_parts[0] > 1e9], X_parts])
    kept = X[:, 0] > 3.0
    expected = converged().fit(X[kept], y[kept], weight[kept])
    clf = converged().fit(X_parts.to_dask_array(), y[kept], weight[kept])
    assert_same_optimum(clf, expected)


@quiet
@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5}, {"solver": "sgd", "max_iter": 2}])
def test_partitions_on_a_device(table, monkeypatch, options):
    """As chunks of CuPy would be: the sums are taken there, and totals come back as NumPy's."""
    torch = pytest.importorskip("torch")
    X, y, weight = table
    parts = da.from_array((X - X.mean(axis=0)) / X.std(axis=0), chunks=(500, -1))
    expected = converged(random_state=0, C=0.01, **options)
    expected.fit(parts, y, weight)
    monkeypatch.setattr(_native, "as_rows", torch.asarray)
    assert_same_optimum(clone(expected).fit(parts, y, weight), expected)


# SGD ---------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("average", [False, True])
def test_steps_in_order_are_those_in_memory(table, average):
    X, y, _ = table
    clf = SoftmaxRegressionClassifier(
        solver="sgd", shuffle=False, batch_size=100, max_iter=3, tol=0.0, average=average
    )
    expected = clone(clf).fit(X, y)
    clf.fit(da.from_array(X, chunks=(500, -1)), y)
    assert_allclose(clf.coef_, expected.coef_, atol=1e-10)
    assert_allclose(clf.loss_curve_, expected.loss_curve_)


@quiet
@pytest.mark.parametrize("sparse", [False, True])
def test_shuffled_steps_come_near_the_optimum(table, sparse):
    X, y, weight = table
    X = (X - X.mean(axis=0)) / X.std(axis=0)

    def objective(clf):
        loss = log_loss(y, clf.predict_proba(X), sample_weight=weight)
        return loss + 0.5 * np.sum(clf.coef_**2) / weight.sum()

    optimum = objective(converged().fit(X, y, weight))
    parts = da.from_array(X, chunks=(500, -1))
    parts = parts.map_blocks(sp.csr_matrix) if sparse else parts
    clf = SoftmaxRegressionClassifier(solver="sgd", random_state=0, max_iter=20)
    again = clone(clf).fit(parts, y, weight)
    clf.fit(parts, y, weight)
    assert_array_equal(clf.coef_, again.coef_)
    assert optimum < objective(clf) < 1.02 * optimum


def test_streams(table):
    X, y, _ = table
    parts = da.from_array(X, chunks=(500, -1))
    options = {"shuffle": False, "batch_size": 100}
    expected, clf = (SoftmaxRegressionClassifier(**options) for _ in range(2))
    for rows in (slice(0, 1000), slice(1000, 2000)):
        expected.partial_fit(X[rows], y[rows], classes=["a", "b", "c"])
        clf.partial_fit(parts[rows], y[rows], classes=["a", "b", "c"])
    assert_allclose(clf.coef_, expected.coef_, atol=1e-10)
    with pytest.raises(ValueError, match=r"Partition 1.*not in classes.*'d'"):
        clf.partial_fit(parts[:1000], np.where(np.arange(1000) == 700, "d", y[:1000]))


# What is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_the_partition_with_nan_is_named(table, solver):
    X, y, _ = table
    clf = SoftmaxRegressionClassifier(solver=solver).fit(X, y)
    before = clf.coef_
    X = X.copy()
    X[1234, 5] = np.nan
    parts = da.from_array(X, chunks=(500, -1))
    with pytest.raises(ValueError, match="Partition 2: X contains NaN"):
        clf.fit(parts, y)
    assert clf.coef_ is before
    with pytest.raises(ValueError, match="X contains NaN"):
        clf.predict(parts).compute()


def test_the_partition_with_other_columns_is_named(table):
    X, y, _ = table
    parts = da.from_array(X, chunks=(500, -1))

    def without_column(block, block_info=None):
        return block[:, block_info[0]["chunk-location"][0] :]

    bad = parts.map_blocks(without_column, dtype=float, meta=np.empty((0, 0)))
    for X_bad in (bad[:1000], with_meta_of_unknown(bad[:1000])):
        with pytest.raises(ValueError, match="Partition 1: X has 11 features"):
            SoftmaxRegressionClassifier().fit(X_bad, y[:1000])


def with_meta_of_unknown(X):
    X = X.copy()
    X._chunks = ((np.nan,) * len(X.chunks[0]), X.chunks[1])
    return X


def test_other_bad_input(table):
    X, y, weight = table
    parts = da.from_array(X, chunks=(500, -1))
    clf = SoftmaxRegressionClassifier()

    def refused(match, *arguments):
        with pytest.raises(ValueError, match=match):
            clf.fit(*arguments)
        assert not hasattr(clf, "coef_")

    refused("2000 rows, but y has 1999", parts, y[:-1])
    refused("2000 rows, but y has 1999", parts, da.from_array(y[:-1], chunks=500))
    refused("2000 rows, but sample_weight has 3", parts, y, np.ones(3))
    refused(r"Partition \d: sample_weight must be finite and not neg", parts, y, -weight)
    refused("class_weight and sample_weight leave no row a weight", parts, y, 0 * weight)
    refused("only one class: a", parts, np.full(2000, "a"))
    refused("Unknown label type: continuous", parts, X[:, 0])
    refused("must have two dimensions", parts[:, 0], y)
    y = np.searchsorted(["a", "b", "c"], y)
    refused(r"4 partitions, but y has 2", with_unknown_sizes(parts), unknown(y, 1000))
    refused(
        r"Partition \d: X has 500 rows, but y has 400",
        with_unknown_sizes(parts),
        unknown(y[:1600], 400),
    )
    refused("must hold numbers", parts.astype(str), y)
    clf.fit(parts, y)
    with pytest.raises(ValueError, match="X has 11 features, but"):
        clf.predict(parts[:, 1:])


def unknown(y, size):
    return with_unknown_sizes(da.from_array(y, chunks=size))


# On a cluster ------------------------------------------------------------------------------


def test_cluster_gives_the_same_model(cluster, table):
    X, y, weight = table
    expected = converged().fit(X, y, weight)
    parts = da.from_array(X, chunks=(300, -1)).persist()
    clf = converged().fit(parts, y, weight)
    assert_same_optimum(clf, expected)
    assert_allclose(clf.score(parts, y), expected.score(X, y))


@quiet
def test_data_stay_where_they_are(cluster):
    """What moves is small beside X."""
    X = da.random.default_rng(0).standard_normal((200_000, 50), chunks=(20_000, -1)).persist()
    y = (X[:, 0] > 0).persist()
    dask.distributed.wait([X, y])

    def places():
        return {key: set(where) for key, where in cluster.who_has(X).items()}

    before = places()
    SoftmaxRegressionClassifier(max_iter=3).fit(X, y)
    SoftmaxRegressionClassifier(solver="sgd", max_iter=2).fit(X, y)
    assert places() == before


def slow_rows(block):
    time.sleep(0.01)
    return block


@pytest.mark.needs_sklearn("1.9")
@pytest.mark.parametrize("persisted", [True, False])
def test_a_killed_worker_is_made_up_for(fragile_cluster, table, persisted):
    X, y, weight = table
    expected = converged(C=100.0).fit(X, y, weight)
    parts = da.from_array(X, chunks=(250, -1)).map_blocks(slow_rows)
    parts = parts.persist() if persisted else parts
    killed = []

    class KillOnce:
        """A callback that kills a worker at the third iteration."""

        max_propagation_depth = 0

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **arguments):
            if context.task_name == "iteration" and context.task_id == 3 and not killed:
                pids = fragile_cluster.run(os.getpid)
                killed.append(next(iter(pids.values())))
                os.kill(killed[0], signal.SIGKILL)

        def on_fit_task_end(self, estimator, context, **arguments):
            return False

    clf = converged(C=100.0).set_callbacks(KillOnce())
    clf.fit(parts, y, weight)
    assert killed
    assert_same_optimum(clf, expected)


def test_without_workers_there_is_an_error(fragile_cluster, table, monkeypatch):
    X, y, _ = table
    monkeypatch.setattr(_graphs, "_PATIENCE", 1.0)
    clf = SoftmaxRegressionClassifier().fit(X, y)
    before = clf.coef_
    parts = da.from_array(X, chunks=(500, -1)).persist()
    dask.distributed.wait(parts)
    fragile_cluster.cluster.scale(0)
    while fragile_cluster.nthreads():
        time.sleep(0.1)
    with pytest.raises(RuntimeError, match="has had no worker for 1 seconds"):
        clf.fit(parts, y)
    assert clf.coef_ is before


def test_an_interrupt_leaves_nothing_behind(cluster, table, monkeypatch):
    X, y, _ = table
    clf = SoftmaxRegressionClassifier().fit(X, y)
    before = clf.coef_
    parts = da.from_array(X, chunks=(500, -1)).map_blocks(very_slow_rows)
    wait, calls = _graphs._wait, []

    def interrupted(client, futures):
        calls.append(len(futures))
        if len(calls) == 4:
            time.sleep(0.2)  # (the workers are at it)
            assert any(cluster.processing().values())
            signal.raise_signal(signal.SIGINT)
        wait(client, futures)

    monkeypatch.setattr(_graphs, "_wait", interrupted)
    # (A shell starts what is in its background with the signal ignored.)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            clf.fit(parts, y)
    finally:
        signal.signal(signal.SIGINT, handler)
    monkeypatch.undo()
    assert clf.coef_ is before
    deadline = time.monotonic() + 10
    while any(cluster.processing().values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(cluster.processing().values())
    clf.fit(da.from_array(X, chunks=(500, -1)), y)


def very_slow_rows(block):
    time.sleep(0.5)
    return block
