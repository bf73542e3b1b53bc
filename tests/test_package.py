"""The shape of the package: public names, imports that run one way, documented parameters."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sklearn_softmax.onnx
from sklearn_softmax import SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV

PACKAGE = Path(sklearn_softmax.__file__).parent
# Each folder, and each file on top, may import those after it, and no others; "" is the public top.
LAYERS = [
    "onnx",
    "inspection",
    "metrics",
    "model_selection",
    "_classifier_cv",
    "_cross_validation",
    "_path",
    "_classifier",
    "_migration",
    "_predictor",
    "_callbacks",
    "_export",
    "_fitting",
    "_prediction",
    "_fitting_sgd",
    "_validation",
    "_solvers",
    "_curvature",
    "_objective",
    "_rows",
    "functional",
    "_targets",
    "_labels",
    "_arrays",
]
# What one folder may not know of another although that is below it.
STRANGERS = {("_solvers", "_curvature")}
MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)


def imported_modules(name):
    """Return the modules of the package that a module imports, by their paths within it."""
    path = PACKAGE / f"{name}.py"
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        folder = path.parents[node.level - 1].relative_to(PACKAGE)
        base = folder / (node.module or "").replace(".", "/")
        for alias in node.names:
            inner = (base / alias.name).as_posix()
            found.add(inner if inner in MODULES else base.as_posix())
    return found


def layer_of(module):
    return module.split("/")[0]


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name):
    layer = layer_of(name)
    allowed = {layer, *LAYERS[LAYERS.index(layer) + 1 :]}
    found = {layer_of(module) for module in imported_modules(name)}
    assert found <= allowed
    assert not {(layer, other) for other in found} & STRANGERS


def test_every_module_has_a_layer():
    assert {layer_of(name) for name in MODULES} == set(LAYERS)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_on_the_map(name):
    """In the page on development, and in the docstring of its folder."""
    page = (PACKAGE.parent / "docs" / "development.rst").read_text()
    folder, _, stem = name.rpartition("/")
    shown = f"dask/{stem}" if folder.endswith("/dask") else stem
    assert re.search(rf"``{shown}(\.py)?``", page)
    if folder:
        docstring = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text()))
        assert f":mod:`.{stem}`" in docstring


def test_no_circle():
    """Within a folder, too: what is imported where it is needed counts as well."""
    known, waiting = set(), {name: imported_modules(name) & set(MODULES) for name in MODULES}
    while waiting:
        ready = {name for name, needs in waiting.items() if needs <= known}
        assert ready, f"a circle among {sorted(waiting)}"
        known |= ready
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}


@pytest.mark.parametrize("solver", ["lbfgs", "history", "sgd", "sgd_steps", "training"])
def test_solvers_know_nothing_of_the_model(solver):
    found = {layer_of(module) for module in imported_modules(f"_solvers/{solver}")}
    assert found <= {"_solvers", "_arrays", "_rows"}
    assert "_rows/sums" not in imported_modules(f"_solvers/{solver}")


def test_only_some_modules_know_scikit_learn():
    users = {
        name
        for name in MODULES
        if re.search(r"^ *from sklearn\b", (PACKAGE / f"{name}.py").read_text(), re.M)
    }
    assert users == {
        "_arrays/data_frames",
        "_callbacks",
        "_classifier",
        "_classifier_cv",
        "_cross_validation",
        "_export",
        "_fitting_sgd/settings",
        "_labels",
        "_migration",
        "_path",
        "_predictor",
        "_rows/dask/data",
        "_targets",
        "_validation",
        "inspection",
        "metrics",
        "model_selection",
    }


def test_public_names():
    assert sklearn_softmax.__all__ == [
        "SoftmaxPath",
        "SoftmaxRegressionClassifier",
        "SoftmaxRegressionClassifierCV",
        "functional",
        "inspection",
        "metrics",
        "model_selection",
        "softmax_path",
    ]
    modules = [getattr(sklearn_softmax, name) for name in sklearn_softmax.__all__]
    for module in [*modules, sklearn_softmax.onnx]:
        if inspect.ismodule(module):
            assert module.__all__ == sorted(module.__all__)
            assert public_names_of(module) == set(module.__all__)


def public_names_of(module):
    """Return the names of what a module defines for others."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


def test_heavy_libraries_are_not_imported():
    code = "import sys, sklearn_softmax; print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("cupy", "dask", "numba", "skl2onnx", "torch", "polars", "matplotlib"):
        assert f"'{name}'" not in run.stdout


@pytest.mark.parametrize(
    "estimator",
    [SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV],
    ids=lambda e: e.__name__,
)
def test_parameters_are_documented_in_order_with_their_defaults(estimator):
    documented = re.findall(r"^(\w+) : (.*)$", inspect.getdoc(estimator), re.M)
    signature = inspect.signature(estimator)
    names = list(signature.parameters)
    assert [name for name, _ in documented][: len(names)] == names
    for name, described in documented[: len(names)]:
        shown = re.search(r"default=(.*)$", described).group(1)
        assert ast.literal_eval(shown) == signature.parameters[name].default, name


@pytest.mark.parametrize(
    "clf",
    [
        SoftmaxRegressionClassifier(early_stopping=True, random_state=0),
        SoftmaxRegressionClassifierCV(Cs=2),
    ],
    ids=lambda clf: type(clf).__name__,
)
def test_fitted_attributes_are_documented(wine, clf):
    clf.fit(*wine)
    fitted = [name for name in vars(clf) if name.endswith("_") and not name.startswith("_")]
    for name in fitted:
        assert f"\n{name} : " in inspect.getdoc(type(clf))


@pytest.fixture
def project():
    return tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]


def test_version_is_that_of_the_project(project):
    assert project["version"] == sklearn_softmax.__version__


def test_other_files_name_the_same_versions(project):
    root = PACKAGE.parent
    assert f"\nversion: {project['version']}\n" in (root / "CITATION.cff").read_text()
    hooks = (root / ".pre-commit-config.yaml").read_text()
    (ruff,) = [line for line in project["optional-dependencies"]["test"] if "ruff" in line]
    assert f"rev: v{ruff.removeprefix('ruff==')}\n" in hooks
    assert f"\n{project['version']} (" in (root / "CHANGELOG.md").read_text()


def test_the_package_says_that_it_has_types():
    assert (PACKAGE / "py.typed").exists()


def test_the_oldest_versions_are_those_that_are_tested(project):
    """``.ci/oldest.txt`` pins what pyproject.toml allows at least: all that is needed, and more."""
    lines = (PACKAGE.parent / ".ci" / "oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    optional = [line for extra in project["optional-dependencies"].values() for line in extra]
    for requirement in project["dependencies"]:
        assert re.split(r"\W*[<>=]", requirement)[0] in pinned
    for name, version in pinned.items():
        floors = [
            re.search(r">=([\d.]+)", requirement).group(1)
            for requirement in project["dependencies"] + optional
            if re.match(rf"{name}\b(?!-)", requirement)
        ]
        assert floors
        for floor in floors:
            assert version == floor or version.startswith(f"{floor}.")
