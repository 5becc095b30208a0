"""subnets: the addresses of each namespace's pods, given by the cluster's network plug-in (Kube-OVN, Calico, Cilium).

A namespace that is to have a subnet is created once the subnet is there, so that no pod is born outside it. A subnet is
given once and never moved: running pods keep their addresses.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from msgspec import Struct

from securetenant.api.status import Condition, SecureTenantStatus, SubnetStatus
from securetenant.api.tenant import NamespaceSpec, SecureTenant
from securetenant.checks.check import Check, encoded
from securetenant.controls import ownership
from securetenant.controls.admission.locks import OF_SUBNETS
from securetenant.controls.control import NO_CLUSTER, Claim, Control, Foreign, Plan, Triggers, Within
from securetenant.controls.subnets import allocation, objects, pools, provider, ranges, reach, review, strangers
from securetenant.controls.subnets.allocation import EVERY_POOL, Given
from securetenant.controls.subnets.objects import NAME, Reach
from securetenant.controls.world import World
from securetenant.model.kinds import (
    CALICO_IP_POOL,
    CILIUM_POD_IP_POOL,
    KUBE_OVN_SUBNET,
    NAMESPACE,
    NODE,
    SERVICE_CIDR,
    SUBNET_POOL,
    Kind,
)
from securetenant.model.metrics import Family, Samples
from securetenant.model.names import is_system_namespace
from securetenant.model.objects import Desired, Observed, Ref, has_other_spec
from securetenant.sets.space import Network, parsed

CONDITION: Final = "SubnetsReady"
# Another tenant may give up the addresses that this one waits for, and no event says so.
_AGAIN: Final = timedelta(seconds=30)
# What ends without anybody's help.
_PASSING: Final = ("Waiting",)
_NAMED: Final = 3  # subnets that a condition names

ADDRESS: Final = Check("address", "", "the address is outside of the namespace's subnet: restart the pod")
_BORN_BEFORE: Final = "they were born before; restart them"
_NOT_GIVEN: Final = "subnets.provider is None, so nothing gives them out of it; correct the cidr, or set provider"

GIVEN: Final = Family(
    "securetenant_subnets", "gauge", "Subnets that were given to the tenant's namespaces.", zeros=((),)
)


class _Problem(NamedTuple):
    reason: str
    message: str


# Every Kube-OVN has it: without it nobody knows which addresses the nodes' probes come from.
_NO_JOIN: Final = _Problem(
    "NoJoin",
    "Subnet join of Kube-OVN is missing, so no acl closes what NetworkPolicies of others open: restore it",
)


class _Outcome(NamedTuple):
    """What one namespace gets: objects, what it was given (None: nothing), and what is wrong."""

    desired: Sequence[Desired] = ()
    given: SubnetStatus | None = None
    problem: _Problem | None = None


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    wanted = [entry for entry in tenant.spec.namespaces if entry.subnet is not None]
    if not wanted:
        return Plan(status={"subnets": _of_gone(tenant, world)})
    if world.platform.offline:
        message = "subnets are not rendered: they depend on the cluster's network plug-in and on what is in use"
        return Plan(conditions=[Condition.of(CONDITION, "Unknown", NO_CLUSTER, message)])
    held = set(ownership.held(tenant, world))
    choice = provider.choose(tenant, world)
    if choice.name is None:
        return _without_provider(tenant, wanted, held, choice, world, now)
    kind = provider.KINDS.get(choice.name)
    reaches = reach.reaches(tenant, sorted(held), world, now) if kind is KUBE_OVN_SUBNET else {}
    foreign = strangers.of(NAME, [one.name for one in wanted if one.name in held], world) if reaches else {}
    taken: list[tuple[str, Network]] = []
    outcomes = []
    for entry in wanted:
        if entry.name not in held:
            continue
        found = allocation.given(tenant, entry, kind, world, taken)
        taken += [(entry.name, block) for block in found.blocks]
        outcome = _outcome(tenant, entry, choice.name, kind, found, reaches.get(entry.name, Reach()), world)
        outcomes.append(_shared(outcome, entry.name, foreign[entry.name]) if entry.name in foreign else outcome)
    problems = [one.problem for one in outcomes if one.problem is not None]
    if outcomes and kind is KUBE_OVN_SUBNET and not any(one.join for one in reaches.values()):
        problems.append(_NO_JOIN)
    given = [one.given for one in outcomes if one.given is not None]
    recorded = _record(tenant, given, world)
    return Plan(
        desired=[want for one in outcomes for want in one.desired],
        foreign=[one for listed in foreign.values() for one in listed],
        conditions=[_condition(choice.name, given, problems)],
        blocking=[problem.message for problem in problems],
        passing=bool(problems) and all(problem.reason in _PASSING for problem in problems),
        wake_at=now + _AGAIN if problems else None,
        reserved={one.namespace: _networks(one) for one in given},
        addresses=_addresses(wanted, given, recorded),
        status={"subnets": recorded},
    )


def _addresses(
    wanted: Sequence[NamespaceSpec], given: Sequence[SubnetStatus], recorded: Sequence[SubnetStatus]
) -> dict[str, Within]:
    """Where pods must have their addresses: in what was given, and, in Audit, in what is declared. What a pool would
    give may be another block by then."""
    declared = {entry.name for entry in wanted if entry.subnet is not None and entry.subnet.pool is None}
    held = {one.namespace: one for one in (*recorded, *(one for one in given if one.namespace in declared))}
    return {
        name: Within(tuple(one.cidrs), _NOT_GIVEN if one.provider == "None" else _BORN_BEFORE)
        for name, one in held.items()
    }


def _record(tenant: SecureTenant, given: Sequence[SubnetStatus], world: World) -> list[SubnetStatus]:
    """What the status says was given. In Audit nothing is: what a plan chose may be another tenant's tomorrow."""
    before = {one.namespace for one in tenant.status.subnets}
    kept = [one for one in given if tenant.spec.mode != "Audit" or one.namespace in before]
    return [*kept, *_of_gone(tenant, world, {one.namespace for one in kept})]


