"""Sphinx: the pages are Markdown; commands and library are generated from the code."""

import sys
import warnings
from pathlib import Path

import vfiokit

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

# Sphinx 9 says this once for each signature; it is for that extension to change before Sphinx 10.
warnings.filterwarnings("ignore", message=".*set_application", module="sphinx_autodoc_typehints")

project = "vfiokit"
copyright = "the vfiokit authors"
version = release = vfiokit.__version__
needs_sphinx = "8.2"

extensions = [
    "commands",
    "ioctl_tables",
    "quirk_tables",
    "register_tables",
    "rooms",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_ext", "_include"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
add_module_names = False
python_maximum_signature_line_length = 100
autodoc_typehints_format = "short"
typehints_use_signature = True
typehints_use_signature_return = True
always_use_bars_union = True
# Examples in docstrings are run by pytest, in the namespace of their module.
doctest_test_doctest_blocks = ""

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"vfiokit {version}"
html_static_path = ["_static"]
html_css_files = ["vfiokit.css"]
html_show_sphinx = False
html_copy_source = False

man_pages = [
    ("man/vfiokit", "vfiokit", "see and explain IOMMU groups, for VFIO", ["the vfiokit authors"], 1)
]
man_show_urls = True
