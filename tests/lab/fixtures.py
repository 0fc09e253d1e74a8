"""Networks for tests, which are skipped where the machine cannot make them."""

from collections.abc import Iterator
from typing import TypeVar

import pytest

from trio_p2p._lab.namespaces import NamespacesUnavailableError, enter_user_namespace_if_needed
from trio_p2p._lab.networks import KernelNetwork, Network

from .userspace import UserspaceNetwork

N = TypeVar("N", bound=Network)

_REASON = pytest.StashKey[str]()


def pytest_collection_finish(session: pytest.Session) -> None:
    # Now or never: as soon as tests run there are several threads, pytest's own at the least.
    if any("_namespaces" in getattr(item, "fixturenames", ()) for item in session.items):
        try:
            enter_user_namespace_if_needed()
        except NamespacesUnavailableError as error:
            session.stash[_REASON] = str(error)


@pytest.fixture(scope="session")
def _namespaces(request: pytest.FixtureRequest) -> None:
    if _REASON in request.session.stash:
        pytest.skip(request.session.stash[_REASON])


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
