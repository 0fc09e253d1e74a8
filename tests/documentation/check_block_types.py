"""The Python blocks of the documentation pass mypy's strictest checks.

For the types session, which has mypy: ``nox -s types``.
"""

import subprocess
import sys
from pathlib import Path

from ..kit.doc_blocks import blocks, module


def test_blocks_are_typed(tmp_path: Path) -> None:
    assert len(list(blocks())) > 15
    file = tmp_path / "blocks.py"
    file.write_text(module(), "utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
