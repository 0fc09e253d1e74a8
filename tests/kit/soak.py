"""A pytest plugin: tests that run for minutes are run by ``-m soak``, and not otherwise.

They are deselected and not skipped, because nothing keeps this machine from running them.
"""

import pytest

LITTLE_OR_MUCH = pytest.mark.parametrize(
    "is_soak", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["little", "much"]
)
"""For tests that do in every run a little of what they do in a soak."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "soak" in config.option.markexpr:
        return
    soaks = [item for item in items if item.get_closest_marker("soak") is not None]
    if soaks:
        config.hook.pytest_deselected(items=soaks)
        items[:] = [item for item in items if item.get_closest_marker("soak") is None]
