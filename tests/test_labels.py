"""Labels of every kind and container: kept as they are, or refused by name."""

import datetime
import fractions

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.exceptions import DataConversionWarning

from sklearn_softmax import SoftmaxRegressionClassifier
from sklearn_softmax._labels import as_labels
from sklearn_softmax._targets import encode_labels, split_rows, union_of_labels

CODES = np.arange(60) % 3
X = np.random.default_rng(0).standard_normal((60, 3)) + 3 * np.eye(3)[CODES]
LETTERS = np.array(["a", "b", "c"])
DATES = np.array(["2020-01-01", "2020-01-03", "2021-01-01"], dtype="M8[D]")


def each(values):
    """Return a list with one of three Python objects for each row."""
    return [values[code] for code in CODES]


# What is passed, the classes that are expected, and their dtype.
KEPT = {
    "integers": (CODES + 5, [5, 6, 7], "int64"),
    "uint8": (CODES.astype("u1"), [0, 1, 2], "uint8"),
    "large unsigned": (CODES.astype("u8") + 2**63, [2**63, 2**63 + 1, 2**63 + 2], "uint64"),
    "big-endian": (CODES.astype(">i4"), [0, 1, 2], "int32"),
    "floats": (CODES.astype("f4"), [0, 1, 2], "float32"),
    "longdouble": (CODES.astype("g"), [0, 1, 2], "float64"),
    "booleans": (CODES > 0, [False, True], "bool"),
    "strings": (LETTERS[CODES], ["a", "b", "c"], "<U1"),
    "list of strings": (each(["a", "bb", "c"]), ["a", "bb", "c"], "<U2"),
    "StringDType": (LETTERS[CODES].astype(np.dtypes.StringDType()), ["a", "b", "c"], "O"),
    "bytes": (np.array([b"a", b"b", b"c"])[CODES], [b"a", b"b", b"c"], "S1"),
    "list of bytes": (each([b"a", b"b", b"c"]), [b"a", b"b", b"c"], "S1"),
    "objects of bytes": (np.array(each([b"a", b"b", b"c"]), object), [b"a", b"b", b"c"], "O"),
    "objects of strings": (np.array(each(["a", "b", "c"]), object), ["a", "b", "c"], "O"),
    "objects of integers": (CODES.astype(object), [0, 1, 2], "int64"),
    "objects of floats": (np.array(each([0, 1.0, 2]), object), [0, 1, 2], "float64"),
    "objects of booleans": ((CODES > 0).astype(object), [False, True], "bool"),
    "booleans and integers": (each([True, 2, 3]), [1, 2, 3], "int64"),
    "datetime64": (DATES[CODES], DATES, "M8[D]"),
    "timedelta64": (CODES.astype("m8[s]"), np.arange(3).astype("m8[s]"), "m8[s]"),
    "dates": (each(DATES.tolist()), DATES.tolist(), "O"),
    "with time zone": (
        pd.Series(pd.to_datetime(DATES[CODES], utc=True)),
        pd.to_datetime(DATES, utc=True).tolist(),
        "O",
    ),
    "pandas strings": (pd.Series(LETTERS[CODES], dtype="string"), ["a", "b", "c"], "O"),
    "pandas Arrow strings": (pd.Series(LETTERS[CODES], dtype="string[pyarrow]"), LETTERS, "O"),
    "pandas Int64": (pd.Series(CODES, dtype="Int64"), [0, 1, 2], "int64"),
    "pandas Arrow integers": (pd.Series(CODES, dtype="int64[pyarrow]"), [0, 1, 2], "int64"),
    "pandas boolean": (pd.Series(CODES > 0, dtype="boolean"), [False, True], "bool"),
    "pandas Arrow booleans": (pd.Series(CODES > 0, dtype="bool[pyarrow]"), [False, True], "bool"),
    "categories": (
        pd.Series(pd.Categorical(LETTERS[CODES], categories=["c", "b", "a"], ordered=True)),
        ["a", "b", "c"],
        "O",
    ),
    "categories of integers": (pd.Categorical(CODES), [0, 1, 2], "int64"),
    "polars strings": (pl.Series(LETTERS[CODES]), ["a", "b", "c"], "<U1"),
    "polars Enum": (pl.Series(each(["a", "b", "c"]), dtype=pl.Enum(["c", "b", "a"])), LETTERS, "O"),
    "polars bytes": (pl.Series(each([b"a", b"b", b"c"])), [b"a", b"b", b"c"], "O"),
    "polars booleans": (pl.Series(CODES > 0), [False, True], "bool"),
    "Arrow": (pa.array(LETTERS[CODES]), ["a", "b", "c"], "O"),
}


