"""Configuration of Sphinx."""

import importlib.util
import sys
import urllib.error
import urllib.request
from pathlib import Path

import sklearn_softmax

sys.path.insert(0, str(Path(__file__).parent))

project = "sklearn_softmax"
author = "the sklearn_softmax developers"
copyright = "2026, the sklearn_softmax developers"
version = release = sklearn_softmax.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
# MathJax is copied into the build where the package that has it is installed ([docs] has it).
# Else the pages fetch it from the network.
if importlib.util.find_spec("sphinx-mathjax-offline"):
    extensions.append("sphinx-mathjax-offline")
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
nitpicky = False

autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

INVENTORIES = {
    "sklearn": "https://scikit-learn.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "matplotlib": "https://matplotlib.org/stable/",
    "dask": "https://docs.dask.org/en/stable/",
}


def is_reachable(url):
    """Return whether a project's list of links can be fetched."""
    try:
        with urllib.request.urlopen(f"{url}objects.inv", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


# Without a network the build passes, too: the links into other documentation are left out. (One
# that cannot be reached is enough: there is no network then.)
has_network = is_reachable(INVENTORIES["sklearn"])
intersphinx_mapping = {
    name: (url, None) for name, url in INVENTORIES.items() if has_network and is_reachable(url)
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",
    # In the order of a learner. (What is new goes where it belongs, or to the end.)
    "within_subsection_order": "gallery_order.LearnersOrder",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklearn_softmax",),
    "reference_url": {"sklearn_softmax": None},
    "download_all_examples": False,
    "show_memory": False,
    # Of examples without a figure: rows in blocks.
    "default_thumb_file": str(Path(__file__).parent / "images" / "blocks.png"),
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_softmax"
html_theme_options = {
    "logo": {"text": "sklearn_softmax"},
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
}
# Pages without others below them have nothing to show there.
html_sidebars = {
    "index": [],
    "get_started": [],
    "install": [],
    "user_guide": [],
    "benchmarks": [],
    "changelog": [],
    "**": ["sidebar-nav-bs"],
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
