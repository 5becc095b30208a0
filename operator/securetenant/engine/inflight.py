"""Our own writes in flight: they come back as events of the watch, often before their answer does, and are no news.

While a write of ours to an object is under way, events of that object are held back; when the answer is there, those
that are not newer than it are dropped, and the others are handed on. Without this every tenant would be reconciled
twice: once for an event, and once for the event of what was written for it.
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


class WritesInFlight:
    """Single event loop."""

    def __init__(self) -> None:
        self._writes: dict[Ref, Write] = {}

    def hold(self, ref: Ref, event_type: str | None, version: int, hand_on: Callable[[], None]) -> bool:
        """Whether this event of an object is held back; then `hand_on` is called when the write is over, if it is news.

        A deletion is always news.
        """
        write = self._writes.get(ref)
        if write is None or event_type == "DELETED":
            return False
        write.held.append((version, hand_on))
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
                for version, hand_on in write.held:
                    if version > write.answered:
                        hand_on()
