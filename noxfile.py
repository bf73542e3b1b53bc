"""The versions that are supported, for ``nox``: each session is a fresh environment.

``nox --list`` shows the sessions, and ``nox -s oldest`` runs one.
"""

import nox

nox.options.sessions = ["lint", "tests-3.13", "oldest"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# Nightly builds of NumPy, SciPy and scikit-learn.
NIGHTLY = "https://pypi.anaconda.org/scientific-python-nightly-wheels/simple"
# With old versions, and with those that are not released yet: the estimator checks, and the tests
# of what others call. Warnings of theirs are not ours to mend.
CORE = [
    f"tests/test_{name}.py"
    for name in (
        "common",
        "ecosystem",
        "export",
        "functional",
        "lbfgs",
        "migration",
        "objective",
        "package",
        "parity",
        "soft_labels",
        "state",
    )
]


@nox.session(python=PYTHONS)
def tests(session):
    """Run all tests with the newest versions."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def oldest(session):
    """Run the core tests with the oldest versions that pyproject.toml allows."""
    session.install("-e", ".[test]", "-c", ".ci/oldest.txt")
    session.run("pytest", *CORE, *session.posargs)


@nox.session(python="3.12")
def between(session):
    """Run the core tests with the scikit-learn between the oldest and the newest."""
    session.install("-e", ".[test]", "scikit-learn==1.8.*")
    session.run("pytest", *CORE, *session.posargs)


@nox.session(python="3.13")
def nightly(session):
    """Run the core tests with the development versions of NumPy, SciPy and scikit-learn."""
    session.install("-e", ".[test]")
    session.install(
        "--pre", "--upgrade", "--extra-index-url", NIGHTLY, "numpy", "scipy", "scikit-learn"
    )
    session.run("pytest", "-W", "default", *CORE, *session.posargs)


@nox.session
def lint(session):
    """Run ruff and mypy."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def docs(session):
    """Build the documentation, with every example."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
