"""The README's commands are what is really run."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
START = "python3 -m venv .venv && "


def test_its_program_is_the_first_example() -> None:
    program = (ROOT / "examples" / "hello.py").read_text()
    assert f"```python\n{program}```" in (ROOT / "README.md").read_text()
    assert len([line for line in program.splitlines() if line]) <= 15


def test_one_command_line_for_the_demo_and_one_for_the_tests() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = [line for line in readme.splitlines() if line.startswith(START)]
    demo, tests = commands
    assert demo.endswith("trio-p2p demo --nat")
    assert tests.endswith("nox")
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == tests
