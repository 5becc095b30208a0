"""kopf's settings: it only watches; it writes nothing and stores nothing."""

from collections.abc import Iterable
from typing import Any

import kopf

from securetenant.model import names


def settings(*, answer: float, silent: float, backoffs: Iterable[float], page: int) -> kopf.OperatorSettings:
    """`answer`: how long an answer may take; `silent`: after how long without data a watch is abandoned; `backoffs`:
    the pauses between retries (all in seconds); `page`: objects per page of a list."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True  # without the CRD kopf is restarted, so it needs no rights over CRDs
    made.process.ultimate_exiting_timeout = None  # it would kill this process, not only its thread
    made.watching.server_timeout = 300
    made.watching.connect_timeout = answer
    made.watching.inactivity_timeout = silent
    made.watching.chunk_size = page  # in kopf, each item of a page takes 25 KB
    made.queueing.worker_limit = 100
    made.queueing.idle_timeout = 0.01
    made.queueing.exit_timeout = 0.1  # after a relist, events that an old kopf still holds are useless
    made.networking.request_timeout = answer
    made.networking.connect_timeout = answer
    made.networking.error_backoffs = backoffs
    made.persistence.progress_storage = _NoProgress()
    made.persistence.diffbase_storage = _NoDiffBase()
    # Not our finalizer: kopf removes its own from objects for which no handler needs it, and we need ours.
    made.persistence.finalizer = f"{names.GROUP}/not-in-use"
    return made


class _NoProgress(kopf.ProgressStorage):
    """Stores nothing on the objects: our only handler has no progress to keep."""

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
    """Makes no deep copies for differences that nobody uses: this doubles the event rate."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None
