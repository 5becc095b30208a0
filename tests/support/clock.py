"""The module `time`, as a module under test reads it instead of the real one."""


class Clock:
    """Stands still unless it is moved on. Put it in the module's `time`: an event loop's own timers go on by theirs."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now
