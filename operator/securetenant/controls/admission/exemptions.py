"""The exemptions of a tenant: as the policies read them on its namespaces, and as its status tells them. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from securetenant.api.status import ExemptionsStatus, ExemptionStatus, ExpiringExemption
from securetenant.api.tenant import SecureTenant
from securetenant.api.workloads import Exemption
from securetenant.checks.check import FORMAT, FORMATS
from securetenant.controls import thresholds

LISTED: Final = 20  # how many the status names; the counts are whole


class Entry(NamedTuple):
    """One exemption in the annotation of a namespace: the check's ID, its end, and the labels "app=web,tier=x"."""

    check: str
    until: str
    pods: str


def current(tenant: SecureTenant, now: datetime) -> list[Exemption]:
    """Those that have not ended."""
    return [one for one in tenant.spec.exemptions if one.expires > now]


def encoded(exemptions: Iterable[Exemption]) -> str:
    """As `checks.variables` reads it: "v1;runtime/hostPorts|2027-01-01T00:00:00Z|app=web,tier=x"."""
    return ";".join([FORMAT, *("|".join((one.id, until(one.expires), pods(one))) for one in exemptions)])


def entries(text: str) -> Iterator[Entry]:
    """The exemptions in an annotation; none in a format that is not known."""
    version, *found = text.split(";")
    if version in FORMATS:
        parts = (one.split("|") for one in found)
        yield from (Entry(*each) for each in parts if len(each) == len(Entry._fields))


def until(end: datetime) -> str:
    """In whole seconds, as the API server writes creationTimestamp: texts compare as times do."""
    return end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pods(exemption: Exemption) -> str:
    """The labels of the pods that it is for; "" for all pods."""
    return ",".join(f"{key}={value}" for key, value in sorted(exemption.pods.items()))


def named(check: str, namespace: str, labels: str, ticket: str) -> str:
    """An exemption in a sentence: "runtime/hostPorts in payments-test for app=web (CHG-1)"."""
    return f"{check} in {namespace}" + (f" for {labels}" if labels else "") + (f" ({ticket})" if ticket else "")


def told(tenant: SecureTenant, held: Sequence[str], spans: Sequence[int], now: datetime) -> ExemptionsStatus:
    """What the status says: the next to end first, those that have ended last. `spans`: see `thresholds`."""
    by_end = sorted(tenant.spec.exemptions, key=lambda one: (one.expires <= now, one.expires))
    active = [one for one in by_end if one.expires > now and one.namespace in held]
    counts: dict[str, int] = {}
    for one in active:
        counts[one.control] = counts.get(one.control, 0) + 1
    return ExemptionsStatus(
        active=len(active),
        by_control=counts,
        ended=sum(1 for one in by_end if one.expires <= now),
        next_expiry=active[0].expires if active else None,
        items=[item(one, ended=one.expires <= now) for one in by_end[:LISTED]],
        expiring=[
            ExpiringExemption(check=one.id, namespace=one.namespace, pods=pods(one), expires=one.expires, within=within)
            for one in active
            if (within := thresholds.narrowest(one.expires, spans, now))
        ],
    )


def item(one: Exemption, *, ended: bool) -> ExemptionStatus:
    return ExemptionStatus(
        control=one.control,
        check=one.check,
        namespace=one.namespace,
        pods=pods(one),
        expires=one.expires,
        reason=one.reason,
        ticket=one.ticket,
        approved_by=one.approved_by,
        ended=ended,
    )
