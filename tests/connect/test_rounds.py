"""One round after the other: what each of them says counts for itself."""

import pytest

from trio_p2p import Attempt, Outcome, Technique
from trio_p2p._connect import rounds as rounds_module
from trio_p2p._connect.rounds import ROUNDS, NoWayError, Round, Search, open_in_rounds
from trio_p2p._control.control import Control
from trio_p2p._wire.messages import StreamKind

from ..kit.attempts import NotedAttempts
from ..kit.controls import control_by

TECHNIQUES = (Technique.FAST, Technique.CLASSIC)


async def rounds_and_attempts(*outcomes: Outcome) -> tuple[list[Round], list[Attempt]]:
    """Which rounds there are, and what is told of them, if these are their outcomes."""
    search = Search("uid", StreamKind.RAW, TECHNIQUES, NotedAttempts())
    rounds: list[Round] = []
    rest = list(outcomes)

    async def open_in_round(_: Control, round_: Round) -> Outcome:
        rounds.append(round_)
        return rest.pop(0) if rest else Outcome.SILENT

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds_module, "_open", open_in_round)
        with pytest.raises(NoWayError):
            await open_in_rounds(control_by(4), search)
    return rounds, search.attempts.ended


async def test_round_in_which_nothing_was_attempted_is_an_attempt_without_answer() -> None:
    rounds, attempts = await rounds_and_attempts()
    assert len(rounds) == len(attempts) == len(ROUNDS[Technique.FAST] + ROUNDS[Technique.CLASSIC])
    assert {attempt.outcome for attempt in attempts} == {Outcome.SILENT}


async def test_only_the_attempts_of_a_round_say_what_follows_it() -> None:
    # Had the first round's outcome still counted in the second one, that would be the last.
    rounds, _ = await rounds_and_attempts(Outcome.NOT_TRIED)
    assert [each.technique for each in rounds] == [Technique.FAST, *[Technique.CLASSIC] * 2]
    rounds, _ = await rounds_and_attempts(Outcome.RULED_OUT)
    assert len(rounds) == 1
