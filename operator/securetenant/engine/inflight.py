"""Our own writes in flight: the watch reports them as events too, often before their answer arrives.

While a write to an object is in flight, events of that object are held back; when the answer arrives, events that are
not newer than it are dropped and the others are delivered. Without this every tenant would be reconciled twice: once
for an event, and once more for the event of our own write.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from securetenant.model.objects import Ref


@dataclass(slots=True)
class Write:
    """One object with writes in flight. `answered`: the newest resourceVersion in an answer so far."""

    under_way: int = 0
    answered: int = 0
    held: list[tuple[int, Callable[[], None]]] = field(default_factory=list)

    def answer(self, version: int) -> None:
        """Note the answer's resourceVersion."""
        self.answered = max(self.answered, version)


class WritesInFlight:
    """Single event loop."""

    def __init__(self) -> None:
        self._writes: dict[Ref, Write] = {}

    def hold(self, ref: Ref, event_type: str | None, version: int, deliver: Callable[[], None]) -> bool:
        """Whether this event of an object is held back; if so, `deliver` is called when the write has ended, unless the
        event is our own write. A deletion is never held back.
        """
        write = self._writes.get(ref)
        if write is None or event_type == "DELETED":
            return False
        write.held.append((version, deliver))
        return True

    @contextlib.contextmanager
    def writing(self, ref: Ref) -> Iterator[Write]:
        """A write to `ref`: pass its answer to `Write.answer`. Without an answer all held events are delivered."""
        write = self._writes.setdefault(ref, Write())
        write.under_way += 1
        try:
            yield write
        finally:
            write.under_way -= 1
            if not write.under_way:
                del self._writes[ref]
                for version, deliver in write.held:
                    if version > write.answered:
                        deliver()
