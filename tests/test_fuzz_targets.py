"""The fuzz targets run: what they use of the package is still there, and their seeds do no harm."""

import contextlib
import importlib.util
import random
import sys
import types
from pathlib import Path

import pytest

TARGETS = sorted((Path(__file__).parent.parent / "fuzz").glob("fuzz_*.py"))
CHANGES = 300


@pytest.fixture
def atheris(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """What stands in for the fuzzer, which not every environment has."""
    module = types.ModuleType("atheris")
    vars(module)["instrument_imports"] = lambda **_: contextlib.nullcontext()
    monkeypatch.setitem(sys.modules, "atheris", module)
    monkeypatch.syspath_prepend(TARGETS[0].parent)
    return module


@pytest.mark.parametrize("path", TARGETS, ids=lambda path: path.stem)
def test_a_target_runs_its_seeds_and_what_a_few_changes_make_of_them(
    path: Path, atheris: types.ModuleType
) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    target = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(target)
    seeds: list[bytes] = target.seeds()
    for seed in seeds:
        target.feed(seed)
    source = random.Random(path.stem)
    for _ in range(CHANGES):
        data = bytearray(source.choice(seeds) + source.choice(seeds)[1:])
        for _ in range(source.randrange(4)):
            data[source.randrange(len(data))] = source.randrange(256)
        target.feed(bytes(data))


def test_there_are_targets() -> None:
    assert TARGETS
