"""Progress of something long on standard error: a live line on a terminal, otherwise a line every 15 seconds."""

import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sandbox import process

EVERY_SECONDS = 15.0
_CONSOLE = Console(stderr=True)


@dataclass(slots=True)
class Note:
    """What is going on, for the line that is shown; whoever works sets ``text``."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Exit code and the last lines of a command's output (both streams)."""

    code: int
    output: str


@contextmanager
def shown(what: str) -> Iterator[Note]:
    """Show ``what``, the note's text and the time that has passed, until the block ends."""
    note = Note()
    begin = time.monotonic()
    done = threading.Event()
    if _CONSOLE.is_terminal:
        line = _live
    else:
        line = _lines
        print(f"{what} ...", file=sys.stderr, flush=True)
    thread = threading.Thread(target=line, args=(what, note, begin, done), daemon=True)
    thread.start()
    try:
        yield note
    finally:
        done.set()
        thread.join()
    _CONSOLE.print(f"{what}: {_elapsed(begin)}", highlight=False)


def run(what: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> Result:
    """Run a command with :func:`shown`; its last line is the note (``go build -v`` has one per package).

    The command ends with this process. Ctrl-C ends it and is raised again.
    """
    kept: deque[str] = deque(maxlen=40)
    with (
        shown(what) as note,
        subprocess.Popen(
            arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # SIGINT, upon which go removes its work folder; the forking thread waits here for the child
            preexec_fn=process.die_with_parent(signal.SIGINT),
        ) as child,
    ):
        assert child.stdout is not None
        try:
            count = 0
            for line in child.stdout:
                kept.append(line.rstrip())
                if line.startswith("go: downloading"):
                    note.text = line.removeprefix("go: ").strip()
                else:
                    count += 1
                    note.text = f"{count} packages, {line.strip()}"
        except BaseException:
            child.send_signal(signal.SIGINT)
            raise
    return Result(child.returncode, "\n".join(kept))


def _elapsed(begin: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - begin), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _live(what: str, note: Note, begin: float, done: threading.Event) -> None:
    with _CONSOLE.status(what) as status:
        while not done.wait(0.5):
            width = max(20, _CONSOLE.width - len(what) - 20)
            status.update(f"{what} [dim]{_elapsed(begin)}  {note.text[:width]}[/dim]")


def _lines(what: str, note: Note, begin: float, done: threading.Event) -> None:
    while not done.wait(EVERY_SECONDS):
        print(f"{what}: {_elapsed(begin)} so far; {note.text}", file=sys.stderr, flush=True)
