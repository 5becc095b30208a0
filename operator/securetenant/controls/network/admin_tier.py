"""The whitelist in the Admin tier: ClusterNetworkPolicies that no NetworkPolicy in a tenant's namespace widens.

Each namespace has one policy that closes, after what was agreed is passed to the NetworkPolicies; and one that passes
for each selection of its pods that rules are for. They stand beside the NetworkPolicies and never instead of them: by
themselves they open nothing.

A policy of ours is known by its name, which is the namespace's, and by the tenant's status. It goes when the tenant
does, whatever the deletionPolicy says: what closes in no namespace could be seen or changed by nobody who has the
namespace then. The NetworkPolicies stay, if so declared.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import NO_CLUSTER
from securetenant.controls.network import admin_rules, endpoints, policies
from securetenant.controls.network.checks import NAME
from securetenant.controls.network.foreign.found import at_priority
from securetenant.controls.network.policies import End, Within
from securetenant.controls.network.whitelist import OPPOSITE, Declaration
from securetenant.controls.world import World
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, KUBE_OVN_SUBNET, NAMESPACE
from securetenant.model.names import CHILD_PREFIX
from securetenant.model.objects import Desired, Json, Observed, Ref
from securetenant.sets import blocks, ports, selectors
from securetenant.sets.blocks import Address, Block
from securetenant.sets.policy import Direction
from securetenant.sets.ports import Ports
from securetenant.sets.selectors import Selector

CONDITION: Final = "AdminTier"
_PREFIX: Final = f"{CHILD_PREFIX}-"
_TIER: Final = "Admin"
# Kube-OVN enforces none above, and of two with the same priority only one.
_HIGHEST: Final = 399
# No event tells that another tenant gave up a priority.
_AGAIN: Final = timedelta(seconds=30)
# Until what two passes wrote at the same time is seen by both.
_SOON: Final = timedelta(seconds=2)
_NAMED: Final = 3  # namespaces that a condition names


class Tier(NamedTuple):
    """What the Admin tier adds to the control's plan. `ours`: the policies that are this tenant's, wanted or to be
    given up."""

    desired: Sequence[Desired] = ()
    conditions: Sequence[Condition] = ()
    ours: Collection[Ref] = ()
    wake_at: datetime | None = None


def plan(
    tenant: SecureTenant, held: Sequence[str], declared: Iterable[Declaration], world: World, now: datetime
) -> Tier:
    """The policies of the namespaces that the tenant holds."""
    is_on = world.platform.admin_tier
    if world.platform.offline:
        message = "ClusterNetworkPolicies are not rendered: the addresses in them are the cluster's"
        return Tier((), [Condition.of(CONDITION, "Unknown", NO_CLUSTER, message)] if is_on else [])
    if not world.serves(CLUSTER_NETWORK_POLICY):
        return Tier((), [Condition.of(CONDITION, "False", "NotServed", _NOT_SERVED)] if is_on else [])
    written = _own(tenant, world)
    if not is_on:
        return Tier(ours={have.ref for have in written})
    is_distinct = world.serves(KUBE_OVN_SUBNET)
    agreed = _agreed(tenant, held, declared, is_split=not is_distinct)
    common = _common(tenant, world)
    desired: list[Desired] = []
    problems = _Problems()
    for place, priority in _priorities(tenant, held, world, is_distinct=is_distinct).items():
        if taken := [ref for ref in agreed[place].refs(place) if _is_others(ref, tenant, world)]:
            problems.taken += taken
        elif priority is None:
            problems.beyond.append(place)
        else:
            found, wider = _policies(place, agreed[place], priority, common)
            desired += found
            if wider:
                problems.wider[place] = wider
    seen = [world.get(want.ref) for want in desired]
    again = _AGAIN if problems.beyond else _SOON if is_distinct and None in seen else None
    ours = {want.ref for want in desired} | {have.ref for have in written}
    condition = problems.condition(len(desired))
    if condition.status == "True" and None in seen and (tenant.spec.mode == "Audit" or is_distinct):
        condition = _not_written(seen.count(None), tenant)
    desired += _of_ending(written, held, world)
    return Tier(desired, [condition], ours, now + again if again is not None else None)


def name(namespace: str, own: Selector = selectors.ALL) -> str:
    """A namespace's name has no dot, so that names cannot collide."""
    return f"{_PREFIX}{namespace}" + ("" if own == selectors.ALL else f".{selectors.fingerprint(own)}")


def _ref(namespace: str, own: Selector = selectors.ALL) -> Ref:
    return Ref(CLUSTER_NETWORK_POLICY, "", name(namespace, own))


def _own(tenant: SecureTenant, world: World) -> list[Observed]:
    """The policies that were written for this tenant: with its mark, and named in its status, or as they were written
    where the status does not know them."""
    return [
        have
        for have in world.marked(CLUSTER_NETWORK_POLICY, tenant.name)
        if _is_applied(have.ref, tenant) or ownership.as_written(tenant, have)
    ]