def _of_gone(tenant: SecureTenant, world: World, but: set[str] | frozenset[str] = frozenset()) -> list[SubnetStatus]:
    """What was given to namespaces that the tenant does not declare any more, or does not hold now: it stays theirs
    for as long as they exist and the tenant owns them, or declares them still."""
    declared = {entry.name for entry in tenant.spec.namespaces}
    return [
        one
        for one in tenant.status.subnets
        if one.namespace not in but
        and (one.namespace in declared or ownership.owns(tenant, world.get(Ref(NAMESPACE, "", one.namespace))))
    ]


def _without_provider(
    tenant: SecureTenant,
    wanted: Sequence[NamespaceSpec],
    held: set[str],
    choice: provider.Choice,
    world: World,
    now: datetime,
) -> Plan:
    """No subnet is written, and no namespace is created that would be without its own. One that has its subnet stays
    bound to it: the plug-in may come back."""
    given = {one.namespace: one for one in tenant.status.subnets}
    return Plan(
        desired=[_left(entry.name, given.get(entry.name), choice.message) for entry in wanted if entry.name in held],
        conditions=[Condition.of(CONDITION, "False", choice.reason, choice.message)],
        blocking=[choice.message],
        wake_at=now + _AGAIN,
        addresses=_addresses(wanted, (), tenant.status.subnets),
        status={"subnets": tenant.status.subnets},
    )


