"""Which deviations of a tenant were counted already: in memory while the process runs, in the status across restarts.

The status lists 20 deviations and holds a digest of each of the others. 32 bits are enough to tell "counted before"
from "new": among 2,048 known ones, a new one is mistaken for a known one once in two million times, and even then it is
in the totals.
"""

import base64
import binascii
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from securetenant.api.status import DriftItem, DriftStatus
from securetenant.controls.lookup import KINDS
from securetenant.model.objects import Ref

MOST: Final = 2048  # digests in a status; deviations beyond it are counted again after a restart
_LENGTH: Final = 4  # bytes

Key = tuple[Ref, str]  # the object and the reason


@dataclass(frozen=True, slots=True)
class Known:
    """The deviations after the last pass: listed ones with their field managers (or ""), and digests of those of which
    the status kept nothing else."""

    managers: Mapping[Key, str]
    digests: Collection[bytes] = frozenset()

    def __contains__(self, key: Key) -> bool:
        return key in self.managers or (bool(self.digests) and digest(key) in self.digests)


def of_status(drift: DriftStatus) -> Known:
    """What the last process knew, out of the status."""
    return Known({_key(item): item.manager for item in drift.items if item.kind in KINDS}, _unpacked(drift.unlisted))


def digest(key: Key) -> bytes:
    ref, reason = key
    return hashlib.sha256("\0".join((reason, ref.kind.key, ref.namespace, ref.name)).encode()).digest()[:_LENGTH]


def packed(digests: Iterable[bytes]) -> str:
    """The digests as text for the status: the same text for the same set."""
    return base64.b64encode(b"".join(sorted(set(digests))[:MOST])).decode()


def unlisted(drift: DriftStatus) -> str:
    """Digests of everything a status knows, listed or not: for a status that lists no deviations."""
    return packed({*_unpacked(drift.unlisted), *(digest(_key(item)) for item in drift.items if item.kind in KINDS)})


def _key(item: DriftItem) -> Key:
    return Ref(KINDS[item.kind], item.namespace, item.name), item.reason


def _unpacked(text: str) -> frozenset[bytes]:
    """The digests in a text of the status; none if the text is not base64."""
    try:
        whole = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return frozenset()
    return frozenset(whole[at : at + _LENGTH] for at in range(0, len(whole), _LENGTH))
