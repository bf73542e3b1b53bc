"""The code in README and docs runs, and shows what it says."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "docs").rglob("*.rst"))
    if not {"generated", "auto_examples", "_build", "_templates"} & set(path.parts)
]


@pytest.mark.needs_sklearn("1.9")
@pytest.mark.parametrize("page", PAGES)
def test_examples_of_a_page(page):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testfile(str(ROOT / page), module_relative=False, optionflags=flags)
    assert failed == 0


def test_some_pages_have_examples():
    """As pages without any pass."""
    found = [page for page in PAGES if ">>>" in (ROOT / page).read_text()]
    assert {"docs/get_started.rst", "docs/how_to/soft_labels.rst"} <= set(found)
    assert len(found) >= 10


def test_the_code_of_the_readme():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    names: dict = {}
    exec(code, names)
    assert names["clf"].predict_proba(names["X"]).shape == (178, 3)


def test_links_of_the_readme_lead_somewhere():
    named = re.findall(
        r"`((?:docs|benchmarks|examples)/[\w/]+\.\w+|[A-Z]+\.md)`", (ROOT / "README.md").read_text()
    )
    assert named
    for path in named:
        assert (ROOT / path).exists(), path
