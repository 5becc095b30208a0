"""The commitment to create a namespace: after a crash, it proves that we created a namespace.

The status records by UID which namespaces a tenant holds, but a UID is known only once the namespace exists, and the
process may die in between. So the digest of a fresh random value is written to the SecureTenant first, and then the
namespace is created with the value itself. Nobody can derive the value from the digest, and the value is useless once
the UID is recorded: from then on the commitment is used up for ever.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from securetenant.api.status import NamespaceStatus
from securetenant.api.tenant import SecureTenant
from securetenant.model import names
from securetenant.model.objects import Observed

# How many digests are kept per namespace: a request of a killed process may still be carried out later.
_KEPT: Final = 3


class Commitment(msgspec.Struct, frozen=True):
    """A commitment to create one namespace. `after`: the UID that the status recorded for its name when it was made
    ("": none). `digests`: those of the values that it may be created with, the newest last."""

    after: str = ""
    digests: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(dict[str, Commitment]).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def digest(tenant: SecureTenant, namespace: str, value: str) -> str:
    """SHA-256 of a value, bound to the namespace's name and the tenant's UID: a copy of the value in another
    namespace, or of the commitment in a SecureTenant that was restored from a backup, proves nothing."""
    return hashlib.sha256(msgspec.json.encode([tenant.metadata.uid, namespace, value])).hexdigest()


def pending(tenant: SecureTenant) -> dict[str, Commitment]:
    """The valid commitments, by namespace: not used up, and no UID recorded for the name since."""
    text = tenant.metadata.annotations.get(names.ANNOTATION_CREATING, "")
    if not text:
        return {}
    uids = {entry.name: entry.uid for entry in tenant.status.namespaces}
    used = set(tenant.status.used_commitments)
    return {
        name: Commitment(given.after, unused)
        for name, given in _read(text).items()
        if given.after == uids.get(name, "") and (unused := tuple(d for d in given.digests if d not in used))
    }


def proves(tenant: SecureTenant, namespace: Observed) -> bool:
    """Whether the namespace carries a value that matches a pending commitment of the tenant for this very name."""
    value = namespace.annotations.get(names.ANNOTATION_CREATION)
    if value is None:
        return False
    known = pending(tenant).get(namespace.ref.name)
    return known is not None and digest(tenant, namespace.ref.name, value) in known.digests


def committed(tenant: SecureTenant, digests: Mapping[str, str]) -> str:
    """The annotation's text with these new commitments (namespace -> digest); those that are still valid are kept."""
    known, uids = pending(tenant), {entry.name: entry.uid for entry in tenant.status.namespaces}
    for name, new in digests.items():
        before = known.get(name, Commitment()).digests
        known[name] = Commitment(uids.get(name, ""), (*before, new)[-_KEPT:])
    return _encode(known).decode()


def used(tenant: SecureTenant, namespaces: Iterable[NamespaceStatus]) -> list[str]:
    """The digests in the annotation that are used up once these namespaces are recorded in the status."""
    text = tenant.metadata.annotations.get(names.ANNOTATION_CREATING, "")
    if not text:
        return []
    uids = {entry.name: entry.uid for entry in namespaces}
    before = set(tenant.status.used_commitments)
    return sorted(
        each
        for name, given in _read(text).items()
        for each in given.digests
        if each in before or uids.get(name) != given.after
    )


def _read(text: str) -> dict[str, Commitment]:
    """The commitments in the annotation's text; none if it is not our JSON."""
    try:
        return _decode(text)
    except msgspec.MsgspecError:
        return {}
