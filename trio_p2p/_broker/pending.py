"""The introductions that receivers have yet to answer. Sans-IO."""

from __future__ import annotations

from .._wire.messages import RefusalCode
from .connection import Introduction, Registration
from .refusals import refuse


class Pending:
    """Introductions by their identifier and by the registration that they are for."""

    def __init__(self) -> None:
        self._introductions: dict[bytes, Introduction] = {}
        self._of_receiver: dict[Registration, dict[bytes, Introduction]] = {}  # the same

    def __len__(self) -> int:
        """How many there are."""
        return len(self._introductions)

    def add(self, introduction: Introduction) -> None:
        """Remember an introduction that its receiver is asked for."""
        self._introductions[introduction.identifier] = introduction
        of_receiver = self._of_receiver.setdefault(introduction.receiver, {})
        of_receiver[introduction.identifier] = introduction

    def remove(self, introduction: Introduction) -> None:
        """Forget an introduction that is answered, or whose sender does not wait any more."""
        del self._introductions[introduction.identifier]
        of_receiver = self._of_receiver[introduction.receiver]
        del of_receiver[introduction.identifier]
        if not of_receiver:
            del self._of_receiver[introduction.receiver]

    def get_untrusted(self, identifier: bytes) -> Introduction:
        """The introduction that a receiver answers.

        Raises:
            RefusalError: there is none.
        """
        introduction = self._introductions.get(identifier)
        if introduction is None:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "there is no such introduction, or no more")
        return introduction

    def get_classic_untrusted(self, identifier: bytes) -> Introduction:
        """The classic introduction that a receiver answers.

        Raises:
            RefusalError: there is none.
        """
        introduction = self.get_untrusted(identifier)
        if introduction.grant is not None:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is for a relay")
        return introduction

    def get(self, identifier: bytes) -> Introduction | None:
        """The introduction of an identifier; None if there is none, or no more."""
        return self._introductions.get(identifier)

    def of(self, receiver: Registration) -> list[Introduction]:
        """Those that one registration's receiver has yet to answer."""
        return list(self._of_receiver.get(receiver, {}).values())
