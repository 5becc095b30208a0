"""network: default deny, then what the tenant declares and, between tenants, what the other one declares too."""

from collections.abc import Container, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from securetenant.api.status import (
    Condition,
    ExpiringRule,
    PendingFlow,
    SecureTenantStatus,
    WhitelistStatus,
)
from securetenant.api.tenant import Peer, SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import NO_CLUSTER, Control, Foreign, Plan
from securetenant.controls.network import (
    admin_tier,
    endpoints,
    expiry,
    forms,
    notices,
    openings,
    policies,
    review,
    templates,
    triggers,
    whitelist,
)
from securetenant.controls.network.checks import CHECKS
from securetenant.controls.network.checks import NAME as NAME
from securetenant.controls.network.foreign import found as foreign
from securetenant.controls.network.forms import Form, Pods
from securetenant.controls.network.whitelist import Declaration, declarations, earliest
from securetenant.controls.world import World
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, ENDPOINT_SLICE, NETWORK_POLICY, NETWORK_TEMPLATE
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Desired, Json, Ref, Superseded
from securetenant.sets import selectors
from securetenant.sets.blocks import Block
from securetenant.sets.policy import parsed

DENY: Final = "securetenant-default-deny"
DNS: Final = "securetenant-dns"
ISOLATION: Final = "securetenant-isolation"
API_SERVER: Final = "securetenant-api-server"

FLOWS: Final = Family(
    "securetenant_whitelist_flows",
    "gauge",
    "Declared flows (rule times peer) by state.",
    ("state",),
    zeros=(("agreed",), ("pending",), ("expired",)),
)
EXPIRY: Final = Family(
    "securetenant_whitelist_expiry_timestamp_seconds", "gauge", "The next expiry of a rule; absent if none expires."
)

LISTED: Final = 20  # flows that the status lists; the counts include all
_FIRST = 3  # flows that a condition names

_UNKNOWN: Final = "the API server's addresses are unknown: EndpointSlice default/kubernetes is missing or has"
_REMEDY: Final = (
    "the kube-apiserver creates it within 10 s; if that runs with --endpoint-reconciler-type=none, create it yourself, "
    "with the label kubernetes.io/service-name: kubernetes"
)


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    tenant = templates.resolve(tenant, world)
    unresolved = templates.conditions(tenant, world)
    held = ownership.held(tenant, world)
    declared = declarations(tenant, held, world, now)
    form = forms.form(tenant, world)
    together = _together(tenant, held, form, world)
    shared, conditions, blocking = _shared(tenant, together, world)
    own = policies.of_whitelist(declared)
    desired = [
        Desired(Ref(NETWORK_POLICY, namespace, name), NAME, body, closing=name == DENY)
        for namespace in held
        for name, body in (*shared, *own.get(namespace, ()))
    ]
    ends = earliest(time for d in declared if not d.expired for time in (d.rule.expires, d.opened.until))
    soon = world.platform.expires_soon
    recorded = endpoints.record(tenant, world) if whitelist.reaches_addresses(tenant) else []
    told = _status(declared, ends, recorded, expiry.expiring(tenant, soon, now))
    wanted = {item.ref for item in desired}
    admin = admin_tier.plan(tenant, held, declared, world, now)
    return Plan(
        desired=[*desired, *admin.desired],
        foreign=[*_foreign(tenant, held, wanted, world), *foreign.foreign(tenant, held, DENY, admin.ours, world)],
        superseded=_superseded(tenant, held, desired, wanted, world),
        conditions=[
            _agreement(told),
            *_narrowed(declared, together.missing),
            *_by_form(tenant, world),
            *conditions,
            *unresolved,
            *admin.conditions,
        ],
        blocking=[
            *blocking,
            *([form.refused] if form.refused else []),
            *(one.message for one in unresolved if one.status == "False"),
        ],
        wake_at=earliest((ends, expiry.next_warning(tenant, soon, now), admin.wake_at)),
        status={"whitelist": told},
    )


def figures(status: SecureTenantStatus) -> Samples:
    told = status.whitelist
    if told is None:
        return {}
    counts = (told.agreed, told.pending_count, told.expired_count)
    flows = {state: count for state, count in zip(FLOWS.zeros, counts, strict=True) if count}
    ends = told.next_expiry
    return {FLOWS.name: flows, **({EXPIRY.name: {(): ends.timestamp()}} if ends is not None else {})}


