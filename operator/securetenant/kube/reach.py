"""Rate-limited logging of lasting conditions: at once, with the cause, and then once a minute."""

import logging
import time
from collections.abc import Callable
from typing import Final

from securetenant.kube.errors import ApiError

log = logging.getLogger(__name__)

SAY_AGAIN: Final = 60.0  # seconds between two lines about the same


class Rarely:
    """Whether to log a text: when it is new, and once a minute while it stays the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._text: str | None = None
        self._logged = 0.0

    def __call__(self, text: str) -> bool:
        if text == self._text and self._clock() - self._logged < SAY_AGAIN:
            return False
        self._text, self._logged = text, self._clock()
        return True


class Reach:
    """Logs whether the API server answers, as reported by its clients: once for all of them when it stops answering,
    then once a minute, and once when it answers again."""

    def __init__(self, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._since: float | None = None  # of the first failure since the last answer
        self._logged: float | None = None
        self._is_logged = False  # of this outage

    def failed(self, error: ApiError) -> None:
        now = self._clock()
        self._since = now if self._since is None else self._since
        if self._logged is not None and now - self._logged < SAY_AGAIN:
            return
        self._logged, self._is_logged = now, True
        lasting = f", for {now - self._since:.0f} s now" if now - self._since >= 1 else ""
        log.warning("cannot reach the API server at %s%s: %s", self._server, lasting, error.message)

    def answered(self) -> None:
        if self._since is None:
            return
        if self._is_logged:
            log.info("the API server answers again, after %.1f s", self._clock() - self._since)
        self._since, self._is_logged = None, False
