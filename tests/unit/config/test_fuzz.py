"""Any text as a configuration: read, or refused with what is wrong and where."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.config.test_cluster import GOOD
from tests.unit.fuzzing import HUGE_NUMBER, TOO_DEEP, json_values

from twinhull.config import InvalidConfigError, parse_cluster, parse_node
from twinhull.errors import ConfigError, UsageError

WORDS = re.findall(r"[\w./-]+|[{}\[\],:]|\n *", GOOD)
ODD = ("0", "-1", "1e400", "99999999999999999999", ".nan", ".inf", "~", "yes", "''", "!!python/none", "*x", "&x",
       "{}", "[]", "2026-11-23", "0x10", "1_000", "\u2028", "\x85", "\0", "10.77.1.1", "::1", "-3 MiB")  # fmt: skip
texts = st.text(max_size=200) | st.sampled_from(
    [TOO_DEEP[:5000], "{" * 5000, "a: " + HUGE_NUMBER, "- " * 3000]
)


def refused_or_read(text: str) -> None:
    """Both readers, on one text."""
    for read in (parse_cluster, parse_node):
        try:
            read(text)
        except (ConfigError, UsageError) as error:
            assert str(error)


@settings(max_examples=300)
@given(texts)
def test_any_text_is_refused_with_a_sentence(text: str) -> None:
    refused_or_read(text)


@settings(max_examples=200)
@given(json_values)
def test_any_value_is_refused_with_a_sentence(value: object) -> None:
    refused_or_read(json.dumps(value))


@settings(max_examples=400)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_a_good_configuration_with_other_words_in_it_is_read_or_refused(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    words = list(WORDS)
    for _ in range(changes):
        words[chance.randrange(len(words))] = chance.choice((*ODD, *WORDS))
    refused_or_read(" ".join(words).replace(" :", ":"))
    spans = [match.span() for match in re.finditer(r"(?<=: )[\w./-]+", GOOD)]
    begin, end = chance.choice(spans)
    refused_or_read(GOOD[:begin] + chance.choice(ODD) + GOOD[end:])


@settings(max_examples=100)
@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_one_changed_character_is_read_or_refused(position: int, character: str) -> None:
    refused_or_read(GOOD[:position] + character + GOOD[position + 1 :])


def test_a_configuration_that_is_far_too_long_is_refused_at_once() -> None:
    with pytest.raises(InvalidConfigError, match="larger than"):
        parse_cluster("# " + "x" * (64 << 20))