def _outcome(
    tenant: SecureTenant,
    entry: NamespaceSpec,
    name: provider.Name,
    kind: Kind | None,
    found: Given,
    reached: Reach,
    world: World,
) -> _Outcome:
    problem = _Problem(found.reason, found.message) if found.reason else None
    if not found.blocks:
        return _Outcome([_waiting(entry.name, found.message)], None, problem)
    pool = entry.subnet.pool if entry.subnet is not None else None
    given = SubnetStatus(namespace=entry.name, cidrs=[str(one) for one in found.blocks], pool=pool or "", provider=name)
    if kind is None:
        return _Outcome((), given, problem)
    standing = allocation.objects(tenant, entry.name, kind, world)
    # An existing namespace stays bound, whatever becomes of the subnet's object: else its pods got any address.
    bind = partial(objects.binding, kind, entry.name, found.blocks)
    if taken := _name_taken(tenant, entry.name, kind, standing, world):
        return _Outcome([bind(taken.message, judged=False)], given, taken)
    if found.reason == "Overlap" and not standing:
        # It was deleted, and somebody else has the addresses now: both would be cut off.
        return _Outcome([bind(found.message, judged=False)], given, problem)
    # In no namespace, so that the lock on them is told on themselves.
    locks = {OF_SUBNETS.annotation: encoded(OF_SUBNETS, tenant, entry.name)}
    wanted = [replace(one, annotations=locks) for one in objects.desired(kind, entry.name, found.blocks, reached)]
    if found.reason == "PoolExhausted":
        # It has one family, and could not get the other yet. Not recorded: it would never get it then.
        return _Outcome([*wanted, bind(found.message)], None, problem)
    if moved := objects.moved(kind, found.blocks, standing):
        return _Outcome([*wanted, bind(moved)], given, problem or _Problem("Moved", f"{entry.name}: {moved}"))
    if waits := objects.readiness(kind, entry.name, found.blocks, standing):
        problem = problem or _Problem("Waiting", f"{entry.name} waits for its subnet: {waits}")
    # Until the plug-in has bound a namespace that was there before, what it wrote there is not wrong. Afterwards it is.
    is_bound = not waits or objects.was_bound(world.get(Ref(NAMESPACE, "", entry.name)))
    return _Outcome([*wanted, bind(waits, judged=is_bound)], given, problem)


def _shared(outcome: _Outcome, namespace: str, others: Sequence[Foreign]) -> _Outcome:
    """Where another Subnet binds the namespace too: its pods get addresses of one or the other, so it is not created
    yet. Kube-OVN would write the same on it again and again, which is not judged."""
    message = (
        f"{others[0].observed.ref} binds {namespace} as well, whose pods get addresses of either: take it out there"
    )
    desired = [
        replace(want, absent={}, waits=want.waits or message) if want.ref.kind is NAMESPACE else want
        for want in outcome.desired
    ]
    return outcome._replace(desired=desired, problem=outcome.problem or _Problem("Shared", message))


def _name_taken(
    tenant: SecureTenant, namespace: str, kind: Kind, standing: Sequence[Observed], world: World
) -> _Problem | None:
    """Where an object that is not the tenant's has a name that its own need."""
    found = (world.get(Ref(kind, "", name)) for name in allocation.names(namespace, kind))
    for have in found:
        if have is None or have in standing:
            continue
        if have.tenant == tenant.name and world.get(Ref(NAMESPACE, "", namespace)) is None:
            message = f"{have.ref} is left from an earlier tenant of this name: it goes once its addresses are free"
            return _Problem("Waiting", f"{namespace} waits for its subnet: {message}")
        message = f"{have.ref} is not of this tenant, and has the name that its own needs: delete or rename it"
        return _Problem("NameTaken", message)
    return None


def _left(namespace: str, given: SubnetStatus | None, why: str) -> Desired:
    kind = next((kind for name, kind in provider.KINDS.items() if given is not None and name == given.provider), None)
    if given is None or kind is None:
        return _waiting(namespace, why)
    return objects.binding(kind, namespace, _networks(given), why, judged=False)


def _waiting(namespace: str, why: str) -> Desired:
    return Desired(Ref(NAMESPACE, "", namespace), NAME, waits=why)


def _condition(name: provider.Name, given: Sequence[SubnetStatus], problems: Sequence[_Problem]) -> Condition:
    if problems:
        # What needs somebody's help is told first.
        problems = sorted(problems, key=lambda one: one.reason in _PASSING)
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        message = "; ".join(one.message for one in problems[:_NAMED]) + more
        return Condition.of(CONDITION, "False", problems[0].reason, message)
    if name == "None":
        message = "no network plug-in is told: pods' addresses are compared with the declared ones"
        return Condition.of(CONDITION, "True", "Declared", message)
    count = f"{len(given)} subnet" if len(given) == 1 else f"{len(given)} subnets"
    return Condition.of(CONDITION, "True", "Given", f"{count} by {name}")


