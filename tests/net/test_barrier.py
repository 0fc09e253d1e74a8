"""A barrier: what goes wrong behind it is logged once, and cancellation passes."""

import logging

import pytest
import trio

from trio_p2p._net.barrier import Barrier

LOGGER = logging.getLogger("trio_p2p.test")


async def test_errors_end_there_and_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        with Barrier(LOGGER, "serving a client"):
            raise KeyError("of one party")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        nursery.start_soon(trio.lowlevel.checkpoint)  # which the other one does not end
    [record] = caplog.records
    assert record.getMessage().startswith("serving a client failed")
    assert record.exc_info is not None


async def test_groups_of_errors_end_there(caplog: pytest.LogCaptureFixture) -> None:
    with Barrier(LOGGER, "serving"):
        raise ExceptionGroup("several", [KeyError(1), ExceptionGroup("more", [OSError(2)])])
    assert len(caplog.records) == 1


async def test_cancellation_passes(caplog: pytest.LogCaptureFixture) -> None:
    with trio.CancelScope() as scope:
        scope.cancel(reason="the test")
        with Barrier(LOGGER, "serving"):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not caplog.records


async def test_cancellation_that_comes_with_an_error_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("while it was cancelled")

    with trio.CancelScope() as scope:
        scope.cancel(reason="the test")
        with Barrier(LOGGER, "serving"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(trio.sleep_forever)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_what_is_no_error_passes() -> None:
    with pytest.raises(KeyboardInterrupt), Barrier(LOGGER, "serving"):
        raise KeyboardInterrupt
