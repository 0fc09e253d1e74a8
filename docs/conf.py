"""How Sphinx builds the documentation."""

import importlib.metadata
import sys
from pathlib import Path

project = "trio_p2p"
author = "trio_p2p contributors"
copyright = "2026, trio_p2p contributors"
release = importlib.metadata.version("trio-p2p")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
    "stream_tables",
    "check_tables",
    "setting_tables",
    "wire_tables",
    "broker_drawings",
    "house",
    "explaining",
    "changelog",
    "cast_text",
    "elsewhere",
    "signatures",
]
exclude_patterns = ["_build"]
sys.path.insert(0, str(Path(__file__).parent))
html_theme = "furo"
# sphinx-build -b man docs docs/_build/man
man_pages = [
    ("tools", name, "the shell tools of trio_p2p", "trio_p2p contributors", 1)
    for name in ("trio-p2p", "trio-p2p-broker")
]
html_title = f"trio_p2p {release}"

default_role = "py:obj"
rst_prolog = ".. py:currentmodule:: trio_p2p"
nitpicky = True
# Types of parameters that applications have no use for, and a type variable.
nitpick_ignore_regex = [
    ("py:class", r"trio_p2p\.(testing\.)?_.*"),
    ("py:class", "AnyNat|IPAddress|IPv6Findings|Nat|RouterOffer|Ts"),
]
highlight_language = "python3"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 80
