"""The rules of a ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) that pass what is agreed to NetworkPolicies,
and deny the rest. Pure.

Passed, never accepted: Accept would void the ports, the pods and the tenant's own narrowing in its NetworkPolicies. The
bodies equal what the API server returns.

Of the source of an incoming connection the API only knows pods. So what comes from outside of the cluster, from nodes,
and from pods on their network is neither passed nor denied: NetworkPolicies decide about it alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import Final, NamedTuple, TypeAlias, TypeVar

from securetenant.controls.network.policies import End, Within
from securetenant.model.objects import Json, JsonValue
from securetenant.sets import blocks, selectors
from securetenant.sets.blocks import EVERYWHERE, Block
from securetenant.sets.policy import Direction
from securetenant.sets.ports import Ports, Range

# What the API allows, in each direction: rules, peers of a rule, networks of a peer, protocols of a rule.
RULES: Final = 25
_PEERS: Final = 25
_NETWORKS: Final = 25
_PROTOCOLS: Final = 25
# Of no more blocks is each exception compared with each.
_COMPARED: Final = 64

# The metadata of the machine, with its credentials, in most clouds; the last one is that of AWS over IPv6.
METADATA: Final = (Block("169.254.169.254/32"), Block("fd00:ec2::254/128"))

_T = TypeVar("_T")
# What is passed: each end on its ports, in a fixed order.
Ends: TypeAlias = tuple[tuple[End, Ports], ...]

_FROM: Final[Mapping[Direction, str]] = {"ingress": "from", "egress": "to"}
_EVERY_POD: Final[Json] = {"namespaces": {}}
# How much wider what does not fit is passed, from one attempt to the next.
_WIDER: Final = (
    "",
    "on all ports",
    "to all pods of their namespaces and all of their cidr, on all ports",
    "to all pods of their namespaces and to every address outside of the cluster, on all ports",
)


class Passed(NamedTuple):
    """The rules of one direction. `wider`: how much wider than agreed they pass, "" if exactly."""

    rules: tuple[Json, ...] = ()
    wider: str = ""


def ends(given: Mapping[End, Ports]) -> Ends:
    """In a fixed order, so that equal ends give equal rules."""
    return tuple(sorted(given.items(), key=lambda one: (isinstance(one[0], Block), one[0], one[1] or ())))


def closing_ingress(agreed: Ends) -> Passed:
    """The agreed pods are passed, and all other pods are denied."""
    found = _fitted("ingress", agreed, (), RULES - 1)
    return Passed((*found.inside, _rule("ingress", "Deny", "other pods", [_EVERY_POD])), found.wider)


def closing_egress(agreed: Ends, services: Ends, management: Iterable[Block]) -> Passed:
    """The agreed ends are passed, and everything else is denied.

    `services`: the DNS and the API server, by address too: they come first. `management`: addresses that no cidr opens,
    denied even where cidrs are passed wider.
    """
    agreed, holes = _apart(agreed)
    found = _fitted("egress", agreed, services, RULES - 4)
    rules = (
        *found.inside,
        _rule("egress", "Deny", "management", _networks(management)),
        # Before any network: whatever the address of a pod is, only its own rules pass it.
        _rule("egress", "Deny", "other pods", [_EVERY_POD]),
        *([_rule("egress", "Deny", "exceptions", _networks(holes))] if holes else ()),
        *found.outside,
        _rule("egress", "Deny", "everything else", _networks(sorted(EVERYWHERE))),
    )
    return Passed(rules, found.wider)


def passing_ingress(agreed: Ends) -> Passed:
    """The agreed pods are passed; a closing policy comes later."""
    found = _fitted("ingress", agreed, (), RULES)
    return Passed(found.inside, found.wider)


def passing_egress(agreed: Ends, services: Ends, management: Iterable[Block]) -> Passed:
    """The agreed ends are passed, and nothing but the management is denied; a closing policy comes later. `services`:
    as above, since the management may have their addresses."""
    found = _fitted("egress", agreed, (), RULES - 1)
    if not found.outside:
        return Passed(found.inside, found.wider)
    found = _fitted("egress", agreed, services, RULES - 1)
    denied = _rule("egress", "Deny", "management", _networks(management))
    return Passed((*found.inside, denied, *found.outside), found.wider)


def _apart(agreed: Ends) -> tuple[Ends, list[Block]]:
    """The agreed ends, and exceptions of their blocks that no other block opens: denied beforehand these are one entry
    each, where a block without them is up to 32 (IPv6: 128) for each."""
    found = [end for end, _ in agreed if isinstance(end, Block)]
    if len(found) > _COMPARED:
        return agreed, []
    holes = [hole for hole in sorted({one for block in found for one in block.excepts}) if _is_closed(hole, found)]
    chosen = set(holes[: _PEERS * _NETWORKS])
    left = {
        Block(end.cidr, tuple(one for one in end.excepts if one not in chosen))
        if isinstance(end, Block)
        else end: open_
        for end, open_ in agreed
    }
    return (ends(left), [Block(one) for one in sorted(chosen)]) if len(left) == len(agreed) else (agreed, [])


def _is_closed(hole: str, found: Iterable[Block]) -> bool:
    return all(hole in block.excepts or not _overlap(hole, block.cidr) for block in found)


@lru_cache(maxsize=4096)
def _overlap(one: str, other: str) -> bool:
    first, second = ip_network(one), ip_network(other)
    return first.version == second.version and first.overlaps(second)


class _Fitted(NamedTuple):
    """Rules that pass pods and services, and those that pass addresses outside of the cluster."""

    inside: tuple[Json, ...]
    outside: tuple[Json, ...]
    wider: str


def _fitted(direction: Direction, agreed: Ends, services: Ends, most: int) -> _Fitted:
    """At most so many rules; passed wider until they are no more."""
    first = tuple(_rules(direction, dict(services)))
    for step, wider in enumerate(_WIDER):
        passed = _widened(agreed, step)
        inside = _rules(direction, {end: allowed for end, allowed in passed.items() if isinstance(end, Within)})
        outside = _rules(direction, {end: allowed for end, allowed in passed.items() if isinstance(end, Block)})
        is_short = all(allowed is None or len(allowed) <= _PROTOCOLS for allowed in passed.values())
        if step == len(_WIDER) - 1 or (is_short and len(first) + len(inside) + len(outside) <= most):
            return _Fitted((*first, *inside), tuple(outside), wider)
    raise AssertionError  # the last step returns: one rule for pods, one for addresses


def _widened(agreed: Ends, step: int) -> dict[End, Ports]:
    if step == 0:
        return dict(agreed)
    if step == 1:
        return {end: None for end, _ in agreed}
    whole: dict[End, Ports] = {
        Within(end.namespace, selectors.ALL): None for end, _ in agreed if isinstance(end, Within)
    }
    cidrs = {Block(end.cidr) for end, _ in agreed if isinstance(end, Block)}
    if step == 3 and cidrs:
        cidrs = set(EVERYWHERE)
    return {**whole, **dict.fromkeys(cidrs)}


def _rules(direction: Direction, passed: Mapping[End, Ports]) -> list[Json]:
    """One for all ends with the same ports, or several where it has too many peers."""
    by_ports: dict[Ports, list[End]] = {}
    for end, allowed in passed.items():
        by_ports.setdefault(allowed, []).append(end)
    return [
        _rule(direction, "Pass", "agreed", peers, allowed)
        for allowed in sorted(by_ports, key=lambda one: (one is not None, one or ()))
        for peers in _batched(_peers(by_ports[allowed]), _PEERS)
    ]


def _peers(ends: Iterable[End]) -> list[Json]:
    """Namespaces with the same selector of pods in one, and networks as many to one as it may have."""
    by_selector: dict[selectors.Selector, list[str]] = {}
    cidrs: list[Block] = []
    for end in ends:
        if isinstance(end, Block):
            cidrs.append(end)
        else:
            by_selector.setdefault(end.selector, []).append(end.namespace)
    pods = [_pods(names, selected) for selected, names in sorted(by_selector.items())]
    return [*pods, *_networks(sorted(cidrs))]


def _pods(names: Sequence[str], selected: selectors.Selector) -> Json:
    there = selectors.rendered(selectors.of_namespaces(sorted(names)))
    if selected == selectors.ALL:
        return {"namespaces": there}
    return {"pods": {"namespaceSelector": there, "podSelector": selectors.rendered(selected)}}


def _networks(found: Iterable[Block]) -> list[Json]:
    """Without exceptions, which the API does not know: what is left of each block."""
    cidrs = dict.fromkeys(cidr for block in found for cidr in _cidrs(block))
    return [{"networks": some} for some in _batched(list[JsonValue](cidrs), _NETWORKS)]


@lru_cache(maxsize=1024)
def _cidrs(block: Block) -> tuple[str, ...]:
    return tuple(map(str, blocks.parts(block)))


def _batched(given: list[_T], most: int) -> list[list[_T]]:
    return [given[start : start + most] for start in range(0, len(given), most)]


def _rule(direction: Direction, action: str, name: str, peers: Iterable[Json], allowed: Ports = None) -> Json:
    rule: Json = {"name": name, "action": action, _FROM[direction]: list(peers)}
    if allowed is not None:
        rule["protocols"] = [_protocol(item) for item in allowed]
    return rule


def _protocol(item: Range) -> JsonValue:
    low, high = max(item.low, 1), item.high
    port: Json = {"number": low} if low == high else {"range": {"start": low, "end": high}}
    return {item.protocol.lower(): {"destinationPort": port}}
