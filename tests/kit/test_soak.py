import pytest

SOURCE = """
    import pytest
    def test_short(): ...
    @pytest.mark.soak
    def test_long(): ...
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    pytester.makeini("[pytest]\nmarkers =\n    soak: long\n    once: any")
    pytester.makepyfile(SOURCE)
    return pytester.runpytest_inprocess("-p", "tests.kit.soak", "-p", "no:trio", *options)


@pytest.mark.parametrize("options", [[], ["-m", "not once"], ["-k", "short or long"]])
def test_soak_is_deselected(pytester: pytest.Pytester, options: list[str]) -> None:
    run(pytester, *options).assert_outcomes(passed=1, deselected=1)


def test_soak_is_run_if_it_is_asked_for(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-m", "soak", "-v")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["*::test_long PASSED*"])
