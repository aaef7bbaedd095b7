"""Configuration of Sphinx; ``make docs`` builds the site into ``docs/_build/html``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from neuromancer import __version__ as release

sys.path[:0] = [str(Path(__file__).parent / "extensions")]
os.environ.setdefault("TQDM_DISABLE", "1")  # bars would end up in the output of examples

project, author, copyright = "neuromancer", "the neuromancer developers", "the neuromancer developers"
version = release
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_argparse_cli",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "functions_table",
    "mathml",
    "pages",
]
exclude_patterns = ["_build", "gallery", "auto_tutorial"]
templates_path = ["_templates"]

# Prose: links to headings by their names, as on GitHub.
myst_heading_anchors = 4
default_role = "code"
highlight_language = "none"  # Python is marked as such; other blocks are output and formulas
suppress_warnings = ["config.cache"]  # the order of the gallery is a class, which cannot be stored

# Reference: one page per public name, from its docstring. Types stand there, with shapes and units.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autosummary_generate = True
autosummary_imported_members = True
numpydoc_show_class_members = False
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 100

# Other projects' indices are on the internet, which a build must not need.
if os.environ.get("DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
    }

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 3600,  # times of a build say nothing
    "write_computation_times": False,
    "remove_config_comments": True,
    "reference_url": {"neuromancer": None},
    "backreferences_dir": None,
    "doc_module": (),
}

linkcheck_timeout, linkcheck_retries = 20, 3
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)"]

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"neuromancer {release}"
html_static_path = ["_static", "auto_tutorial"]
html_css_files = ["site.css"]
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "tutorial": []}
