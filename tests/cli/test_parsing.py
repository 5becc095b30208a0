"""The two readers of `cli/parsing.py` read the same, and refuse the same."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from securetenant.cli import parsing
from securetenant.cli.parsing import Parsed, Refused, parse
from tests.support.sandbox import ROOT

SCALARS = ["a", "b", "~", "on", "010", "1e3", "12:30", "'on'", '"a\\nb"', "!!str 1", "&x y", "*x", "2027-03-31", "''"]
LINES = [
    *(f"{indent}{key}: {value}" for indent in ("", "  ", "    ") for key in ("a", "b", "1", "on") for value in SCALARS),
    *("a:", "  b:", "- a", "- a: b", "  - c", "- [1, 2]", "a: {b: c, d: [e]}", "a: |", "    text", "  text", "---"),
    *("--- a", "--- # c", "...", "# comment", "", "a: [", "]", "<<: {a: 1}", "? [a]", "a: 'b", "'", "%YAML 1.1", "\t"),
    *("a: {{ .Values.x }}", "---x", " ---", "a: >-", "\ufeffa: b", "a: b\r", "a: \x85b"),
]


def outcome(text: str) -> list[tuple[Any, ...]]:
    return [
        ("refused", str(one), one.line) if isinstance(one, Refused) else (one.value, one.line, dict(one.marks()))
        for one in parse(text)
    ]


def carefully(text: str) -> list[tuple[Any, ...]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "_plain", _give_up)
        return outcome(text)


def _give_up(text: str) -> Any:
    raise parsing._Unusual


@given(st.lists(st.sampled_from(LINES), max_size=14).map("\n".join))
@example("a: 1\n---\nb: [\n---\nc: 3\n")
@example("a: &x [1]\nb: *x\n---\nb: *x\n")
@example("---\n--- |\n text\n---\n...\n")
def test_both_readers_agree(text: str) -> None:
    assert outcome(text) == carefully(text)


@given(st.lists(st.sampled_from(LINES), max_size=14).map("\n".join))
def test_a_text_is_cut_where_documents_begin(text: str) -> None:
    """Where all of it is YAML, each document is what it is in the whole."""
    try:
        whole = [loaded for loaded in yaml.load_all(text, yaml.BaseLoader) if loaded not in (None, "")]
    except yaml.YAMLError:
        return
    with_text = [one for one in parse(text) if isinstance(one, Parsed)]
    if any(isinstance(one, Refused) for one in parse(text)):
        return
    lines = [node.start_mark.line + 1 for node in yaml.compose_all(text, yaml.BaseLoader)]
    assert len(with_text) >= len(whole) - text.count("~")
    assert {one.line for one in with_text} <= set(lines)


def test_what_is_usual_is_read_in_one_go() -> None:
    for path in [*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("manifests/**/*.yaml")]:
        text = path.read_text()
        assert outcome(text) == carefully(text), path
        for part, _ in parsing._parts(text):
            parsing._plain(part)


def test_one_bad_document_does_not_hide_the_others() -> None:
    first, second, third, fourth = parse("a: 1\n---\nb: [\n---\nc: 1\nc: 2\n---\nd: 4\n")
    assert isinstance(first, Parsed)
    assert isinstance(second, Refused)
    assert isinstance(third, Refused)
    assert isinstance(fourth, Parsed)
    assert (first.value, fourth.value) == ({"a": 1}, {"d": 4})
    assert (first.line, third.line, fourth.line) == (1, 6, 8)
    assert "first in line 5" in str(third)


def test_lines_after_the_cut() -> None:
    *_, last = parse("a: 1\n---\n# b\nb:\n- c: 1\n")
    assert isinstance(last, Parsed)
    assert last.marks()["b", 0, "c"].line == 5


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\ud83d", "\ufffd"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
    ],
)
def test_half_a_surrogate_pair_is_read_as_by_go(written: str, value: str) -> None:
    (parsed,) = parse(f'{{"a": "{written}"}}')
    assert isinstance(parsed, Parsed)
    assert parsed.value == {"a": value}
