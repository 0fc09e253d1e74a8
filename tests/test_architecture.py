"""docs/architecture.rst names every folder, and no file or name that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trio_p2p"
PAGE = (ROOT / "docs" / "architecture.rst").read_text("utf-8")
FILES = sorted(set(re.findall(r"``([\w/.-]+\.(?:py|rst|json|md))``", PAGE)))
FOLDERS = sorted(set(re.findall(r"``([\w/]+/)``", PAGE)))
# Such as ``SILENCE_TIME`` in ``_broker/registry.py``.
NAMES = sorted(set(re.findall(r"``([\w.]+)``\s+in\s+``([\w/]+\.py)``", PAGE)))


def path_of(name: str) -> Path:
    is_of_repository = name.startswith(("docs/", "tests/", "trio_p2p/")) or name.endswith(".md")
    return (ROOT if is_of_repository else PACKAGE) / name


def test_every_room_is_described() -> None:
    rooms = {f"{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.name for path in PACKAGE.glob("*.py")}
    described = re.findall(r"^``(.+)``$", PAGE, re.MULTILINE)
    assert sorted(described) == sorted(rooms)


@pytest.mark.parametrize("name", FILES)
def test_file_exists(name: str) -> None:
    assert path_of(name).is_file()


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_exists(name: str) -> None:
    assert path_of(name).is_dir()


@pytest.mark.parametrize(("name", "file"), NAMES)
def test_name_is_in_its_file(name: str, file: str) -> None:
    source = path_of(file).read_text("utf-8")
    for part in name.split("."):
        assigned = rf"^[\w, ]*\b{part}\b[^=\n]*="
        assert re.search(rf"(?:def|class) {part}\b|{assigned}", source, re.MULTILINE)


def test_the_most_wanted_are_there() -> None:
    for wanted in (
        "the guard's TTL",
        "the keepalive interval",
        "the order of candidates",
        "a new wire message",
        "the relay's refusal texts",
        "the retry of port mappings",
        "a new option of a peer",
        "a new tracer event",
        "the limits per source",
        "the reasons for refusals",
        "which addresses are never dialled",
        "a new command",
        "what ``trio-p2p doctor`` prints",
        "the limits per connection",
        "which technique follows the first one",
        "how long a stream waits for another path",
        "how long a connection without streams is kept",
        "how many streams, and how much memory for them",
        "which streams a listener takes",
        "which connection a stream uses",
        "a frame of a session",
        "a frame of a stream",
    ):
        assert f"   * - {wanted}\n" in PAGE
