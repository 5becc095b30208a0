"""The namespaces that are about to be created, and the values they are created with (see controls/commitment.py)."""

import hashlib
import itertools
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping

from securetenant.api.tenant import SecureTenant
from securetenant.controls import commitment
from securetenant.drift.assess import Assessment
from securetenant.drift.judge import Finding
from securetenant.engine.writer import Outcome
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Json, JsonValue


class Creations:
    """The values that this process committed to, by tenant and namespace, until the UIDs are recorded in the status.
    They are kept nowhere else: after a restart new ones are made."""

    def __init__(self, fresh: Callable[[], str] | None = None) -> None:
        self._fresh = fresh or _values()
        self._values: dict[str, dict[str, str]] = {}

    def commit(self, tenant: SecureTenant, namespaces: Collection[str]) -> SecureTenant:
        """The SecureTenant as it must be written before these namespaces are created; `tenant` itself if nothing has
        to be written."""
        pending = commitment.pending(tenant)
        known = self._values.get(tenant.name, {})
        values = {
            name: value
            for name, value in known.items()
            if name in pending and commitment.digest(tenant, name, value) in pending[name].digests
        }
        new = {name: self._fresh() for name in sorted(namespaces) if name not in values}
        if values or new:
            self._values[tenant.name] = values | new
        else:
            self._values.pop(tenant.name, None)
        if not new:
            return tenant
        text = commitment.committed(tenant, {name: commitment.digest(tenant, name, new[name]) for name in new})
        metadata = tenant.metadata.model_copy(update={"annotations": {names.ANNOTATION_CREATING: text}})
        return tenant.model_copy(update={"metadata": metadata})

    def values(self, tenant: str) -> Mapping[str, str]:
        return self._values.get(tenant, {})

    def forget(self, tenant: str) -> None:
        self._values.pop(tenant, None)


def _values() -> Callable[[], str]:
    """Unpredictable values of 128 bits, derived from one secret of this process: asking the kernel for each of them
    costs half a millisecond on a virtual machine."""
    secret, number = secrets.token_bytes(32), itertools.count()
    return lambda: hashlib.blake2b(str(next(number)).encode(), key=secret, digest_size=16).hexdigest()


def creates(findings: Iterable[Finding]) -> set[str]:
    """The names of the namespaces to create."""
    return {finding.ref.name for finding in findings if _is_creation(finding)}


def created(outcome: Outcome) -> dict[str, str]:
    """The namespaces that were created, with their UIDs from the API server's answers."""
    return {finding.ref.name: answer.uid for finding, answer in outcome.created if _is_creation(finding)}


def refused(found: Assessment, outcome: Outcome) -> set[str]:
    """The namespaces that are still not the tenant's, because their creation or adoption failed or was postponed. If
    they were recorded as its own, they would be deleted with it."""
    written = {finding.ref for finding in (*outcome.done, *(one.finding for one in outcome.altered))}
    left = {f.ref.name for f in found.findings if f.ref.kind is NAMESPACE and f.ref not in written}
    return left & found.entering


def announcement(before: SecureTenant, after: SecureTenant) -> Json | None:
    """The merge patch that adds finalizer and commitments to the SecureTenant; None if it has them already."""
    metadata: Json = {"uid": before.metadata.uid}
    if after is not before:
        metadata["annotations"] = dict(after.metadata.annotations)
    if names.FINALIZER not in before.metadata.finalizers:
        # The patch replaces the whole list, and others may have added theirs meanwhile: hence the resourceVersion.
        finalizers: list[JsonValue] = [*before.metadata.finalizers, names.FINALIZER]
        metadata |= {"resourceVersion": before.metadata.resource_version, "finalizers": finalizers}
    return {"metadata": metadata} if len(metadata) > 1 else None


def _is_creation(finding: Finding) -> bool:
    return finding.action == "Create" and finding.ref.kind is NAMESPACE
