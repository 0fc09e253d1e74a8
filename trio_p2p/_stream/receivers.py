"""The tasks that wait for bytes of a connection's streams; a single one reads the path itself.

A task of the path's own reads it otherwise, which costs a switch of tasks for each answer.
"""

from __future__ import annotations

from .path_worker import PathWorker


class Receivers:
    """Which task reads a connection's path.

    Attributes:
        worker: what carries the connection now, if anything does.
    """

    def __init__(self) -> None:
        self.worker: PathWorker | None = None
        self._waiting = 0

    def begin(self) -> bool:
        """Count a task that waits for something to come.

        Returns:
            Whether it has to call :meth:`receive`, as no other task does so.
        """
        self._waiting += 1
        worker = self.worker
        return worker is not None and self._waiting == 1 and worker.can_be_driven

    async def receive(self) -> None:
        """Receive something, of whatever stream; :meth:`begin` must have said so just before."""
        assert self.worker is not None
        await self.worker.drive()

    def end(self) -> None:
        """Count a task no more that has called :meth:`begin`."""
        self._waiting -= 1
        if self._waiting and self.worker is not None:
            self.worker.read_alone()

    def stop(self) -> None:
        """Let the task look again that is in :meth:`receive`, if one is."""
        if self.worker is not None:
            self.worker.stop_driving()

    def expect(self, worker: PathWorker) -> None:
        """Leave a path to the task that was waked up: it is going to :meth:`begin` again."""
        if self._waiting == 1:
            worker.expect_driver()
