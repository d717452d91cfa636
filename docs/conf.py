"""How Sphinx makes the site of these documents: ``scripts/make-docs``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import sfss  # noqa: E402

project = "sfss"
release = version = sfss.__version__
copyright = "the authors of sfss"
extensions = ["sphinx.ext.autodoc", "made_of_code"]
exclude_patterns = ["_build"]
root_doc = "index"
language = "en"
smartquotes = False  # they would make one dash of two

nitpicky = True
# What is no page here: types of libraries, and modules that docstrings name for those who read the code.
nitpick_ignore_regex = [("py:.*", ".*")]
keep_warnings = True

highlight_language = "none"  # most blocks are commands and their output
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"sfss {release}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