@pytest.mark.parametrize("name", KEPT)
def test_classes_are_the_labels(name):
    y, classes, dtype = KEPT[name]
    clf = SoftmaxRegressionClassifier().fit(X, y)
    assert clf.classes_.tolist() == np.asarray(classes, dtype=clf.classes_.dtype).tolist()
    assert clf.classes_.dtype == np.dtype(dtype)
    predicted = clf.predict(X)
    assert predicted.dtype == clf.classes_.dtype
    pairs = zip(np.asarray(y).tolist(), predicted.tolist(), strict=True)
    n_hits = sum(bool(label == other) for label, other in pairs)
    assert clf.score(X, y) == n_hits / 60 > 0.8
    stream = SoftmaxRegressionClassifier(random_state=0).partial_fit(X, y, classes=clf.classes_)
    assert_array_equal(stream.partial_fit(X[:9], y[:9]).classes_, clf.classes_)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int32", "float16", "g"])
def test_labels_beside_tensors(dtype):
    torch = pytest.importorskip("torch")
    labels = CODES.astype(dtype)
    clf = SoftmaxRegressionClassifier().fit(torch.tensor(X), labels)
    expected = SoftmaxRegressionClassifier().fit(X, labels)
    assert_array_equal(np.asarray(clf.predict(torch.tensor(X))), expected.predict(X))
    assert clf.score(torch.tensor(X), labels) == expected.score(X, labels)


MISSING = [None, np.nan, pd.NA, pd.NaT, np.datetime64("NaT", "s"), float("nan")]
REFUSED = {
    **{
        f"{value!r} among strings": (np.array(each(["a", "b", value]), object), "entry 2 is")
        for value in MISSING
    },
    **{
        f"{value!r} among numbers": (np.array(each([1, 2, value]), object), "entry 2")
        for value in MISSING
    },
    "None in a list": (each(["a", "b", None]), r"y has missing values: entry 2 is None"),
    "NaN in a list": (each(["a", "b", np.nan]), r"y has missing values: entry 2 is nan"),
    "NaN": (np.where(CODES == 2, np.nan, CODES), r"Input y contains NaN, in entry 2"),
    "infinity": (np.where(CODES == 2, np.inf, CODES), r"Input y contains infinity, in entry 2"),
    "NaT": (np.where(CODES == 2, np.datetime64("NaT", "D"), DATES[CODES]), r"entry 2 is NaT"),
    "NaT among objects": (
        np.array([*DATES[:2], np.datetime64("NaT", "D")] * 20, dtype=object),
        r"entry 2 is np.datetime64\('NaT'",
    ),
    "masked": (np.ma.masked_equal(CODES, 2), r"y has missing values: entry 2 is masked"),
    "pandas Int64": (pd.Series(each([1, 2, None]), dtype="Int64"), r"NaN, in entry 2"),
    "pandas string": (pd.Series(each(["a", "b", None]), dtype="string"), r"entry 2 is <NA>"),
    "pandas boolean": (pd.Series(each([True, False, None]), dtype="boolean"), r"entry 2"),
    "categories": (pd.Series(pd.Categorical(each(["a", "b", None]))), r"entry 2 is nan"),
    "polars": (pl.Series(each(["a", "b", None])), r"entry 2 is None"),
    "StringDType": (
        np.array(each(["a", "b", None]), dtype=np.dtypes.StringDType(na_object=None)),
        r"entry 2 is None",
    ),
    "mixed list": (
        each(["a", 1, "b"]),
        r"y must hold labels of one kind.*a string in entry 0 \('a'\), a number in entry 1 \(1\)",
    ),
    "mixed column": ([[label] for label in each(["a", 1, "b"])], r"labels of one kind"),
    "mixed objects": (np.array(each(["a", 1, "b"]), object), r"labels of one kind"),
    "bytes and strings": (each([b"a", "a", "b"]), r"bytes in entry 0 .*a string in entry 1"),
    "booleans and strings": (each([True, "a", "b"]), r"labels of one kind"),
    "naive and aware times": (
        np.array(each([*pd.to_datetime(DATES[:2]), pd.Timestamp("2020", tz="UTC")]), object),
        r"y must hold labels that can be sorted",
    ),
    "objects of tuples": (pd.Series(each([("a", 1), ("a", 2), ("b", 1)])), r"entry 0 is a tuple"),
    "tuples": (each([("a", 1), ("a", 2), ("b", 1)]), r"must hold probabilities.*labels have one"),
    "fractions": (each([fractions.Fraction(1, k) for k in (1, 2, 3)]), r"entry 0 is a Fraction"),
    "complex": (CODES + 0j, r"y must hold numbers, booleans, strings.*its dtype is complex128"),
    "records": (np.zeros(60, dtype=[("a", "f8")]), r"y must hold numbers"),
    "beyond 64 bits": (each([2**70, 1, 2]), r"integers that no dtype of 64 bits holds"),
    "of both signs beyond 63 bits": (each([2**63, 2**63 + 1, -1]), r"no dtype of 64 bits"),
    "more digits than float64": (CODES + np.longdouble(2) ** 60 + 1, r"float64 does not hold"),
    "integers that float64 confuses": (each([2**53, 2**53 + 1, 2.0]), r"would be 9007199254740992"),
    "three dimensions": (np.zeros((60, 2, 2)), r"got an array of shape \(60, 2, 2\)"),
    "none": (3, r"y should be a 1d array, got an array of shape \(\)"),
    "rows of different lengths": ([[1], [1, 2]] * 30, r"y must have one label for each row"),
}


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_label_is_refused(name):
    y, message = REFUSED[name]
    clf = SoftmaxRegressionClassifier()
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    with pytest.raises(ValueError, match=message):
        clf.partial_fit(X, y, classes=[0, 1, 2])
    assert not hasattr(clf, "classes_")


