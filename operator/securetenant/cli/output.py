"""Output of the commands: colour, errors without tracebacks, no control characters that reach a terminal."""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console


class Form(StrEnum):
    """The forms of output."""

    text = "text"
    json = "json"


class Report(StrEnum):
    """The forms in which problems are reported."""

    text = "text"
    json = "json"
    sarif = "sarif"
    junit = "junit"


NoColor = Annotated[bool, typer.Option("--no-color", help="No colours, as with NO_COLOR in the environment.")]
Output = Annotated[Form, typer.Option("--output", "-o", help="text for people, json for programs.")]


def fail(message: str, code: int) -> NoReturn:
    """Print the message on stderr, and exit with this code."""
    for line in message.splitlines():
        print(f"error: {printable(line)}", file=sys.stderr)
    raise typer.Exit(code)


def printable(text: str) -> str:
    """The text with control characters escaped: names and values come from other people's files and clusters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def console(ctx: typer.Context, no_color: bool) -> "Console":
    """A console on stdout that writes no escapes unless it is a terminal and colour is wanted."""
    from rich.console import Console

    plain = no_color or is_colorless(ctx)
    return Console(color_system=None if plain else "auto", highlight=False, markup=False, emoji=False, soft_wrap=True)


def is_colorless(ctx: typer.Context) -> bool:
    return bool(ctx.obj) or bool(os.environ.get("NO_COLOR"))


def print_json(value: Any) -> None:
    """One JSON value, indented, keys in the order given."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def count(number: int, word: str, plural: str = "") -> str:
    """ "1 file", "2 files"."""
    return f"{number} {word if number == 1 else plural or word + 's'}"


@contextlib.contextmanager
def told_if_slow(what: str, after: float = 1.0) -> Iterator[None]:
    """Say on stderr what is being done, if it takes longer than so many seconds."""
    timer = threading.Timer(after, lambda: print(f"{printable(what)} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