def _is_applied(ref: Ref, tenant: SecureTenant) -> bool:
    return f"{ref.kind.key}/{ref.name}" in tenant.status.applied.get("", ())


def _is_others(ref: Ref, tenant: SecureTenant, world: World) -> bool:
    """Whether somebody who is no tenant has a policy of this name."""
    have = world.get(ref)
    return have is not None and not have.tenant and not _is_applied(ref, tenant)


def _of_ending(written: Iterable[Observed], held: Collection[str], world: World) -> Iterator[Desired]:
    """Those of a namespace that is Terminating stay as they are: its NetworkPolicies may be gone before its pods."""
    for have in written:
        place = have.ref.name.removeprefix(_PREFIX).partition(".")[0]
        namespace = world.get(Ref(NAMESPACE, "", place))
        if place not in held and namespace is not None and namespace.deleting:
            yield Desired(have.ref, NAME, {"spec": have.field("spec")}, closing=True)


def ending(tenant: SecureTenant, now: datetime) -> list[str]:
    """What ends with a deleted tenant whose namespaces stay."""
    kinds = {entry.partition("/")[0] for entry in tenant.status.applied.get("", ())}
    return ["its whitelist in the Admin tier"] if CLUSTER_NETWORK_POLICY.key in kinds else []


# --- what is agreed

_Ends: TypeAlias = dict[Direction, dict[End, Ports]]


@dataclass(slots=True)
class _Agreed:
    """What is agreed for the pods of one namespace: for each selection of them, by direction. `is_wider`: also for pods
    that are not selected."""

    ends: dict[Selector, _Ends] = field(default_factory=lambda: {selectors.ALL: _nothing()})
    is_wider: bool = False

    def add(self, direction: Direction, own: Selector, end: End, allowed: Ports) -> None:
        ends = self.ends.setdefault(own, _nothing())[direction]
        ends[end] = ports.union(ends[end], allowed) if end in ends else allowed

    def refs(self, namespace: str) -> Iterator[Ref]:
        return (_ref(namespace, own) for own in self.ends)


def _nothing() -> _Ends:
    return {direction: {} for direction in OPPOSITE}


def _agreed(
    tenant: SecureTenant, held: Sequence[str], declared: Iterable[Declaration], *, is_split: bool
) -> dict[str, _Agreed]:
    """By namespace. `is_split`: whether rules for some of the pods are held apart; each needs a policy of its own."""
    found = {place: _Agreed() for place in held}
    is_together = tenant.spec.network.isolation == "Tenant"
    for place, agreed in found.items():
        for other in held if is_together else (place,):
            for direction in OPPOSITE:
                agreed.add(direction, selectors.ALL, Within(other, selectors.ALL), None)
    for one in declared:
        for flow in one.opened.agreed:
            reached: Sequence[End] = (
                (flow.peer,)
                if isinstance(flow.peer, Block)
                else [Within(there, flow.peer.selector) for there in flow.peer.namespaces]
            )
            # Where a connection from an address ends, NetworkPolicies alone can say.
            if one.direction == "ingress" and isinstance(flow.peer, Block):
                continue
            for agreed in (found[place] for place in flow.namespaces):
                agreed.is_wider |= not is_split and flow.own != selectors.ALL
                for end in reached:
                    agreed.add(one.direction, flow.own if is_split else selectors.ALL, end, flow.ports)
    return found


class _Common(NamedTuple):
    """What the policies of all of a tenant's namespaces have: the DNS and the API server, if open; and the addresses of
    the management that no rule opens."""

    services: admin_rules.Ends
    management: tuple[Block, ...]


def _common(tenant: SecureTenant, world: World) -> _Common:
    """Nodes and other addresses of the cluster are in no cidr's flows anyway (outside.py)."""
    network, services = tenant.spec.network, dict[End, Ports]()
    closed: Iterable[Address] = ()
    if network.dns:
        services |= policies.of_dns(world.platform)
    if network.api_server:
        services |= {blocks.host(address): allowed for address, allowed in endpoints.ready(world).items()}
    else:
        closed = endpoints.closed(tenant, world).addresses
    return _Common(admin_rules.ends(services), (*admin_rules.METADATA, *sorted(map(blocks.host, closed))))


# --- the policies


