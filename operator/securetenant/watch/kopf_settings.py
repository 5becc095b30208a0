"""kopf's settings: it watches, and neither writes nor keeps anything."""

from collections.abc import Iterable
from typing import Any

import kopf

from securetenant.model import names


def settings(*, answer: float, silent: float, backoffs: Iterable[float], page: int) -> kopf.OperatorSettings:
    """`answer`: how long one may take (seconds); `silent`: after which silence a watch is given up; `backoffs`: the
    pauses between tries; `page`: objects of one page of a list."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True  # the CRD is there, or kopf is started anew; no rights over CRDs are needed
    made.process.ultimate_exiting_timeout = None  # it would kill this process, and not its thread alone
    made.watching.server_timeout = 300
    made.watching.connect_timeout = answer
    made.watching.inactivity_timeout = silent
    made.watching.chunk_size = page  # each item of a page is 25 KB of Python at kopf's
    made.queueing.worker_limit = 100
    made.queueing.idle_timeout = 0.01
    made.queueing.exit_timeout = 0.1  # who lists anew has no use for events that an old one still holds
    made.networking.request_timeout = answer
    made.networking.connect_timeout = answer
    made.networking.error_backoffs = backoffs
    made.persistence.progress_storage = _NoProgress()
    made.persistence.diffbase_storage = _NoDiffBase()
    # Not ours: kopf takes its own finalizer off whatever no handler of its needs it on, and we need ours.
    made.persistence.finalizer = f"{names.GROUP}/not-in-use"
    return made


class _NoProgress(kopf.ProgressStorage):
    """Nothing is stored on the objects: our one handler keeps no progress."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class _NoDiffBase(kopf.DiffBaseStorage):
    """No deep copies to tell differences that nobody asks for: twice the event rate."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None
