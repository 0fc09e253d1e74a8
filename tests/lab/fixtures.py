"""Networks for tests, which are skipped where the machine cannot make them."""

from collections.abc import Iterator
from typing import TypeVar

import pytest

from trio_p2p._commands.namespaces import NamespacesUnavailableError, enter_user_namespace_if_needed
from trio_p2p._commands.networks import KernelNetwork, Network

from .userspace import UserspaceNetwork

N = TypeVar("N", bound=Network)


@pytest.fixture
def kernel_network() -> Iterator[KernelNetwork]:
    with _open_or_skip(KernelNetwork) as network:
        yield network


@pytest.fixture
def userspace_network() -> Iterator[UserspaceNetwork]:
    with _open_or_skip(UserspaceNetwork) as network:
        yield network


def _open_or_skip(network_type: type[N]) -> N:
    try:
        enter_user_namespace_if_needed()
        return network_type()
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))
