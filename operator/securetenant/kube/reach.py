"""Saying what goes on and on: once, with the cause, and then rarely."""

import logging
import time
from collections.abc import Callable
from typing import Final

from securetenant.kube.errors import ApiError

log = logging.getLogger(__name__)

SAY_AGAIN: Final = 60.0  # seconds between two lines about the same


class Rarely:
    """Whether to say a text: when it is new, and once a minute while it stays the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._text: str | None = None
        self._said = 0.0

    def __call__(self, text: str) -> bool:
        if text == self._text and self._clock() - self._said < SAY_AGAIN:
            return False
        self._text, self._said = text, self._clock()
        return True


class Reach:
    """Whether the API server answers, told by those who ask it. That it does not is said once for all of them, then
    once a minute, and that it does again once."""

    def __init__(self, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._since: float | None = None  # of the first failure since the last answer
        self._said: float | None = None
        self._is_told = False  # of this outage

    def failed(self, error: ApiError) -> None:
        now = self._clock()
        self._since = now if self._since is None else self._since
        if self._said is not None and now - self._said < SAY_AGAIN:
            return
        self._said, self._is_told = now, True
        lasting = f", for {now - self._since:.0f} s now" if now - self._since >= 1 else ""
        log.warning("cannot reach the API server at %s%s: %s", self._server, lasting, error.message)

    def answered(self) -> None:
        if self._since is None:
            return
        if self._is_told:
            log.info("the API server answers again, after %.1f s", self._clock() - self._since)
        self._since, self._is_told = None, False
