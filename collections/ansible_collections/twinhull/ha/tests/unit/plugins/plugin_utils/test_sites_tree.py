# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""YAML becomes a tree that knows its lines, and the user's own values are cut out whole."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import (
    MAX_DEPTH,
    Mapping,
    Problems,
    Scalar,
    Span,
    free_document,
    parse,
)


def parse_good(text: str) -> Mapping:
    problems = Problems()
    tree = parse(text, problems)
    assert tree is not None
    assert problems.found == []
    return tree


def told(text: str) -> list[tuple[int, str]]:
    problems = Problems()
    parse(text, problems)
    return [(problem.line, problem.message) for problem in problems.sorted()]


def spans_of(tree: Mapping) -> list[Span]:
    found = []
    for entry in tree.entries.values():
        if isinstance(entry.value, Mapping):
            found += [entry.value.span] if entry.value.span else spans_of(entry.value)
    return found


def test_scalars_keep_their_text_and_line() -> None:
    tree = parse_good("a: off\nb:\n  c: 02:00\n  d: ~\n")
    assert tree.entries["a"].value == Scalar("off", 1)
    inner = tree.entries["b"].value
    assert isinstance(inner, Mapping)
    assert inner.entries["c"].value == Scalar("02:00", 3)
    assert inner.entries["d"].value == Scalar("~", 4, null=True)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file must begin with keys and values"),
        ("- a\n", 1, "the file must begin with keys and values"),
        ("a: 1\na: 2\n", 2, "the key 'a' stands here twice (first in line 1)"),
        ("a: [1\nb: 2\n", 2, "this is not valid YAML"),
        ("a: \x07\n", 1, "a character that is not allowed"),
        ("a: &x 1\nb: *x\n", 2, "anchors and aliases"),
        ("a: !vault x\n", 1, "the tag '!vault' is not supported outside of 'vars'"),
        ("a: '{{ b }}'\n", 1, "templates are read under 'vars' only"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins here"),
        ("? [a, b]\n: 1\n", 1, "a key must be a plain word"),
    ],
)
def test_what_is_not_accepted_is_told_with_its_line(text: str, line: int, message: str) -> None:
    assert any(number == line and message in said for number, said in told(text)), told(text)


def test_nesting_without_end_is_refused_before_it_costs_anything() -> None:
    assert told("a: " + "[" * 100_000) == [(1, f"nested deeper than {MAX_DEPTH} levels")]


def test_aliases_that_grow_are_refused_without_growing() -> None:
    text = "a: &a [x]\n" + "".join(
        f"{key}: &{key} [*{before}, *{before}]\n" for before, key in zip("abcde", "bcdef", strict=True)
    )
    assert {message for _line, message in told(text)} == {
        "anchors and aliases (&, *) are not supported: write the value out, or use 'defaults'"
    }


def test_tags_of_ansible_are_let_through_below_vars_only() -> None:
    assert told("vars:\n  a: !vault |\n    $ANSIBLE_VAULT\n  b: [!unsafe x]\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "vars: {a: 1, b: [2, 3]}\n",
        "x:\n  vars:\n    a: |\n      one\n      two\n\n    b: 2\n  y: 3\n",
        "x: {vars: {a: 1}, y: {vars: {b: 2}}}\n",
        "x:\n  vars:\n    a: 1\n  # a comment\ny:\n  vars: {b: 'c: d # no comment'}   # a comment\n",
        "x:\n    vars:\n        é: ü\n        a: >-\n          folded\n          text\nz:\n  vars:\n    n: 1",
        "x:\r\n  vars:\r\n    a: 1\r\n    b: 2\r\ny: 2\r\n",
    ],
)
def test_the_users_values_are_cut_out_whole_and_in_their_lines(text: str) -> None:
    whole = yaml.safe_load(text)
    spans = sorted(spans_of(parse_good(text)))
    document = free_document(text, spans)
    found = yaml.safe_load(document)
    assert found == list(_vars_in(whole))
    root = yaml.compose(document, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.SequenceNode)
    lines = [node.start_mark.line for node in root.value]
    assert all(line >= span.line for line, span in zip(lines, spans, strict=True))
    assert lines[0] == spans[0].line


def _vars_in(value: dict[str, object]) -> list[object]:
    found: list[object] = []
    for key, inner in value.items():
        if key == "vars":
            found.append(inner)
        elif isinstance(inner, dict):
            found += _vars_in(inner)
    return found