def _policies(namespace: str, agreed: _Agreed, priority: int, common: _Common) -> tuple[list[Desired], str]:
    """Those of one namespace; and how much wider than agreed they pass."""
    there = selectors.rendered(selectors.of_namespaces([namespace]))
    desired: list[Desired] = []
    wider = "from and to pods that no rule selects" if agreed.is_wider else ""
    for own, by_direction in agreed.ends.items():
        ends = {direction: admin_rules.ends(found) for direction, found in by_direction.items()}
        if own == selectors.ALL:
            rules = {
                "ingress": admin_rules.closing_ingress(ends["ingress"]),
                "egress": admin_rules.closing_egress(ends["egress"], common.services, common.management),
            }
            subject: Json = {"namespaces": there}
        else:
            rules = {
                "ingress": admin_rules.passing_ingress(ends["ingress"]),
                "egress": admin_rules.passing_egress(ends["egress"], common.services, common.management),
            }
            subject = {"pods": {"namespaceSelector": there, "podSelector": selectors.rendered(own)}}
        wider = wider or next((one.wider for one in rules.values() if one.wider), "")
        given: Json = {direction: list(one.rules) for direction, one in rules.items() if one.rules}
        level = priority if own == selectors.ALL else priority - 1  # it says no last word, and so comes before
        spec: Json = {"tier": _TIER, "priority": level, "subject": subject, **given}
        desired.append(Desired(_ref(namespace, own), NAME, {"spec": spec}, closing=own == selectors.ALL))
    return desired, wider


def _priorities(tenant: SecureTenant, held: Iterable[str], world: World, *, is_distinct: bool) -> dict[str, int | None]:
    """By namespace; None where there is none left. Policies for different namespaces may share one, unless the network
    plug-in is Kube-OVN: there each keeps what it has, or gets the last free one."""
    if not is_distinct:
        return dict.fromkeys(held, world.platform.admin_tier_priority)
    found = {place: _kept(_ref(place), tenant, world) for place in held}
    free: Iterator[int] | None = None
    for place, kept in found.items():
        if kept is None:
            free = free or _free({one for one in found.values() if one is not None}, world)
            found[place] = next(free, None)
    return found


def _kept(ref: Ref, tenant: SecureTenant, world: World) -> int | None:
    """What its policy has already, unless Kube-OVN does not enforce it: of several with the same one the oldest."""
    have = world.get(ref)
    if have is None or not (have.tenant or _is_applied(ref, tenant)):
        return None
    priority = have.at(("spec", "priority"))
    if not isinstance(priority, int) or not 0 <= priority <= _HIGHEST or have.at(("spec", "tier")) != _TIER:
        return None
    same = world.indexed(CLUSTER_NETWORK_POLICY, [at_priority(have)])
    return priority if min(same, key=lambda one: (one.created, one.ref)).ref == ref else None


def _free(taken: Collection[int], world: World) -> Iterator[int]:
    """From the last on, and only after all that others have: what is passed is passed by all policies that come
    later."""
    for priority in range(_HIGHEST, -1, -1):
        there = list(world.indexed(CLUSTER_NETWORK_POLICY, [f"{_TIER}:{priority}"]))
        if any(not one.tenant for one in there):
            return
        if not there and priority not in taken:
            yield priority


# --- what is told


_NOT_SERVED: Final = (
    f"{CLUSTER_NETWORK_POLICY} ({CLUSTER_NETWORK_POLICY.api_version}) is not served: NetworkPolicies alone hold the "
    "whitelist, and each that others add in the namespaces widens it; install it with a network plug-in that enforces "
    "it, or unset SECURETENANT_ADMIN_TIER"
)


def _not_written(missing: int, tenant: SecureTenant) -> Condition:
    if tenant.spec.mode == "Audit":
        message = f"mode is Audit, in which nothing is written: {_counted(missing)} would be"
    else:
        # Another pass may choose the same at the same time.
        message = f"{_counted(missing)} with a new priority, which Kube-OVN must find with no other: looked at again"
    return Condition.of(CONDITION, "False", "NotWritten", message)


@dataclass(slots=True)
class _Problems:
    """Names that others have, namespaces without a priority, and those that are passed wider than agreed."""

    taken: list[Ref] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    wider: dict[str, str] = field(default_factory=dict)

    def condition(self, written: int) -> Condition:
        found: list[Condition] = []
        if self.taken:
            named = _listed([str(ref) for ref in self.taken])
            message = f"{named}: somebody else's, with the name of ours: rename or delete it"
            found.append(Condition.of(CONDITION, "False", "NameTaken", message))
        if self.beyond:
            message = (
                f"{_listed(self.beyond)}: no priority is left, so that NetworkPolicies alone hold the whitelist there "
                f"(Kube-OVN enforces {_HIGHEST + 1}, each once, and ours come after all of others: give yours lower "
                "numbers)"
            )
            found.append(Condition.of(CONDITION, "False", "NoPriority", message))
        for wider in dict.fromkeys(self.wider.values()):
            places = _listed([place for place, one in self.wider.items() if one == wider])
            message = f"{places}: more is left to NetworkPolicies than is agreed, {wider}"
            found.append(Condition.of(CONDITION, "False", "PassedWider", message))
        if found:
            return found[0].model_copy(update={"message": "; ".join(one.message for one in found)})
        message = f"{_counted(written)}; whether the network plug-in enforces them, no object tells"
        return Condition.of(CONDITION, "True", "Written", message)


def _counted(number: int) -> str:
    return f"{number} {CLUSTER_NETWORK_POLICY.name if number == 1 else CLUSTER_NETWORK_POLICY.plural_name}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
