"""What stands above and below the NetworkPolicies of a class of pods: the rules of the tiers Admin and Baseline.

By priority, the lower number first. Of equal priority the order is undefined upstream: by name here, but on Kube-OVN,
which enforces the first one alone, and none above 399. What is not known for certain (the addresses of nodes and of
names, rules that are not understood) may open and never closes, so that no flow is missing; it is told as unknown.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Final, Literal, NamedTuple, TypeAlias

from securetenant.model.kinds import (
    ADMIN_NETWORK_POLICY,
    BASELINE_ADMIN_NETWORK_POLICY,
    CLUSTER_NETWORK_POLICY,
    Kind,
)
from securetenant.model.names import LABEL_NAMESPACE_NAME
from securetenant.model.objects import JsonValue, Ref
from securetenant.reach.values import Cluster, Tiered
from securetenant.sets import labels, ports, selectors, tiers
from securetenant.sets.blocks import Block
from securetenant.sets.labels import Labels
from securetenant.sets.matching import Truth
from securetenant.sets.policy import TYPE, PodPeer, Unclear
from securetenant.sets.ports import HIGHEST, LOWEST, Ports, Range
from securetenant.sets.selectors import Expression, Selector
from securetenant.sets.tiers import Action, Rule, TierPolicy

KINDS: Final = (ADMIN_NETWORK_POLICY, BASELINE_ADMIN_NETWORK_POLICY, CLUSTER_NETWORK_POLICY)
HIGHEST_OF_KUBE_OVN: Final = 399
_UNTOLD: Final = "Kube-OVN does so with ENABLE_ANP alone, which no object tells"


class Entry(NamedTuple):
    """One rule: what is done with connections with these peers, by their numbers. `perhaps`: which others may be peers
    too. `is_certain`: whether it is for all pods of the class."""

    action: Action
    peers: frozenset[int]
    ports: Ports
    named: tuple[str, ...]
    ref: Ref
    perhaps: Literal["nobody", "beyond", "anyone"] = "nobody"
    is_certain: bool = True


class Tiers(NamedTuple):
    """The rules for the pods of a class in one direction, the first that is asked first."""

    admin: tuple[Entry, ...] = ()
    baseline: tuple[Entry, ...] = ()


# Of ingress and egress.
Sides: TypeAlias = tuple[Tiers, Tiers]
NONE: Final[Sides] = (Tiers(), Tiers())


class Layer(NamedTuple):
    """One policy, for some pods of a namespace."""

    pods: Labels
    tier: tiers.Tier
    entries: tuple[tuple[Entry, ...], tuple[Entry, ...]]


class Other(NamedTuple):
    """The other end of a connection: the numbers of the peers that it is one of. `is_beyond`: it has an address that no
    pod has; `is_node`: of a node. `is_certain`: whether all of it is one of these peers."""

    peers: frozenset[int]
    is_beyond: bool = False
    is_node: bool = False
    is_certain: bool = True


class Allowing(NamedTuple):
    """A policy, and the ports that it allows. `named`: the port's name, which counts as all ports of its protocol."""

    ref: Ref
    ports: Ports
    named: str = ""


class Verdict(NamedTuple):
    """The ports that the tier Admin accepts, that NetworkPolicies allow, and on which both are silent and the tier
    Baseline does not deny. `by`: the policies of tiers that accept."""

    accepted: Ports
    allowed: Ports
    silent: Ports
    by: tuple[Allowing, ...] = ()


# --- reading


def parsed(kind: Kind, spec: JsonValue) -> TierPolicy | Unclear:
    return tiers.parsed(spec, baseline=kind is BASELINE_ADMIN_NETWORK_POLICY)


def layers(
    state: Cluster,
    selected: Callable[[Selector], Iterable[str]],
    number: Callable[[PodPeer | Block], int],
    tell: Callable[[str, str], None],
) -> dict[str, list[Layer]]:
    """By namespace, the policies that select pods of it, in their order. `selected`: the namespaces of a selector;
    `tell`: what is not known of a namespace."""
    found: dict[str, list[Layer]] = {}
    for one in _ordered(state.tiers):
        if isinstance(one.policy, Unclear):
            for name in selected(Selector()):
                tell(name, f"{one.ref} is not understood")
    for one, policy in enforced(state):
        names, pods = tuple(selected(policy.subject.namespaces or Selector())), labels.terms(policy.subject.pods)
        if not names or pods is None:
            continue
        unknown = dict.fromkeys(unclear(one.ref, policy))
        if not state.are_tiers_enforced and any(map(_may_accept, (*policy.ingress, *policy.egress))):
            unknown[f"{one.ref} may not be enforced: {_UNTOLD}"] = None
        ingress, egress = (
            tuple(
                _entry(one.ref, rule, number)._replace(is_certain=state.are_tiers_enforced)
                for rule in policy.rules(direction)
            )
            for direction in TYPE
        )
        for name in names:
            found.setdefault(name, []).append(Layer(pods, policy.tier, (ingress, egress)))
            for told in unknown:
                tell(name, told)
    for policy, why in _unenforced(state):
        for name in selected(policy.subject.namespaces or Selector()):
            tell(name, why)
    return found


