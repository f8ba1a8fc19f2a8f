"""When two nodes count as serving at the same time, from the answers of their agents alone."""

from __future__ import annotations

from tests.integration.failover.watching import Look, Row, both_serve, longer

SERVES = {"state": "PRIM", "colour": "green", "holding": False}
HOLDS = {**SERVES, "holding": True}
WAITS = {**SERVES, "state": "WAIT"}


def row(*looks: tuple[float, float], words: dict[str, object] | None = SERVES) -> Row | None:
    """What the answers, (asked, answered) each, make."""
    made: Row | None = None
    for asked_s, at_s in looks:
        made = longer(made, Look(asked_s, at_s, words))
    return made


def test_two_that_say_so_again_and_again_serve_both() -> None:
    old = row((1.0, 1.1), (1.2, 1.3), (2.2, 2.3), (2.4, 2.5))
    new = row((2.0, 2.1), (2.2, 2.3), (2.4, 2.5))
    assert both_serve(old, new)
    assert both_serve(new, old)


def test_an_answer_from_before_the_other_began_proves_nothing() -> None:
    late = row((1.0, 1.1), (1.2, 1.3), (1.9, 2.6))
    assert not both_serve(late, row((2.0, 2.1), (2.2, 2.3), (2.4, 2.5)))


def test_one_question_after_the_other_began_is_not_enough() -> None:
    once = row((1.0, 1.1), (1.9, 2.2), (2.3, 2.4))
    assert not both_serve(once, row((2.0, 2.1), (2.2, 2.3), (2.4, 2.5)))


def test_whoever_holds_or_waits_or_is_silent_ends_the_row() -> None:
    for words in (HOLDS, WAITS, None):
        assert longer(row((1.0, 1.1), (1.2, 1.3)), Look(2.0, 2.1, words)) is None
        assert not both_serve(longer(None, Look(2.0, 2.1, words)), row((2.0, 2.1), (2.2, 2.3)))


def test_after_a_pause_the_row_begins_anew() -> None:
    began = longer(longer(row((1.0, 1.1)), Look(1.2, 1.3, HOLDS)), Look(2.0, 2.1, SERVES))
    assert began == Row(2.1, None, 2.0)