def test_a_column_of_labels_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        clf = SoftmaxRegressionClassifier().fit(X, CODES[:, None])
    assert_array_equal(clf.coef_, SoftmaxRegressionClassifier().fit(X, CODES).coef_)


def test_labels_are_not_copied_where_they_need_not_be():
    assert np.shares_memory(as_labels(CODES), CODES)


KINDS = {
    "strings of digits": (["9", "10"], [9, 10]),
    "numbers": ([9, 10], ["10", "9"]),
    "bytes": ([b"a", b"b"], ["a", "b"]),
    "strings": (["a", "b"], [b"a", b"b"]),
    "dates": (DATES[:2], [0, 1]),
    "booleans": ([True, False], ["False", "True"]),
}


@pytest.mark.parametrize("name", KINDS)
def test_labels_of_another_kind_than_the_classes_are_refused(name):
    """NumPy would compare 10 and "10" as strings, and find them equal, or at other places."""
    labels, classes = KINDS[name]
    y = np.asarray(labels)[np.arange(60) % 2]
    clf = SoftmaxRegressionClassifier()
    with pytest.raises(ValueError, match="y has labels of another kind than classes"):
        clf.partial_fit(X, y, classes=classes)
    assert not hasattr(clf, "classes_")
    clf.fit(X, np.asarray(classes)[np.arange(60) % 2])
    with pytest.raises(ValueError, match="y has labels of another kind than classes"):
        clf.score(X, y)


def test_large_integers_are_not_confused():
    """As float64, which signed and unsigned integers are compared in, they would be equal."""
    classes = np.array([2**60, 2**60 + 1], dtype=np.uint64)
    clf = SoftmaxRegressionClassifier().partial_fit(X, classes[CODES % 2], classes=classes)
    clf.partial_fit(X, classes[CODES % 2].astype(np.int64))
    assert encode_labels(classes.astype(np.int64), classes)[1].tolist() == [0, 1]
    assert union_of_labels([classes[:1], classes[1:].astype(np.int64)]).tolist() == [
        2**60,
        2**60 + 1,
    ]
    with pytest.raises(ValueError, match="not in classes"):
        clf.partial_fit(X, np.full(60, 2**60 + 2))


LABELS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, 2**63, 2**63 + 1, -(2**63), 2**64, 2**70]),
    st.sampled_from([0.0, -0.0, 1.0, 2.5, float(2**53), float("nan"), float("inf")]),
    st.booleans(),
    st.text("ab1\0", max_size=2),
    st.binary(max_size=1),
    st.none(),
    st.sampled_from([datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1), ("a", 1), 1j]),
)