def _shared(
    tenant: SecureTenant, together: "_Together", world: World
) -> tuple[list[tuple[str, Json]], list[Condition], list[str]]:
    """The policies that all of the tenant's namespaces share, the closing one first; conditions; blocking messages."""
    network = tenant.spec.network
    found = [(DENY, policies.default_deny())]
    if network.dns and (body := policies.dns(world.platform)):
        found.append((DNS, body))
    found.append((ISOLATION, policies.among(together.namespaces, together.subnets)))
    if not network.api_server:
        return found, *_left_out(tenant, world)
    if world.platform.offline:
        message = "the policy for apiServer: true is not rendered: it depends on the API server's addresses"
        return found, [Condition.of("ApiServerOpen", "Unknown", NO_CLUSTER, message)], []
    reached = endpoints.ready(world)
    if not reached:
        message = f"{_UNKNOWN} no ready endpoint; access to the API server stays closed; {_REMEDY}"
        return found, [Condition.of("ApiServerOpen", "False", "NoEndpoints", message)], [message]
    found.append((API_SERVER, policies.to_addresses(reached)))
    return found, [Condition.of("ApiServerOpen", "True", "EndpointsKnown", _not_believed(world))], []


class _Together(NamedTuple):
    """What the policy of isolation opens: namespaces (none: only the own one), and subnets; `missing`: what of them is
    left out, and why."""

    namespaces: Sequence[str] = ()
    subnets: Sequence[Block] = ()
    missing: str = ""


def _together(tenant: SecureTenant, held: Sequence[str], form: Form, world: World) -> _Together:
    if tenant.spec.network.isolation != "Tenant" or len(held) < 2:
        return _Together()
    found = forms.ends(Pods(tuple(sorted(held)), selectors.ALL), form, world)
    namespaces = [name for peer in found.peers if isinstance(peer, Pods) for name in peer.namespaces]
    return _Together(namespaces, [peer for peer in found.peers if isinstance(peer, Block)], found.missing)


def _narrowed(declared: Sequence[Declaration], isolation: str) -> list[Condition]:
    """Only while a part of what is declared, and agreed, is closed nevertheless."""
    parts = [
        (d.peer.cidr is not None, f"{d.direction} {d.rule.name} ({_named(d.peer)}): {d.opened.narrowed}")
        for d in declared
        if d.opened.narrowed
    ]
    if isolation:
        parts.append((False, f"isolation: {isolation}"))
    if not parts:
        return []
    has_cidr = any(is_cidr for is_cidr, _ in parts)
    more = f"; and {len(parts) - _FIRST} more" if len(parts) > _FIRST else ""
    message = "; ".join(text for _, text in parts[:_FIRST]) + more
    return [Condition.of("WhitelistNarrowed", "True", "ClusterInternal" if has_cidr else "NoSubnet", message)]


def _by_form(tenant: SecureTenant, world: World) -> list[Condition]:
    """What is told without a cluster."""
    if not world.platform.offline:
        return []
    network, found = tenant.spec.network, []
    if network.peers_by != "Selector":
        found.append("peers are rendered by selector: their subnets are the cluster's")
    if any(p.cidr for direction in whitelist.OPPOSITE for _, _, ps in whitelist.rules(tenant, direction) for p in ps):
        found.append("a cidr is rendered with the addresses of the cluster in it: they are the cluster's to tell")
    return [Condition.of("WhitelistNarrowed", "Unknown", NO_CLUSTER, "; ".join(found))] if found else []


def _left_out(tenant: SecureTenant, world: World) -> tuple[list[Condition], list[str]]:
    """Condition and blocking messages about the API server's addresses, which egress to a cidr excludes."""
    if not whitelist.leaves_out_api_server(tenant):
        return [], []
    if world.platform.offline:
        message = "egress to a cidr is rendered without excluding the API server's addresses: they are the cluster's"
        return [Condition.of("ApiServerKnown", "Unknown", NO_CLUSTER, message)], []
    closed = endpoints.closed(tenant, world)
    if closed.known == "Now":
        return [Condition.of("ApiServerKnown", "True", "EndpointsKnown", "")], []
    if closed.known == "Never":
        message = f"{_UNKNOWN} no endpoint; egress to a cidr, which must exclude them, stays closed; {_REMEDY}"
        return [Condition.of("ApiServerKnown", "False", "NoEndpoints", message)], [message]
    last = ", ".join(endpoints.record(tenant, world))
    message = f"{_UNKNOWN} no endpoint; egress to a cidr excludes the last known ones, {last}; {_REMEDY}"
    return [Condition.of("ApiServerKnown", "False", "LastKnown", message)], [message]


