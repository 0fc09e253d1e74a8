"""The tests that ``docs/testing_applications.rst`` shows do what it says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MOMENTS = 12
WRONG_MOMENTS = 3


def run(pytester: pytest.Pytester, *names: str, **renamed: str) -> pytest.RunResult:
    """Run examples as an application would have them, some under another name."""
    for name in names:
        pytester.path.joinpath(name).write_text(EXAMPLES.joinpath(name).read_text("utf-8"))
    for name, other in renamed.items():
        text = EXAMPLES.joinpath(f"{other}.py").read_text("utf-8")
        pytester.path.joinpath(f"{name}.py").write_text(text)
    return pytester.runpytest_subprocess("-rfE")


def test_the_application_works(pytester: pytest.Pytester) -> None:
    run(pytester, "test_greeting.py").assert_outcomes(passed=1)


@pytest.mark.slow
@pytest.mark.once
def test_it_works_behind_every_nat(pytester: pytest.Pytester) -> None:
    run(pytester, "test_every_nat.py").assert_outcomes(passed=1)


def test_the_bug_is_found_at_the_wrong_moments_only(pytester: pytest.Pytester) -> None:
    result = run(pytester, "test_deposits.py", "deposits.py")
    result.assert_outcomes(failed=WRONG_MOMENTS, passed=MOMENTS - WRONG_MOMENTS)
    result.stdout.fnmatch_lines(["*test_deposit?0.02?*assert 70 == 10*"])


def test_without_the_bug_no_moment_is_wrong(pytester: pytest.Pytester) -> None:
    result = run(pytester, "test_deposits.py", deposits="numbered_deposits")
    result.assert_outcomes(passed=MOMENTS)
