"""Which flows the changes of a plan open and close."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, NamedTuple

from securetenant.api.tenant import SecureTenant
from securetenant.cache.triggers import tokens_of, tokens_of_change
from securetenant.controls.world import World
from securetenant.drift.assess import Assessment
from securetenant.drift.judge import Finding
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.names import LABEL_NAMESPACE_NAME
from securetenant.model.record import shared_record
from securetenant.reach import addresses, holds, standing
from securetenant.reach.flows import compare
from securetenant.reach.values import Cluster, End, Flow, Group, Standing
from securetenant.sets import labels, policy, ports
from securetenant.sets.blocks import Block
from securetenant.sets.labels import Labels
from securetenant.sets.ports import Ports

_CHANGES: Final = frozenset({"Create", "Replace", "Patch", "Recreate", "Delete"})
_NAMED: Final = 3  # namespaces, addresses or kinds of pods that a line names


class Side(NamedTuple):
    """One end of a flow: pods of these namespaces, or, where there are none, addresses outside the cluster. `pods`:
    which ones, as text; "" for all."""

    namespaces: tuple[str, ...]
    pods: str = ""
    addresses: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.namespaces:
            return _outside(self.addresses)
        return f"{self.pods} of {_some(self.namespaces)}" if self.pods else _some(self.namespaces)


class PlannedFlow(NamedTuple):
    source: Side
    target: Side
    ports: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} on {self.ports}"


@dataclass(frozen=True, slots=True)
class Flows:
    """To and from the namespaces of a tenant. `unknown`: why there may be more of both, or fewer."""

    opened: Sequence[PlannedFlow] = ()
    closed: Sequence[PlannedFlow] = ()
    unknown: Sequence[str] = ()


def planned(found: Iterable[Assessment], world: World) -> dict[str, Flows]:
    """By tenant, what the changes of all these open and close to and from its namespaces. Nothing is compared where no
    NetworkPolicy and no label of a namespace changes."""
    writing = [one for one in found if one.tenant.spec.mode == "Enforce"]
    changes = [f for one in writing for f in one.findings if f.action in _CHANGES and _decides(f, world)]
    of = {finding.ref.place for finding in changes}
    if not of:
        return {}
    before = standing.everything(world)
    difference = compare(before, _after(before, changes, writing), of)
    owner = {name: one.tenant.name for one in writing for name in one.held}
    opened, closed = (_by_tenant(flows, owner) for flows in (difference.opened, difference.closed))
    return {
        one.tenant.name: Flows(
            _merged(opened.get(one.tenant.name, ())),
            _merged(closed.get(one.tenant.name, ())),
            [
                *holds.unclear([name for name in one.held if name in of], world, {want.ref for want in one.desired}),
                *(
                    f"{name}: {why}"
                    for name, listed in difference.unknown.items()
                    if name not in owner or name in one.held
                    for why in listed
                ),
            ],
        )
        for one in writing
        if not of.isdisjoint(one.held)
    }


def peers(tenant: SecureTenant, world: World) -> list[SecureTenant]:
    """The tenants whose policies a change of this one may change."""
    tokens = tokens_of_change(tenant.name, tokens_of(tenant), world.indexed)
    named = (world.tenant(one.removeprefix("tenant:")) for one in tokens if one.startswith("tenant:"))
    found = {one.name: one for one in (*world.having(tokens), *named) if one is not None and one.name != tenant.name}
    return list(found.values())


def _decides(finding: Finding, world: World) -> bool:
    """Whether a change may open or close something."""
    if finding.ref.kind is not NAMESPACE:
        return finding.ref.kind is NETWORK_POLICY
    before = standing.labels_of(finding.ref.name, world)
    return before is None or _labels(finding, before) != before


def _after(before: Cluster, changes: Iterable[Finding], writing: Iterable[Assessment]) -> Cluster:
    """The cluster once the changes are made."""
    spaces = dict(before.namespaces)
    policies = {name: {one.ref: one for one in listed} for name, listed in before.policies.items()}
    for finding in changes:
        ref, want = finding.ref, finding.desired
        if ref.kind is NAMESPACE:
            spaces[ref.name] = _labels(finding, spaces.get(ref.name, {LABEL_NAMESPACE_NAME: ref.name}))
        elif want is None:
            policies.get(ref.namespace, {}).pop(ref, None)
        else:
            policies.setdefault(ref.namespace, {})[ref] = Standing(ref, policy.parsed(want.body["spec"]))
    given = {name: blocks for one in writing for name, blocks in one.reserved.items()}
    subnets = {**before.subnets, **{name: tuple(blocks) for name, blocks in given.items()}}
    return Cluster(spaces, {name: list(listed.values()) for name, listed in policies.items()}, subnets=subnets)


def _labels(finding: Finding, before: Mapping[str, str]) -> dict[str, str]:
    """The labels of a namespace after a change of ours: what we wrote earlier and no longer want goes."""
    record = shared_record(finding.observed) if finding.observed is not None else None
    kept = {key: value for key, value in before.items() if record is None or key not in record.labels}
    return {**kept, **(finding.desired.labels if finding.desired is not None else {})}


def _by_tenant(flows: Iterable[Flow], owner: Mapping[str, str]) -> dict[str, list[Flow]]:
    """The flows of which a tenant has an end."""
    found: dict[str, list[Flow]] = {}
    for flow in flows:
        ends = [end for end in (flow.source, flow.target) if isinstance(end, Group)]
        for tenant in dict.fromkeys(owner[name] for end in ends for name in end.namespaces if name in owner):
            found.setdefault(tenant, []).append(flow)
    return found


def _merged(flows: Iterable[Flow]) -> list[PlannedFlow]:
    """Flows that differ by their pods at one end alone are one."""
    by_source: dict[tuple[object, End, Ports], list[End]] = {}
    for flow in flows:
        by_source.setdefault((_place(flow.source), flow.target, flow.ports), []).append(flow.source)
    by_target: dict[tuple[Side, object, Ports], list[End]] = {}
    for (_, target, allowed), sources in by_source.items():
        by_target.setdefault((_side(sources), _place(target), allowed), []).append(target)
    return sorted(
        PlannedFlow(source, _side(targets), ports.described(allowed))
        for (source, _, allowed), targets in by_target.items()
    )


def _place(end: End) -> object:
    """What is the same of two ends that only differ by their pods."""
    return end.namespaces if isinstance(end, Group) else end


def _side(ends: Sequence[End]) -> Side:
    """Ends at the same place, as one."""
    first = ends[0]
    if not isinstance(first, Group):
        return Side((), addresses=tuple(map(str, first.blocks)))
    pods = list(dict.fromkeys(part for end in ends if isinstance(end, Group) for part in end.pods or (labels.EVERY,)))
    return Side(first.namespaces, "" if _is_all(pods) else _some(list(map(labels.described, pods)), " or "))


def _is_all(pods: Collection[Labels]) -> bool:
    """Whether these are all pods there can be."""
    left: list[Labels] = [labels.EVERY]
    for one in pods:
        left = [rest for part in left for rest in _without(part, one)]
    return not left


def _without(part: Labels, one: Labels) -> Iterable[Labels]:
    return (part,) if labels.both(part, one) is None else labels.without(part, one)


def _outside(blocks: Sequence[str]) -> str:
    """Addresses as text, by what they are not where that is shorter."""
    listed = list(map(ip_network, blocks))
    known = addresses.Covered(map(addresses.span, listed))
    cut = addresses.Cut(Block(text) for text in blocks)
    others = addresses.networks(part for part in cut.everything() if not known.contains(part))
    if len(others) >= len(listed):
        return _some(blocks)
    return f"outside of the cluster but {_some(list(map(str, others)))}" if others else "outside of the cluster"


def _some(texts: Sequence[str], joined: str = ", ") -> str:
    return joined.join(texts[:_NAMED]) + (f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else "")
