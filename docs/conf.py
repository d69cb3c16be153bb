"""Sphinx: pip install '.[docs]' && sphinx-build -W docs build/docs

Every notebook is executed. SKIPWAY_DOCS_QUICK=1 runs the experiments' quick versions.
"""

import os
import sys
from pathlib import Path

import skipway

sys.path.insert(0, str(Path(__file__).parent))

project = "skipway"
author = "the skipway developers"
copyright = "the skipway developers"
release = skipway.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "mathml", "names"]
html_math_renderer = "mathml"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"skipway {release}"
html_static_path = ["_static"]
html_css_files = ["style.css"]

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

os.environ.setdefault("SKIPWAY_NUM_THREADS", "2")