@settings(max_examples=300)
@given(st.lists(LABELS, min_size=1, max_size=6) | st.lists(st.text("a\0", max_size=3), min_size=1))
@example(["a", "a\0"])
@example([b"a", b"a\0"])
@example([2**63, -1])
@example([2**53, 2**53 + 1, 0.0])
def test_labels_are_kept_or_refused(values):
    """As a list and as objects: no two become one, and none becomes another."""
    for y in (values, pd.Series(values, dtype=object)):
        try:
            classes, codes = encode_labels(as_labels(y))
        except ValueError:
            continue
        assert len(classes) == len(set(values))
        for value, label in zip(values, classes[codes].tolist(), strict=True):
            assert label == value
            assert isinstance(label, str) == isinstance(value, str)
            assert isinstance(label, bytes) == isinstance(value, bytes)


# Distributions -----------------------------------------------------------------------------

SOFT = np.eye(3)[CODES] * 0.7 + 0.1


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("float16", "array"), ("float16", "frame"), ("float16", "tensor"), ("bfloat16", "tensor")],
)
def test_distributions_of_few_digits(dtype, kind):
    """They cannot sum to 1 more closely than they are rounded, and are divided by their sum."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    soft = rng.dirichlet([0.5, 0.5, 0.5], size=60)
    rounded = torch.tensor(soft).to(getattr(torch, dtype))
    y = {
        "array": lambda: rounded.numpy(),
        "frame": lambda: pd.DataFrame(rounded.numpy()),
        "tensor": lambda: rounded.requires_grad_(),
    }[kind]()
    values = rounded.detach().double().numpy()
    assert np.abs(values.sum(axis=1) - 1).max() > 1e-4
    clf = SoftmaxRegressionClassifier().fit(X, y)
    expected = SoftmaxRegressionClassifier().fit(X, values / values.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-9)
    assert np.isclose(clf.score(X, y), expected.score(X, values / values.sum(1, keepdims=True)))
    with pytest.raises(ValueError, match="must sum to 1"):
        SoftmaxRegressionClassifier().fit(X, values)  # (float64 that is as far from it is wrong)
    with pytest.raises(ValueError, match="must sum to 1"):
        SoftmaxRegressionClassifier().fit(X, y * 1.05 if kind != "tensor" else y.detach() * 1.05)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a", 1, "b"], r"y.columns must hold labels of one kind.*a number in entry 1 \(1\)"),
        (["a", "a", "b"], r"each must have a name of its own; \['a'\] occurs more than once"),
        (["a", None, "b"], r"y.columns has missing values: entry 1"),
        (pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]), r"y.columns"),
    ],
)
def test_columns_that_name_no_classes(columns, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxRegressionClassifier().fit(X, pd.DataFrame(SOFT, columns=columns))


@pytest.mark.parametrize(
    "convert",
    [
        lambda frame: frame.astype("Float64"),
        lambda frame: frame.astype("double[pyarrow]"),
        lambda frame: frame.astype(object),
        lambda frame: frame.astype({2: "Float32", 0: "float32"}),
        lambda frame: pl.DataFrame(frame.to_numpy(), schema=[str(name) for name in frame]),
    ],
)
def test_frames_of_distributions(convert):
    frame = pd.DataFrame(SOFT[:, [2, 0, 1]], columns=[2, 0, 1])
    clf = SoftmaxRegressionClassifier().fit(X, convert(frame))
    expected = SoftmaxRegressionClassifier().fit(X, SOFT)
    assert clf.classes_.astype(int).tolist() == [0, 1, 2]
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-6, atol=1e-8)


def test_columns_follow_sorted_classes():
    """An array's columns are in the order of classes_, so classes that are not sorted mislead."""
    clf = SoftmaxRegressionClassifier()
    with pytest.raises(ValueError, match=r"classes must be sorted.*\['a', 'b', 'c'\], not \['b'"):
        clf.partial_fit(X, SOFT, classes=["b", "a", "c"])
    assert not hasattr(clf, "classes_")
    clf.partial_fit(X, pd.DataFrame(SOFT, columns=["b", "a", "c"]), classes=["b", "a", "c"])
    assert clf.classes_.tolist() == ["a", "b", "c"]
    clf.partial_fit(X, LETTERS[CODES], classes=["c", "b", "a"])


