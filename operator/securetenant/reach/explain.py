"""Why a connection passes or does not: what the policies of each end say to it, one by one.

It judges single ends, and so needs no classes; that it agrees with flows.py is tested.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from securetenant.model.objects import Ref
from securetenant.reach import addresses
from securetenant.reach.addresses import Span
from securetenant.reach.values import Cluster, Pod, Standing
from securetenant.sets import labels, matching, ports
from securetenant.sets.blocks import Address, Block
from securetenant.sets.matching import Truth
from securetenant.sets.policy import Direction, Peer, Policy, Rule, Unclear
from securetenant.sets.ports import Range


class Labelled(NamedTuple):
    """Whichever pods of a namespace have exactly these labels: neither their addresses nor the names of their ports
    are known."""

    namespace: str
    labels: Mapping[str, str]


# An address: one that no pod has.
Place: TypeAlias = Pod | Labelled | Address


class Call(NamedTuple):
    """What is connected to. `protocol`: TCP, UDP or SCTP with a port; or `ports.OTHER` (ICMP)."""

    protocol: str
    port: int = 0


class Cause(NamedTuple):
    """A rule that allows a connection: of which policy, its index in the policy's rules for that direction, and the
    index of its peer there. None: all of it, since it names no peers, or is not understood (`is_clear`). `named`: a
    port's name that counts as all ports of its protocol. `is_certain`: not, where it depends on the pod's address."""

    ref: Ref
    rule: int | None = None
    peer: int | None = None
    named: str = ""
    is_clear: bool = True
    is_certain: bool = True


# Why an end allows it or not. open: no policy selects it. host: it is on its node's network, where none is enforced.
# outside: it is no pod. family: the ends have no address family in common.
Reason: TypeAlias = Literal["allowed", "refused", "depends", "open", "host", "outside", "family"]
_TRUTH: Final[Mapping[Reason, Truth]] = {"refused": False, "family": False, "depends": None}


@dataclass(frozen=True, slots=True)
class Side:
    """What one end says. `selecting`: the policies that select it, in this direction; `causes`: those of their rules
    that allow it."""

    direction: Direction
    reason: Reason
    selecting: tuple[Ref, ...] = ()
    causes: tuple[Cause, ...] = ()

    @property
    def passes(self) -> Truth:
        return _TRUTH.get(self.reason, True)


@dataclass(frozen=True, slots=True)
class Explanation:
    """`passes`: None where it depends on addresses that are not known. `unknown`: why the answer may be another one,
    what is not understood among it."""

    source: Place
    target: Place
    call: Call
    passes: Truth
    leaves: Side
    enters: Side
    unknown: tuple[str, ...] = ()


class _Case(NamedTuple):
    """One end (`own`), what the connection is with, and the address family that it is of."""

    cluster: Cluster
    direction: Direction
    own: Place
    other: Place
    call: Call
    family: int


def explain(cluster: Cluster, source: Place, target: Place, call: Call) -> Explanation:
    """Of two different pods, or of a pod and an address. Raises ValueError where a namespace is not there."""
    for end in (source, target):
        if isinstance(end, Pod | Labelled) and end.namespace not in cluster.namespaces:
            raise ValueError(f"there is no namespace {end.namespace}")
    sides = [
        (
            _side(_Case(cluster, "egress", source, target, call, family)),
            _side(_Case(cluster, "ingress", target, source, call, family)),
        )
        for family in sorted(_families(cluster, source) & _families(cluster, target))
    ] or [(Side("egress", "family"), Side("ingress", "family"))]
    answers = [matching.every(side.passes for side in both) for both in sides]
    passes = matching.some(answers)
    leaves, enters = sides[answers.index(passes)]
    unknown = dict.fromkeys((*_unclear(cluster, source, leaves), *_unclear(cluster, target, enters)))
    return Explanation(source, target, call, passes, leaves, enters, tuple(unknown))


def _side(case: _Case) -> Side:
    own, direction = case.own, case.direction
    if not isinstance(own, Pod | Labelled):
        return Side(direction, "outside")
    if isinstance(own, Pod) and own.is_host:
        return Side(direction, "host")
    listed = case.cluster.policies.get(own.namespace, ())
    selecting = [one for one in listed if _selects(one.policy, direction, own.labels)]
    if not selecting:
        return Side(direction, "open")
    causes = tuple(cause for one in selecting for cause in _causes(case, one, own.namespace))
    reason: Reason = "refused" if not causes else "allowed" if any(one.is_certain for one in causes) else "depends"
    return Side(direction, reason, tuple(one.ref for one in selecting), causes)


def _selects(one: Policy | Unclear, direction: Direction, known: Mapping[str, str]) -> bool:
    if isinstance(one, Unclear):
        return True
    terms = labels.terms(one.pods)
    return one.rules(direction) is not None and terms is not None and labels.matched(terms, known)


def _causes(case: _Case, one: Standing, namespace: str) -> Iterator[Cause]:
    if isinstance(one.policy, Unclear):
        yield Cause(one.ref, is_clear=False)
        return
    for index, rule in enumerate(one.policy.rules(case.direction) or ()):
        if isinstance(rule, Unclear):
            yield Cause(one.ref, index, is_clear=False)
            continue
        named = _called(rule, case.own if case.direction == "ingress" else case.other, case.call)
        if named is None:
            continue
        if rule.peers is None:
            yield Cause(one.ref, index, None, named)
        for at, peer in enumerate(rule.peers or ()):
            if (truth := _is_peer(case, peer, namespace)) is not False:
                yield Cause(one.ref, index, at, named, is_certain=truth is True)


def _called(rule: Rule, target: Place, call: Call) -> str | None:
    """Whether a rule's ports include the one that is called: "", or the name that counts as all; None: they do not."""
    if ports.intersection(rule.ports, (Range(call.protocol, call.port, call.port),)) != ports.NONE:
        return ""
    for port in rule.named:
        if isinstance(target, Pod) and target.named.get(port.name) == call and port.protocol == call.protocol:
            return ""
        if isinstance(target, Labelled) and port.protocol == call.protocol:
            return f"{port.protocol} {port.name}"
    return None


