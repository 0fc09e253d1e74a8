"""Networks for tests, which are marked with ``nat``, and skipped where there can be none."""

from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from trio_p2p._lab.namespaces import NamespacesUnavailableError, enter_user_namespace_if_needed
from trio_p2p._lab.networks import KernelNetwork, Network

from .userspace import UserspaceNetwork

N = TypeVar("N", bound=Network)

_REASON = pytest.StashKey[str]()  # why there are no namespaces; empty if there are


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    # Now or never: soon there are several threads, pytest's own at the least. What pytest-xdist
    # starts inherits it.
    inherited: dict[str, str] | None = getattr(session.config, "workerinput", None)
    reason = _why_unavailable() if inherited is None else inherited["no_namespaces"]
    session.config.stash[_REASON] = reason


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["no_namespaces"] = node.config.stash[_REASON]


@pytest.hookimpl(tryfirst=True)  # before what ``-m`` does not ask for is sorted out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and _namespaces.__name__ in item.fixturenames:
            item.add_marker("nat")


def _why_unavailable() -> str:
    try:
        enter_user_namespace_if_needed()
    except NamespacesUnavailableError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def _namespaces(request: pytest.FixtureRequest) -> None:
    if reason := request.config.stash[_REASON]:
        pytest.skip(reason)


@pytest.fixture
def kernel_network(_namespaces: None) -> Iterator[KernelNetwork]:
    with _open_or_skip(KernelNetwork) as network:
        yield network


@pytest.fixture
def userspace_network(_namespaces: None) -> Iterator[UserspaceNetwork]:
    with _open_or_skip(UserspaceNetwork) as network:
        yield network


@pytest.fixture(params=[KernelNetwork, UserspaceNetwork])
def network(_namespaces: None, request: pytest.FixtureRequest) -> Iterator[Network]:
    """Both kinds, one after the other."""
    with _open_or_skip(request.param) as network:
        yield network


def _open_or_skip(network_type: type[N]) -> N:
    try:
        return network_type()
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))