@pytest.mark.parametrize("classes", [["a", 1], [["a", "b"]], "ab", [None, "a"], [np.nan, 1.0]])
def test_classes_that_are_none(classes):
    with pytest.raises(ValueError, match="classes"):
        SoftmaxRegressionClassifier().partial_fit(X, LETTERS[CODES], classes=classes)


# Class weights -----------------------------------------------------------------------------

WRONG_WEIGHTS = {
    "negative": ({0: -1.0}, r"class_weight must have a finite number.*that of 0 is -1.0"),
    "NaN": ({0: np.nan}, r"that of 0 is nan"),
    "infinite": ({1: np.inf}, r"that of 1 is inf"),
    "text": ({1: "2"}, r"that of 1 is '2'"),
    "None": ({1: None}, r"that of 1 is None"),
    "list": ({1: [1.0]}, r"that of 1 is \[1.0\]"),
    "unknown": ({0: 1.0, 7: 2.0}, r"class_weight names \[7\], which are not among the classes"),
    "of another kind": ({"0": 1.0, "1": 2.0}, r"class_weight names \['0', '1'\]"),
    "all zero": ({0: 0, 1: 0, 2: 0}, r"class_weight and sample_weight leave no row a weight"),
    "too large": ({0: 1e308}, r"must have a finite sum"),
}


@pytest.mark.parametrize("name", WRONG_WEIGHTS)
@pytest.mark.parametrize("soft", [False, True])
def test_class_weights_that_are_refused(name, soft):
    class_weight, message = WRONG_WEIGHTS[name]
    clf = SoftmaxRegressionClassifier(class_weight=class_weight)
    for method in (clf.fit, lambda X, y: clf.partial_fit(X, y, classes=[0, 1, 2])):
        with pytest.raises(ValueError, match=message):
            method(X, SOFT if soft else CODES)
    assert not hasattr(clf, "coef_")


@pytest.mark.parametrize("name", ["strings", "bytes", "datetime64", "dates", "booleans", "floats"])
def test_class_weights_of_labels_of_any_kind(name):
    y, classes, _ = KEPT[name]
    weights = np.array([3.0, 0.5, 2.0])[: len(classes)]
    clf = SoftmaxRegressionClassifier(class_weight=dict(zip(classes, weights, strict=True)))
    clf.fit(X, y)
    codes = np.searchsorted(clf.classes_, as_labels(y))
    expected = SoftmaxRegressionClassifier().fit(X, y, weights[codes])
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-9)


def test_class_weights_of_labels_that_do_not_occur():
    """As in a fold that lacks a class: no error where all that do occur are named."""
    class_weight = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}
    clf = SoftmaxRegressionClassifier(class_weight=class_weight).fit(X, CODES)
    expected = SoftmaxRegressionClassifier().fit(X, CODES, CODES + 1.0)
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-9)


# Rows set aside ----------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("counts", [(50, 1, 1), (90, 8, 2), (5, 5, 5), (30, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_class_is_trained(fraction, counts, weighted):
    """Whatever is drawn: a class without a row to train on would be thought impossible."""
    strata = np.repeat(np.arange(len(counts)), counts)
    weight = None
    if weighted:
        strata = np.append(strata, np.full(40, 99))  # (a class of rows without a weight)
        weight = (strata != 99).astype(float)
    for seed in range(20):
        train, validation = split_rows(strata, weight, fraction, seed)
        assert len(validation) > 0
        assert set(strata[train]) == set(range(len(counts)))
        assert_array_equal(np.sort(np.append(train, validation)), np.arange(sum(counts)))


@pytest.mark.parametrize(
    ("n_rows", "fraction", "message"),
    [
        (2, 0.9, r"validation_fraction=0.9 must leave rows to train on, but sets aside all 2"),
        (2, 0.5, r"validation_fraction=0.5 must leave a row of each class to train on.*1 of 2"),
        (3, 0.6, r"validation_fraction=0.6 must leave a row of each class to train on.*2 of 3"),
    ],
)
def test_nothing_left_to_train_or_to_validate(n_rows, fraction, message):
    clf = SoftmaxRegressionClassifier(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=message):
        clf.fit(X[:n_rows], CODES[:n_rows])
    weight = (np.arange(60) < n_rows).astype(float)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, CODES, weight)
    assert not hasattr(clf, "coef_")