def _is_peer(case: _Case, peer: Peer, namespace: str) -> Truth:
    other, cluster = case.other, case.cluster
    if isinstance(peer, Block):
        return _is_in(cluster, other, peer, case.family)
    if not isinstance(other, Pod | Labelled) or (isinstance(other, Pod) and other.is_host):
        return False
    pods = labels.terms(peer.pods)
    if pods is None or not labels.matched(pods, other.labels):
        return False
    if peer.namespaces is None:
        return other.namespace == namespace
    spaces = labels.terms(peer.namespaces)
    return spaces is not None and labels.matched(spaces, cluster.namespaces[other.namespace])


# --- addresses


def _is_in(cluster: Cluster, end: Place, block: Block, family: int) -> Truth:
    """Whether the address of an end is in a block that counts for it; None: it may be."""
    if isinstance(end, Pod | Labelled) and not (cluster.blocks_match_pods or (isinstance(end, Pod) and end.is_host)):
        return False
    inside = addresses.spans(block)
    found = [
        True if addresses.contains(inside, one) else None if addresses.meets(inside, one) else False
        for one in _known(cluster, end)
        if one.version == family
    ]
    if not isinstance(end, Pod | Labelled) or (isinstance(end, Pod) and end.addresses):
        return True in found
    return found[0] if len(set(found)) == 1 else None if found else False


def _known(cluster: Cluster, end: Place) -> Iterable[Span]:
    """The addresses that an end has one of, as far as known."""
    if not isinstance(end, Pod | Labelled):
        return (addresses.single(end),)
    if isinstance(end, Pod) and (end.addresses or end.is_host):
        return map(addresses.single, end.addresses)
    return map(addresses.span, cluster.subnets.get(end.namespace) or cluster.ranges)


def _families(cluster: Cluster, end: Place) -> set[int]:
    return {one.version for one in _known(cluster, end)} or {4, 6}


# --- in words


def _unclear(cluster: Cluster, end: Place, side: Side) -> Iterator[str]:
    if isinstance(end, Pod | Labelled):
        yield from cluster.unclear.get(end.namespace, ())
    for cause in side.causes:
        if not cause.is_clear:
            yield f"{cause.ref} is not understood" if cause.rule is None else f"a rule of {cause.ref} is not understood"


def described(found: Explanation) -> tuple[str, str]:
    """What each end says, as text: "egress of payments-prod: 4 policies select app=web, none allows TCP 8443 to
    ledger-prod"."""
    return (
        _described(found.leaves, found.source, f"{_call(found.call)} to {_place(found.target)}"),
        _described(found.enters, found.target, f"{_call(found.call)} from {_place(found.source)}"),
    )


def _described(side: Side, own: Place, what: str) -> str:
    match side.reason:
        case "outside":
            return f"{_place(own)} is outside the cluster"
        case "host":
            return f"{_place(own)} is on its node's network, where no policy is enforced"
        case "family":
            return f"{_place(own)} and the other end have no address family in common"
    refs = dict.fromkeys(cause.ref for cause in side.causes)
    end = f"{side.direction} of {_place(own)}"
    if side.reason == "open":
        return f"{end}: no policy selects {_pods(own)}"
    if side.reason == "refused":
        count = "1 policy selects" if len(side.selecting) == 1 else f"{len(side.selecting)} policies select"
        none = "it does not allow" if len(side.selecting) == 1 else "none allows"
        return f"{end}: {count} {_pods(own)}, {none} {what}"
    depends = "" if side.reason == "allowed" else ", for some addresses"
    return f"{end}: {', '.join(map(str, refs))} {'allows' if len(refs) == 1 else 'allow'} {what}{depends}"


def _place(end: Place) -> str:
    return end.namespace if isinstance(end, Pod | Labelled) else str(end)


def _pods(end: Place) -> str:
    if not isinstance(end, Pod | Labelled):
        return str(end)
    return ", ".join(f"{key}={value}" for key, value in sorted(end.labels.items())) or "pods without labels"


def _call(call: Call) -> str:
    return ports.described((Range(call.protocol, call.port, call.port),))