def _ordered(given: Iterable[Tiered]) -> list[Tiered]:
    return sorted(given, key=lambda one: (one.created, one.ref.name))


def enforced(state: Cluster) -> Iterator[tuple[Tiered, TierPolicy]]:
    """In the order in which they are asked; a BaselineAdminNetworkPolicy last."""
    seen: set[tuple[str, int | None]] = set()
    for one, policy in _by_priority(state):
        at = (policy.tier, policy.priority)
        if state.plugin != "KubeOVN" or (at not in seen and (policy.priority or 0) <= HIGHEST_OF_KUBE_OVN):
            yield one, policy
        seen.add(at)


def _by_priority(state: Cluster) -> list[tuple[Tiered, TierPolicy]]:
    is_first = state.plugin == "KubeOVN"
    understood = [(one, one.policy) for one in state.tiers if isinstance(one.policy, TierPolicy)]

    def order(item: tuple[Tiered, TierPolicy]) -> tuple[bool, int, str, str]:
        one, policy = item
        return policy.priority is None, policy.priority or 0, one.created if is_first else "", one.ref.name

    return sorted(understood, key=order)


def _unenforced(state: Cluster) -> Iterator[tuple[TierPolicy, str]]:
    chosen = {one.ref for one, _ in enforced(state)}
    for one, policy in _by_priority(state):
        if one.ref not in chosen:
            why = (
                f"above {HIGHEST_OF_KUBE_OVN}"
                if (policy.priority or 0) > HIGHEST_OF_KUBE_OVN
                else f"that another of tier {policy.tier} has"
            )
            yield policy, f"{one.ref} has a priority {why}: Kube-OVN does not enforce it"


def _entry(ref: Ref, rule: Rule | Unclear, number: Callable[[PodPeer | Block], int]) -> Entry:
    if isinstance(rule, Unclear):
        return Entry(tiers.action_of(rule) or "Accept", frozenset(), None, (), ref, "anyone")
    known = frozenset(number(peer) for peer in rule.peers if isinstance(peer, PodPeer | Block))
    is_all = all(isinstance(peer, PodPeer | Block) for peer in rule.peers)
    return Entry(rule.action, known, rule.ports, rule.named, ref, "nobody" if is_all else "beyond")


def unclear(ref: Ref, policy: TierPolicy) -> Iterator[str]:
    """What is not known of a policy."""
    for rule in (*policy.ingress, *policy.egress):
        yield from _unknown(ref, rule)


def _unknown(ref: Ref, rule: Rule | Unclear) -> Iterator[str]:
    if isinstance(rule, Unclear):
        yield f"a rule of {ref} is not understood"
        return
    for peer in rule.peers:
        if isinstance(peer, tiers.Nodes):
            yield f"a rule of {ref} is about nodes, whose addresses are not known here"
        elif isinstance(peer, tiers.Domain):
            yield f"a rule of {ref} is about the name {peer.name}, whose addresses are not known here"


def elsewhere(one: Tiered, but: Collection[str]) -> Tiered | None:
    """What a policy says of other namespaces than these; None: nothing that is understood."""
    if not isinstance(one.policy, TierPolicy):
        return None
    subject = one.policy.subject
    others = (Expression(LABEL_NAMESPACE_NAME, "NotIn", tuple(sorted(but))),) if but else ()
    where = selectors.both(subject.namespaces or selectors.ALL, Selector((), others))
    return where and one._replace(policy=replace(one.policy, subject=PodPeer(where, subject.pods)))


def of(chosen: Iterable[Layer], matched: Collection[Labels], *, is_certain: bool = True) -> Sides:
    """The rules for pods that these sets of labels have. `is_certain`: whether they have all of them."""
    admin: tuple[list[Entry], list[Entry]] = ([], [])
    baseline: tuple[list[Entry], list[Entry]] = ([], [])
    for layer in chosen:
        if layer.pods and layer.pods not in matched:
            continue
        for found, entries in zip(admin if layer.tier == "Admin" else baseline, layer.entries, strict=True):
            is_sure = is_certain or not layer.pods
            found.extend(entries if is_sure else (entry._replace(is_certain=False) for entry in entries))
    if not any((*admin, *baseline)):
        return NONE
    return Tiers(tuple(admin[0]), tuple(baseline[0])), Tiers(tuple(admin[1]), tuple(baseline[1]))


def names(found: Iterable[Mapping[str, Iterable[Layer]]]) -> Iterator[str]:
    """The ports' names in use."""
    listed = {layer.entries: None for state in found for layers in state.values() for layer in layers}
    return (name for sides in listed for entries in sides for entry in entries for name in entry.named)


# --- judging


