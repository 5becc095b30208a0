"""How tests are written: they wait for conditions, are short enough to be read, and name what is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.shortened import assignment

HERE: Final = Path(__file__).parent
LONGEST: Final = 400  # lines
SLEEPS: Final = ("asyncio.sleep", "time.sleep")
FILES: Final = {str(file.relative_to(HERE)): file.read_text() for file in sorted(HERE.rglob("*.py"))}
# A key of tests.support.shortened.
_CONSTANT: Final = re.compile(r"[a-z_]+(\.[a-z_]+)*\.([A-Z][A-Z_]+|[A-Z]\w+\(\w+\))")


def bare_sleeps(text: str) -> Iterator[int]:
    """The lines on which a test sleeps, and does not say why with a comment "# sleep: ...". A sleep of 0 is a turn of
    the event loop."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in SLEEPS:
            is_turn = isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            if not is_turn and not re.search(r"  # sleep: \w", lines[node.lineno - 1]):
                yield node.lineno


def test_nothing_sleeps_where_it_can_wait() -> None:
    """`until` (tests/support/kube.py) and `wait_for` (tests/support/sandbox.py) wait for a condition, up to a deadline.
    What is slept for on purpose, a rival's pace or a fault's duration, says so."""
    assert not [f"{name}:{line}" for name, text in FILES.items() for line in bare_sleeps(text)]


def test_a_bare_sleep_is_seen() -> None:
    text = "await asyncio.sleep(1)\ntime.sleep(0.1)\nawait asyncio.sleep(0)\nawait asyncio.sleep(2)  # sleep: a fault\n"
    assert sorted(bare_sleeps(text)) == [1, 2]


def test_no_file_is_too_long_to_be_read() -> None:
    assert not {name: length for name, text in FILES.items() if (length := len(text.splitlines())) > LONGEST}


def test_constants_that_cluster_tests_shorten_are_there() -> None:
    """So that a renamed one is found here, and not by a test that waits for minutes."""
    keys = {
        node.value
        for name, text in FILES.items()
        if name.startswith("cluster/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CONSTANT.fullmatch(node.value)
    }
    assert len(keys) > 10
    for key in keys:
        assert assignment(key, 1.0)
    for gone in ("engine.controller.NONE", "kube.informer.Informer(none)"):
        with pytest.raises(AssertionError):
            assignment(gone, 1.0)
