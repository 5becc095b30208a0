"""Our own writes come back on the watch, often before their answer does. They are no news.

While a write of ours to an object is under way, what the watch says of that object is held back; when the answer
is there, what is not newer than it is dropped, and the rest is told. Without this every tenant would be worked on
twice: once for an event, once for the echo of what was written for it.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from securetenant.model.objects import Ref


@dataclass(slots=True)
class Write:
    """One object to which writes are under way. `answered`: the newest version that an answer held."""

    under_way: int = 0
    answered: int = 0
    held: list[tuple[int, Callable[[], None]]] = field(default_factory=list)

    def answer(self, version: int) -> None:
        """Take note of the answer's resourceVersion."""
        self.answered = max(self.answered, version)


class Echoes:
    """The writes under way. Single event loop."""

    def __init__(self) -> None:
        self._writes: dict[Ref, Write] = {}

    def hold(self, ref: Ref, event_type: str | None, version: int, tell: Callable[[], None]) -> bool:
        """Whether this news of an object is held back; then `tell` is called when the write is over, if it is news.

        A deletion is always news.
        """
        write = self._writes.get(ref)
        if write is None or event_type == "DELETED":
            return False
        write.held.append((version, tell))
        return True

    @contextlib.contextmanager
    def writing(self, ref: Ref) -> Iterator[Write]:
        """A write to `ref`, to be told of its answer. Without an answer all that was held back is news."""
        write = self._writes.setdefault(ref, Write())
        write.under_way += 1
        try:
            yield write
        finally:
            write.under_way -= 1
            if not write.under_way:
                del self._writes[ref]
                for version, tell in write.held:
                    if version > write.answered:
                        tell()