def _networks(given: SubnetStatus) -> list[Network]:
    return list(parsed(given.cidrs))


def figures(status: SecureTenantStatus) -> Samples:
    return {GIVEN.name: {(): len(status.subnets)}} if status.subnets else {}


def claims(tenant: SecureTenant) -> Iterator[Claim]:
    """One for each declared block. That two different blocks overlap is told by the condition, and by `review`."""
    for index, entry in enumerate(tenant.spec.namespaces):
        for cidr in entry.subnet.cidrs if entry.subnet is not None else ():
            remedy = "pods of two namespaces cannot have the same addresses, change one of them"
            yield Claim(f"spec.namespaces[{index}].subnet.cidr", cidr, f"{cidr} is declared", remedy)


# --- which events concern whom


class _Subnet(Struct, rename="camel"):
    pool: str | None = None
    cidr: str | None = None
    cidr_v6: str | None = None


def _listens(entries: Sequence[object]) -> Iterator[str]:
    """The pools that it has subnets out of; that it has any; and the declared blocks, which are the cluster's own."""
    for entry in entries:
        subnet = getattr(entry, "subnet", None)
        if subnet is not None:
            yield _ANY
            if subnet.pool is not None:
                yield f"pool:{subnet.pool}"
            for block in parsed(cidr for cidr in (subnet.cidr, subnet.cidr_v6) if cidr is not None):
                yield f"own:{block}"


_ANY: Final = "subnets"


def _pool(new: Observed, old: Observed | None) -> Iterator[str]:
    """Its spec alone: the status is ours."""
    if has_other_spec(new, old):
        yield f"pool:{new.ref.name}"


def _subnet(new: Observed, old: Observed | None) -> Iterator[str]:
    """Of a tenant's subnet: those who talk to it (itself is concerned by its mark). Of another: all that have one."""
    if not new.tenant:
        if has_other_spec(new, old):
            yield _ANY
        return
    yield f"peer:{new.tenant}"
    yield f"platform:{new.ref.place}"


def _namespace(new: Observed, old: Observed | None) -> Iterator[str]:
    """Where the cluster's own pods have their addresses: DNS is there."""
    before = old.annotations.get(objects.SWITCH) if old is not None else None
    if is_system_namespace(new.ref.name) and new.annotations.get(objects.SWITCH) != before:
        yield _ANY


def _index(pool: Observed) -> list[str]:
    return [EVERY_POOL]


def _owned(subnet: Observed) -> list[str]:
    """Those with a mark, and with a name that we give: a copy of one (securetenant-a.bak) is somebody else's."""
    return (
        [pools.OURS] if subnet.tenant and subnet.ref.name in allocation.names(subnet.ref.place, subnet.ref.kind) else []
    )


def _bound(subnet: Observed) -> list[str]:
    return [*_owned(subnet), *strangers.binding(subnet)]


CONTROL: Final = Control(
    NAME,
    plan,
    (KUBE_OVN_SUBNET, CALICO_IP_POOL, CILIUM_POD_IP_POOL, NAMESPACE),
    looks_at=(SUBNET_POOL, NODE, SERVICE_CIDR),
    triggers=Triggers(
        objects={
            SUBNET_POOL: _pool,
            NAMESPACE: _namespace,
            KUBE_OVN_SUBNET: _subnet,
            CALICO_IP_POOL: _subnet,
            CILIUM_POD_IP_POOL: _subnet,
        },
        entry={"subnet": _Subnet | None},
        entries=_listens,
        tells=("subnets",),
    ),
    indexes={
        SUBNET_POOL: _index,
        KUBE_OVN_SUBNET: _bound,
        CALICO_IP_POOL: _owned,
        CILIUM_POD_IP_POOL: _owned,
    },
    chores=pools.CHORES,
    ranges=ranges.RANGES,
    own={SUBNET_POOL: ranges.pool},
    families=(GIVEN,),
    figures=figures,
    address=ADDRESS,
    claims=claims,
    review=review.review,
    # A namespace is created once its subnet is seen, and the cache has that already from the answer to the write.
    rereads=True,
)