def _not_believed(world: World) -> str:
    """A hint at EndpointSlices that look like the API server's but are not."""
    if not (names := endpoints.others(world)):
        return ""
    told = ", ".join(names[:_FIRST]) + (f" and {len(names) - _FIRST} more" if len(names) > _FIRST else "")
    return f"ignored, since the kube-apiserver writes only EndpointSlice default/{endpoints.SLICE}: {told}"


def _status(
    declared: Sequence[Declaration], next_expiry: datetime | None, api_server: list[str], expiring: list[ExpiringRule]
) -> WhitelistStatus:
    pending = [d for d in declared if not d.expired and not d.opened.flows]
    expired = [d for d in declared if d.expired]
    return WhitelistStatus(
        declared=len(declared),
        agreed=len(declared) - len(pending) - len(expired),
        pending_count=len(pending),
        expired_count=len(expired),
        pending=[_flow(d, d.opened.reason) for d in pending[:LISTED]],
        expired=[_flow(d, f"expired at {d.rule.expires:%Y-%m-%dT%H:%M:%SZ}") for d in expired[:LISTED]],
        next_expiry=next_expiry,
        api_server=api_server,
        expiring=expiring,
    )


def _flow(declared: Declaration, reason: str) -> PendingFlow:
    return PendingFlow(direction=declared.direction, rule=declared.rule.name, peer=_named(declared.peer), reason=reason)


def _named(peer: Peer) -> str:
    if peer.cidr is not None:
        return f"cidr/{peer.cidr}"
    return f"namespace/{peer.namespace}" if peer.namespace is not None else f"tenant/{peer.tenant}"


def _agreement(told: WhitelistStatus) -> Condition:
    """Whether all that is declared (and not expired) is open. A pending flow waits for the other side: no error."""
    if not told.pending_count:
        return Condition.of("WhitelistAgreed", "True", "Agreed" if told.declared else "NoRules")
    first = "; ".join(f"{p.direction} {p.rule} ({p.peer}): {p.reason}" for p in told.pending[:_FIRST])
    more = f"; and {told.pending_count - _FIRST} more" if told.pending_count > _FIRST else ""
    message = f"{told.pending_count} of {told.declared} declared flows are not open yet: {first}{more}"
    return Condition.of("WhitelistAgreed", "False", "Pending", message)


def _superseded(
    tenant: SecureTenant, held: Sequence[str], desired: Sequence[Desired], wanted: Container[Ref], world: World
) -> dict[Ref, Superseded]:
    """Our policies that are no longer desired, where desired ones open the same (a rule was renamed, or an upgrade
    names its policy differently) or a part of it (its peer narrowed the rule)."""
    found: dict[Ref, Superseded] = {}
    for namespace in held:
        given_up = [
            observed
            for observed in world.in_namespace(NETWORK_POLICY, namespace)
            if observed.tenant == tenant.name and observed.ref not in wanted
        ]
        if not given_up:
            continue
        here = [item for item in desired if item.ref.namespace == namespace]
        opened = {opening for item in here for opening in openings.openings(parsed(item.body["spec"]))}
        kept = {rule for item in here if (rule := policies.rule_of(item.ref.name)) is not None}
        for observed in given_up:
            before = openings.openings(parsed(observed.field("spec")))
            if all(openings.covered(opening, opened) for opening in before):
                found[observed.ref] = "Wholly"
            elif policies.rule_of(observed.ref.name) in kept or not opened.isdisjoint(before):
                found[observed.ref] = "Partly"
    return found


def _foreign(tenant: SecureTenant, held: Sequence[str], ours: Container[Ref], world: World) -> list[Foreign]:
    """Policies that others created. NetworkPolicies are additive, so each of them widens the whitelist."""
    wanted = tenant.spec.network.foreign
    if wanted == "Ignore":
        return []
    return [
        Foreign(observed, NAME, openings.described(parsed(observed.field("spec"))), remove=wanted == "Remove")
        for observed in ownership.made_by_others(NETWORK_POLICY, tenant, held, ours, world)
    ]


CONTROL: Final = Control(
    NAME,
    plan,
    (NETWORK_POLICY, CLUSTER_NETWORK_POLICY),
    looks_at=(ENDPOINT_SLICE, NETWORK_TEMPLATE, *foreign.KINDS),
    triggers=triggers.TRIGGERS,
    indexes={**foreign.INDEXES, **templates.INDEXES},
    resolve=templates.resolve,
    chores=templates.CHORES,
    families=(FLOWS, EXPIRY),
    figures=figures,
    warnings=notices.warnings,
    rollout=notices.rollout,
    temporary=notices.temporary,
    ending=admin_tier.ending,
    references=review.references,
    needs=review.needs,
    review=review.review,
    checks=CHECKS,
)
