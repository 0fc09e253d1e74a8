from collections.abc import Callable
from typing import TypeAlias

import pytest

from . import no_skips

SKIPPED_IN_EVERY_WAY = {
    "by a mark": """
        import pytest
        @pytest.mark.skip(reason="no tool here")
        def test_one(): ...
    """,
    "in the test": """
        import pytest
        def test_one():
            pytest.skip("no tool here")
    """,
    "in a fixture": """
        import pytest
        @pytest.fixture
        def lab():
            pytest.skip("no tool here")
        def test_one(lab): ...
    """,
    "as a module": """
        import pytest
        pytest.skip("no tool here", allow_module_level=True)
    """,
}
CLEAN = """
    import pytest
    def test_one(): ...
    @pytest.mark.xfail(reason="known")
    def test_two():
        assert False
"""


Run: TypeAlias = Callable[[str], pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv(no_skips.VARIABLE, raising=False)

    def run(source: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess("-p", "tests.kit.no_skips", "-p", "no:trio")

    return run


@pytest.mark.parametrize("source", SKIPPED_IN_EVERY_WAY.values(), ids=SKIPPED_IN_EVERY_WAY)
class TestSkippedTest:
    def test_fails_the_run_and_is_named(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        monkeypatch.setenv(no_skips.VARIABLE, "1")
        result = run(source)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*skipped, but TRIO_P2P_NO_SKIPS is set*", "*no tool here*"])

    def test_is_allowed_without_the_variable(self, run: Run, source: str) -> None:
        assert run(source).ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def test_run_without_skips_passes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(no_skips.VARIABLE, "1")
    result = run(CLEAN)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*is set*")


def test_failure_stays_a_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(no_skips.VARIABLE, "1")
    assert run("def test_one(: ...").ret == pytest.ExitCode.INTERRUPTED
