"""What contributors are told, and what checks their changes, agree with each other."""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
GITHUB = ROOT / ".github"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.rst"))
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")
SECTIONS = ("Context", "Decision", "Consequences", "Rejected")
MAX_DECISION_LINES = 60  # one page


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", sorted(GITHUB.glob("workflows/*.yml"))),
        ("github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        (
            "github-issue-forms",
            sorted(
                set(GITHUB.glob("ISSUE_TEMPLATE/*.yml")) - {GITHUB / "ISSUE_TEMPLATE/config.yml"}
            ),
        ),
    ],
)
def test_github_takes_the_files(schema: str, files: list[Path]) -> None:
    assert files
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    checked = subprocess.run([*check, *files], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def sessions_of_nox() -> set[str]:
    source = (ROOT / "noxfile.py").read_text("utf-8")
    return set(re.findall(r"^@nox\.session.*\n@timed\ndef (\w+)", source, re.MULTILINE))


def test_workflow_runs_all_that_nox_runs_by_default() -> None:
    source = (ROOT / "noxfile.py").read_text("utf-8")
    [listed] = re.findall(r"^nox\.options\.sessions = \[(.*)\]$", source, re.MULTILINE)
    by_default = set(re.findall(r'"(\w+)"', listed))
    jobs = load(GITHUB / "workflows" / "checks.yml")["jobs"]
    on_linux = jobs["linux"]["strategy"]["matrix"]["include"]
    run = {each["session"].partition("-")[0] for each in on_linux} | {"portable"}
    assert run == by_default <= sessions_of_nox()
    assert any(
        step.get("run", "").endswith("nox -s portable") for step in jobs["portable"]["steps"]
    )


def test_workflow_tests_every_version_of_python_on_every_system() -> None:
    jobs = load(GITHUB / "workflows" / "checks.yml")["jobs"]
    matrix = jobs["portable"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["system"]} == {"ubuntu", "macos", "windows"}
    assert f">={matrix['python'][0]}" == PYPROJECT["project"]["requires-python"]
    on_linux = jobs["linux"]["strategy"]["matrix"]["include"]
    tested = [each for each in on_linux if each["session"].startswith("tests-")]
    assert [each["session"] for each in tested] == [f"tests-{each['python']}" for each in tested]
    assert [each["python"] for each in tested] == matrix["python"]


def test_hooks_are_what_nox_lints_with() -> None:
    [repository] = load(ROOT / ".pre-commit-config.yaml")["repos"]
    wanted = {each for hook in repository["hooks"] for each in hook["additional_dependencies"]}
    assert wanted == set(PYPROJECT["dependency-groups"]["lint"])
    source = (ROOT / "noxfile.py").read_text("utf-8")
    [ignored] = re.findall(r'"(--ignore=ASYNC\S+)"', source)
    [async_hook] = [hook for hook in repository["hooks"] if hook["id"] == "flake8-async"]
    assert ignored in async_hook["entry"].split()
    for folder in ("trio_p2p", "tests", "benchmarks", "fuzz"):
        assert re.search(async_hook["files"], f"{folder}/module.py")


def test_news_become_a_section_of_the_changelog(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    news = tmp_path / "newsfragments"
    news.mkdir()
    for kind in KINDS:
        (news / f"+words.{kind}.md").write_text(f"What was {kind}.\n", "utf-8")
    build = [sys.executable, "-m", "towncrier", "build", "--keep", "--version", "7.8.9"]
    day = [
        "--date",
        "2030-01-02",
        "--dir",
        str(tmp_path),
        "--config",
        str(tmp_path / "pyproject.toml"),
    ]
    subprocess.run([*build, *day], cwd=tmp_path, check=True, capture_output=True)
    before, after = (
        folder.joinpath("CHANGELOG.md").read_text("utf-8") for folder in (ROOT, tmp_path)
    )
    section = "\n".join(f"### {kind.title()}\n\n- What was {kind}.\n" for kind in KINDS)
    head, marker, rest = before.partition("<!-- news begin -->\n")
    assert after.startswith(f"{head}{marker}\n## [7.8.9] – 2030-01-02\n\n{section}")
    assert after.endswith(rest.lstrip())


def test_fragments_are_named_so_that_they_become_news() -> None:
    names = {path.name for path in (ROOT / "newsfragments").iterdir()} - {"README.md"}
    assert not [
        name for name in names if not re.fullmatch(rf"\+[a-z0-9-]+\.({'|'.join(KINDS)})\.md", name)
    ]


@pytest.mark.parametrize(
    "path", [path for path in DECISIONS if path.stem != "index"], ids=lambda p: p.stem
)
def test_decision_is_one_page_of_four_sections(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    titles = [above for above, below in itertools.pairwise(lines) if below and set(below) == {"-"}]
    assert tuple(titles) == SECTIONS
    assert len(lines) <= MAX_DECISION_LINES
    assert path.stem in (ROOT / "docs" / "decisions" / "index.rst").read_text("utf-8").split()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", ".github/pull_request_template.md"])
def test_paths_that_contributors_are_told_exist(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    paths = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:md|toml|py|yaml))`", text)
    paths += re.findall(r"\]\(([\w./-]+)\)", text)
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_sessions_that_contributors_are_told_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    told = set(re.findall(r"nox -s (\w+)", text))
    assert told
    assert told <= sessions_of_nox()


def test_programs_are_not_spoken_of_as_persons() -> None:
    """The subject of a sentence is the stream, the broker or the caller."""
    words = re.compile(r"\b(?:whoever|(?:some|no|any)body)\b", re.IGNORECASE)
    found = [
        f"{path.name}: {match}"
        for path in (ROOT / "trio_p2p").rglob("*.py")
        for match in words.findall(path.read_text("utf-8"))
    ]
    assert len(found) < 10, found
