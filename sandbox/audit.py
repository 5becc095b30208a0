"""Read the audit log: which requests the API server really got, by whom, and what it answered."""

import json
import os
from pathlib import Path
from typing import Any


def read(log: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The events written after the byte ``offset``, in order, and the offset to go on from.

    A line that is still being written is left for the next call. A finished request has ``stage``
    ``ResponseComplete``; a watch has ``ResponseStarted`` when it begins.
    """
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


def end(log: Path) -> int:
    """The offset after the last whole line: from there on only what is asked from now on is read."""
    with log.open("rb") as file:
        # At the level Metadata no line is nearly as long as that.
        start = max(0, file.seek(0, os.SEEK_END) - 2**20)
        file.seek(start)
        return start + file.read().rfind(b"\n") + 1


def requests(log: Path, user: str, offset: int = 0) -> tuple[list[str], int]:
    """``"verb /uri"`` of each finished request of ``user`` (``system:serviceaccount:ns:name``), and the new offset."""
    events, after = read(log, offset)
    # A request that was not authenticated has no user's name.
    mine = (e for e in events if e["user"].get("username") == user and e["stage"] == "ResponseComplete")
    return [f"{event['verb']} {event['requestURI']}" for event in mine], after