def judged(
    rules: Tiers, other: Other, named: Mapping[str, tuple[str, int]] | None, *, policies: Ports, is_isolated: bool
) -> Verdict:
    """What one end says to connections with another. `named`: the ports of the target by name, None: not known.
    `policies`: what the NetworkPolicies allow, if one isolates it."""
    accepted, left, by = _decided(rules.admin, other, named)
    if is_isolated:
        return Verdict(accepted, ports.intersection(left, policies), ports.NONE, by)
    more, rest, also = _decided(rules.baseline, other, named)
    silent = ports.intersection(left, ports.union(more, rest))
    return Verdict(accepted, ports.NONE, silent, (*by, *also))


def _decided(
    entries: Iterable[Entry], other: Other, named: Mapping[str, tuple[str, int]] | None
) -> tuple[Ports, Ports, tuple[Allowing, ...]]:
    """What a tier accepts, and what it leaves to what comes after it."""
    accepted: Ports = ports.NONE
    passed: Ports = ports.NONE
    left: Ports = None
    by: list[Allowing] = []
    for entry in entries:
        truth = _is_peer(entry, other)
        if truth is False:
            continue
        certain, possible = _numbers(entry, named)
        hit = ports.intersection(left, possible)
        if hit == ports.NONE:
            continue
        if entry.action == "Accept":
            accepted = ports.union(accepted, hit)
            names_ = entry.named if certain != possible else ("",)
            by += (Allowing(entry.ref, hit, name) for name in names_)
        elif entry.action == "Pass":
            passed = ports.union(passed, hit)
        if truth:
            left = ports.difference(left, certain)
            if left == ports.NONE:
                break
    return accepted, ports.union(passed, left), tuple(by)


def _is_peer(entry: Entry, other: Other) -> Truth:
    if not entry.peers.isdisjoint(other.peers):
        return True if entry.is_certain and other.is_certain else None
    if entry.perhaps == "anyone" or (entry.perhaps == "beyond" and other.is_beyond):
        return None
    return False


def _numbers(entry: Entry, named: Mapping[str, tuple[str, int]] | None) -> tuple[Ports, Ports]:
    """The ports of a rule at a target: those that are known for certain, and those that it may have."""
    if not entry.named:
        return entry.ports, entry.ports
    if named is None:
        every = ports.merged(Range(protocol, LOWEST, HIGHEST) for protocol in ("TCP", "UDP", "SCTP"))
        return entry.ports, ports.union(entry.ports, every)
    found = (named[name] for name in entry.named if name in named)
    known = ports.union(entry.ports, ports.merged(Range(protocol, at, at) for protocol, at in found))
    return known, known


# --- who may be met at all


class Near(NamedTuple):
    """The classes that one may meet, by their index, besides those that nothing excludes (`is_wide`)."""

    classes: Set[int]
    is_wide: bool


def accepting(state: Cluster) -> Iterator[tuple[Selector, Rule | Unclear]]:
    """The rules of the tier Admin that may open what NetworkPolicies close, each with the namespaces of its subject."""
    for _, policy in enforced(state):
        if policy.tier == "Admin":
            for rule in (*policy.ingress, *policy.egress):
                if _may_accept(rule):
                    yield policy.subject.namespaces or Selector(), rule


def _may_accept(rule: Rule | Unclear) -> bool:
    return (tiers.action_of(rule) if isinstance(rule, Unclear) else rule.action) in ("Accept", None)


def near(
    rules: Tiers,
    policies: Near,
    *,
    is_isolated: bool,
    members: Mapping[int, Sequence[int]],
    everyone: Set[int],
    loose: Sequence[int],
) -> Near:
    """`policies`: whom the NetworkPolicies let one meet. `members`: the classes that are a peer, by its number.
    `everyone`: the numbers of the peers that all pods are. `loose`: the classes that rules never certainly match."""
    found = policies
    if not is_isolated:
        found = _closed(rules.baseline, found, members, everyone, loose)
    found = _closed(rules.admin, found, members, everyone, loose)
    accepting = [entry for entry in rules.admin if entry.action == "Accept"]
    opened = {index for entry in accepting for peer in entry.peers for index in members.get(peer, ())}
    if any(entry.perhaps == "beyond" for entry in accepting):
        opened.update(loose)
    return Near(found.classes | opened, found.is_wide or any(entry.perhaps == "anyone" for entry in accepting))


def _closed(
    entries: Iterable[Entry],
    before: Near,
    members: Mapping[int, Sequence[int]],
    everyone: Set[int],
    loose: Sequence[int],
) -> Near:
    """What is left where a rule denies all pods: whom the rules before it name."""
    kept: set[int] = set(loose)
    for entry in entries:
        if entry.action != "Deny":
            if entry.perhaps == "anyone":
                return before
            kept.update(index for peer in entry.peers for index in members.get(peer, ()))
        elif entry.ports is None and entry.is_certain and not entry.peers.isdisjoint(everyone):
            return Near(kept if before.is_wide else kept & before.classes, is_wide=False)
    return before
