"""Fixtures that all tests share."""

import numpy as np
import pytest
import sklearn
from hypothesis import settings
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.utils.fixes import parse_version

from sklearn_softmax._objective import small_table as _small_table

# Deterministic: a property either holds on these examples or it does not.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("default")


def pytest_collection_modifyitems(config, items):
    """Leave out tests of what this scikit-learn does not have yet."""
    installed = parse_version(sklearn.__version__)
    kept, left_out = [], []
    for item in items:
        marks = item.iter_markers("needs_sklearn")
        is_there = all(parse_version(mark.args[0]) <= installed for mark in marks)
        (kept if is_there else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def make_namespace(name):
    """Import an array library by name, or skip."""
    if name == "torch":
        pytest.importorskip("torch")
        import array_api_compat.torch as xp
    elif name == "array_api_strict":
        import array_api_strict as xp
    elif name == "cupy":
        cupy = pytest.importorskip("cupy")
        if not cupy.is_available():
            pytest.skip("no CUDA device")
        import array_api_compat.cupy as xp
    else:
        import array_api_compat.numpy as xp
    return xp


@pytest.fixture(
    params=["numpy", "array_api_strict", "torch", pytest.param("cupy", marks=pytest.mark.gpu)]
)
def xp(request):
    """An array namespace: every backend that is there."""
    return make_namespace(request.param)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def wine():
    """Three classes, raw features with scales from 0.1 to 1000."""
    return load_wine(return_X_y=True)


@pytest.fixture
def cancer():
    """Two classes, raw features."""
    return load_breast_cancer(return_X_y=True)


@pytest.fixture
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(params=["table", "blocks"])
def both_ways(request, monkeypatch):
    """A small table is kept whole; and summed over in blocks, as large ones are."""
    if request.param == "blocks":
        monkeypatch.setattr(_small_table, "_TABLE_BYTES", 0)


def to_numpy(array):
    """Return an array of any library as NumPy's."""
    return np.asarray(array.get() if hasattr(array, "get") else array)
