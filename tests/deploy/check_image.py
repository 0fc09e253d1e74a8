"""The image is built and run as its Dockerfile says, but for Debian's packages, on this host.

Not collected with the other tests, because it fetches what the broker depends on.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .shipped import INSTALLED, ROOT, check_image_runs, here, read_image, values_of


def build(directory: Path) -> Path:
    """What the first stage of the image makes."""
    source, environment = directory / "source", directory / "environment"
    source.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for each in read_image():
        if each.cmd == "COPY" and not each.flags:
            *names, target = each.value
            for name in names:
                place = source / target / (name if target.endswith("/") else "")
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, place)
        elif each.cmd == "RUN" and INSTALLED in each.value[0]:
            command = ["sh", "-c", here(each.value[0], environment)]
            subprocess.run(command, cwd=source, env={**os.environ, "PATH": path}, check=True)
    return environment


@pytest.mark.usefixtures("_namespaces")
def test_image_is_built_and_runs(tmp_path: Path) -> None:
    environment = build(tmp_path)
    [entrypoint] = values_of("ENTRYPOINT")
    assert Path(here(entrypoint[0], environment)).is_file()
    check_image_runs(environment)
