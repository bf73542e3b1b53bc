"""The shape of the package: public names, imports that run one way, documented parameters."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sklearn_softmax
from sklearn_softmax import SoftmaxRegressionClassifier, functional

PACKAGE = Path(sklearn_softmax.__file__).parent
# Each module may import those after it, and no others.
LAYERS = [
    "_classifier",
    "_fitting",
    "_prediction",
    "_fitting_sgd",
    "_validation",
    "_dask_data",
    "_training",
    "_ascent",
    "_span",
    "_coordinate_descent",
    "_quadratic",
    "_lbfgs",
    "_history",
    "_sgd",
    "_progress",
    "_steps",
    "_metric",
    "_running",
    "_certificate",
    "_pairs",
    "_curvature",
    "_newton",
    "_factored",
    "_hessians",
    "_table",
    "_objective",
    "_rows",
    "_scaling",
    "_sums",
    "_dask",
    "_dask_tasks",
    "_places",
    "_device",
    "_files",
    "_blocks",
    "_sampler",
    "_threads",
    "functional",
    "_backend",
    "_arrays",
    "_compiled_ascent",
    "_compiled",
    "_cuda",
    "_targets",
]


def imported_modules(path):
    """Return the modules of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found.update(names)
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_imports_run_downwards(name):
    allowed = LAYERS[LAYERS.index(name) + 1 :]
    assert imported_modules(PACKAGE / f"{name}.py") <= set(allowed)


def test_every_module_has_a_layer():
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} == set(LAYERS)


@pytest.mark.parametrize(
    "solver", ["_lbfgs", "_history", "_coordinate_descent", "_quadratic", "_sgd", "_steps"]
)
def test_solvers_know_nothing_of_the_model(solver):
    assert imported_modules(PACKAGE / f"{solver}.py") <= {
        "_lbfgs",
        "_quadratic",
        "_history",
        "_progress",
        "_steps",
        "_backend",
        "_arrays",
    }


def test_only_some_modules_know_scikit_learn():
    users = {
        p.stem for p in PACKAGE.glob("*.py") if re.search(r"^from sklearn\b", p.read_text(), re.M)
    }
    assert users == {"_classifier", "_dask_data", "_fitting_sgd", "_targets", "_validation"}


def test_public_names():
    assert sklearn_softmax.__all__ == ["SoftmaxRegressionClassifier", "functional"]
    defined = {
        name
        for name, value in vars(functional).items()
        if inspect.isfunction(value) and value.__module__ == functional.__name__
    }
    assert {name for name in defined if not name.startswith("_")} == set(functional.__all__)
    assert functional.__all__ == sorted(functional.__all__)


def test_heavy_libraries_are_not_imported():
    code = "import sys, sklearn_softmax; print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("cupy", "dask", "numba", "torch", "polars", "matplotlib"):
        assert f"'{name}'" not in run.stdout


def test_parameters_are_documented_in_order_with_their_defaults():
    documented = re.findall(r"^(\w+) : (.*)$", inspect.getdoc(SoftmaxRegressionClassifier), re.M)
    signature = inspect.signature(SoftmaxRegressionClassifier)
    names = list(signature.parameters)
    assert [name for name, _ in documented][: len(names)] == names
    for name, described in documented[: len(names)]:
        shown = re.search(r"default=(.*)$", described).group(1)
        assert ast.literal_eval(shown) == signature.parameters[name].default, name


def test_fitted_attributes_are_documented(wine):
    clf = SoftmaxRegressionClassifier(early_stopping=True, random_state=0).fit(*wine)
    fitted = [name for name in vars(clf) if name.endswith("_") and not name.startswith("_")]
    for name in fitted:
        assert f"\n{name} : " in inspect.getdoc(SoftmaxRegressionClassifier)


def test_version_is_that_of_the_project():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    assert project["project"]["version"] == sklearn_softmax.__version__
