"""What people are told of a tenant's exemptions: that one began, ended, or ends soon; and what `validate` warns of."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from securetenant.api.load import Problem
from securetenant.api.status import ExemptionStatus, ExpiringExemption, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.checks.variables import EXEMPTIONS
from securetenant.controls.admission import exemptions
from securetenant.controls.admission.exemptions import Entry
from securetenant.controls.notice import Notice, Rollout, Written
from securetenant.controls.thresholds import written_duration
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Observed


def warnings(tenant: SecureTenant, status: SecureTenantStatus) -> Mapping[Hashable, Notice]:
    """The exemptions that end soon, the next to end first. Another end, or a narrower threshold, is another warning."""
    expiring = status.exemptions.expiring if status.exemptions is not None else []
    return {tuple(one.model_dump().values()): _ends_soon(tenant, one) for one in expiring}


def rollout(tenant: SecureTenant, written: Sequence[Written], computed: SecureTenantStatus, now: datetime) -> Rollout:
    """What began and ended, read off the annotations of the namespaces that were written."""
    notices: list[Notice] = []
    over: list[str] = []
    for one in written:
        if one.ref.kind is not NAMESPACE:
            continue
        before, after = _entries(one.before, tenant), _entries(one.now, tenant)
        for key in sorted(after):
            if after[key] != before.get(key):
                notices.append(_started(tenant, one.ref.name, after[key], before.get(key)))
        for key in sorted(before.keys() - after.keys()):
            notices.append(_ended(tenant, one.ref.name, before[key], now))
            if before[key].until <= exemptions.until(now):
                over.append(_named(tenant, one.ref.name, before[key]))
    return Rollout(notices, f"expiry of {', '.join(over)}" if over else "")


def ending(tenant: SecureTenant, now: datetime) -> list[str]:
    """What ends with the marks on the namespaces of a deleted tenant."""
    locks = tenant.spec.locks
    ended = {"the lock on its namespaces": locks.namespaces, "the lock on what was made in them": locks.posture}
    found = (
        exemptions.named(one.id, one.namespace, exemptions.pods(one), one.ticket)
        for one in exemptions.current(tenant, now)
    )
    return [*(name for name, is_on in ended.items() if is_on), *(f"exemption {name}" for name in found)]


def review(tenant: SecureTenant, world: World, now: datetime) -> Iterator[Problem]:
    """Exemptions that are over, or far from it."""
    longest = world.platform.exemption_longest
    for index, one in enumerate(tenant.spec.exemptions):
        path, end = f"spec.exemptions[{index}].expires", exemptions.until(one.expires)
        if one.expires <= now:
            message = f"the exemption from {one.id} in {one.namespace} ended at {end}: remove it"
            yield Problem(path, message, "warning")
        elif one.expires - now > timedelta(seconds=longest):
            message = (
                f"the exemption from {one.id} in {one.namespace} ends at {end}, more than {written_duration(longest)} "
                "from now: choose a nearer end, and renew it"
            )
            yield Problem(path, message, "warning")


def _entries(namespace: Desired | Observed | None, tenant: SecureTenant) -> dict[tuple[str, str], Entry]:
    """The exemptions in force on a namespace, by check and pods; none where it is not the tenant's."""
    if namespace is None or (isinstance(namespace, Observed) and namespace.tenant != tenant.name):
        return {}
    return {(one.check, one.pods): one for one in exemptions.entries(namespace.annotations.get(EXEMPTIONS, ""))}


def _declared(tenant: SecureTenant, namespace: str, check: str, pods: str) -> ExemptionStatus:
    """What the spec says of an exemption; else what the status before the pass said; else nothing but what it is."""
    for one in tenant.spec.exemptions:
        if (one.id, one.namespace, exemptions.pods(one)) == (check, namespace, pods):
            return exemptions.item(one, ended=False)
    before = tenant.status.exemptions.items if tenant.status.exemptions is not None else []
    control, _, name = check.partition("/")
    bare = ExemptionStatus(control=control, check=name, namespace=namespace, pods=pods)
    return next(
        (i for i in before if (i.control, i.check, i.namespace, i.pods) == (control, name, namespace, pods)), bare
    )


def _named(tenant: SecureTenant, namespace: str, entry: Entry) -> str:
    known = _declared(tenant, namespace, entry.check, entry.pods)
    return exemptions.named(entry.check, namespace, entry.pods, known.ticket)


def _started(tenant: SecureTenant, namespace: str, entry: Entry, before: Entry | None) -> Notice:
    known = _declared(tenant, namespace, entry.check, entry.pods)
    if before is not None:
        cause = f"its end was {before.until} (generation {tenant.metadata.generation})"
    elif tenant.status.observed_generation is None or tenant.is_edited:
        cause = f"declared, generation {tenant.metadata.generation}"
    else:
        cause = "written anew"
    name = exemptions.named(entry.check, namespace, entry.pods, known.ticket)
    return Notice(
        line="exemption started",
        reason="ExemptionStarted",
        fields=_fields(namespace, entry, known, cause),
        message=f"{name} until {entry.until}: {_why(known)}; {cause}",
        about=f"{namespace}/{entry.check}/{entry.pods}",
        verb="started",
        name=name,
        is_warning=True,
    )


def _ended(tenant: SecureTenant, namespace: str, entry: Entry, now: datetime) -> Notice:
    known = _declared(tenant, namespace, entry.check, entry.pods)
    if entry.until <= exemptions.until(now):
        cause = f"its end was {entry.until}"
    elif tenant.metadata.deletion_timestamp is not None:
        cause = "the SecureTenant is deleted"
    else:
        cause = f"no longer declared, generation {tenant.metadata.generation}"
    name = exemptions.named(entry.check, namespace, entry.pods, known.ticket)
    return Notice(
        line="exemption ended",
        reason="ExemptionEnded",
        fields=_fields(namespace, entry, known, cause),
        message=f"{name}: {_why(known)}; {cause}",
        about=f"{namespace}/{entry.check}/{entry.pods}",
        verb="ended",
        name=name,
    )


def _ends_soon(tenant: SecureTenant, one: ExpiringExemption) -> Notice:
    known = _declared(tenant, one.namespace, one.check, one.pods)
    end = exemptions.until(one.expires)
    name = exemptions.named(one.check, one.namespace, one.pods, known.ticket)
    entry = Entry(one.check, end, one.pods)
    return Notice(
        line="exemption expires soon",
        reason="ExpiresSoon",
        fields={**_fields(one.namespace, entry, known, ""), "within": one.within},
        message=f"exemption {name} ends at {end}, within {one.within}: mend what needs it, or renew it",
        about=f"{one.namespace}/{one.check}/{one.pods}",
        is_warning=True,
    )


def _why(known: ExemptionStatus) -> str:
    approved = f", approved by {known.approved_by}" if known.approved_by else ""
    return (known.reason or "its reason is not known any more") + approved


def _fields(namespace: str, entry: Entry, known: ExemptionStatus, cause: str) -> dict[str, object]:
    told: dict[str, object] = {
        "check": entry.check,
        "namespace": namespace,
        "pods": entry.pods,
        "expires": entry.until,
        "why": known.reason,
        "ticket": known.ticket,
        "approved_by": known.approved_by,
    }
    return {**told, "cause": cause} if cause else told
