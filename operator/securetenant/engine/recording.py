"""What a pass records in the status of what it wrote. Pure."""

from collections.abc import Collection

from securetenant.api.types import is_reserved_key
from securetenant.drift.applied import recorded
from securetenant.drift.assess import Assessment
from securetenant.drift.judge import Finding
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Ref


def applied(found: Assessment, done: set[Finding]) -> set[Ref]:
    """The new `status.applied`: what is wanted and exists; for declared namespaces that cannot be written to now
    (Terminating), what was recorded before, so that its loss is still noticed later; and what is still to be released.
    While the desired state is unknown, everything recorded is kept."""
    if found.is_bare:
        return recorded(found.tenant.status) | {finding.ref for finding in done}
    failed = {f.ref for f in found.findings if f.desired is not None and f not in done}
    wanted = {want.ref for want in found.desired}
    standing = {ref for ref in wanted if ref not in failed or ref in found.record}
    declared = {entry.name for entry in found.tenant.spec.namespaces} - found.held.keys()
    kept = {ref for ref in recorded(found.tenant.status) if ref.place in declared}
    releases = [f for f in found.findings if f.action == "Release" and f not in done]
    unreleased = {f.ref for f in releases if f.ref.place in found.owned or f.ref in found.record}
    return standing | kept | unreleased


def reserved(found: Assessment, done: Collection[Finding]) -> dict[str, set[str]]:
    """The keys on the tenant's namespaces that no spec can set, and that were written. Where a namespace could not be
    written, what was so before still is, if it is the same one."""
    before = {entry.uid: set(entry.reserved) for entry in found.tenant.status.namespaces if entry.uid}
    left = {finding.ref for finding in found.findings if finding not in done}
    return {
        want.ref.name: before.get(found.held.get(want.ref.name, ""), set())
        if want.ref in left
        else {key for key in (*want.labels, *want.annotations) if is_reserved_key(key)}
        for want in found.desired
        if want.ref.kind is NAMESPACE
    }
