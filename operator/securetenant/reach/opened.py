"""What policies open, or a tier denies, peer by peer."""

from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from securetenant.model.objects import Ref
from securetenant.reach import addresses, standing
from securetenant.reach.standing import BOTH
from securetenant.reach.values import Outside, Standing, Tiered
from securetenant.sets import labels, ports, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.policy import Direction, NamedPort, Peer, PodPeer, Policy, Rule
from securetenant.sets.ports import HIGHEST, LOWEST, Ports, Range
from securetenant.sets.selectors import ALL, Selector
from securetenant.sets.tiers import Action, TierPolicy
from securetenant.sets.tiers import Rule as TierRule


class Opening(NamedTuple):
    """One peer of one rule of a policy, for pods of a namespace; None: everyone. `rule`: with this peer alone, since
    openings are hashed."""

    direction: Direction
    namespace: str
    ref: Ref
    pods: Selector
    rule: Rule
    peer: Peer | None

    @property
    def key(self) -> tuple[object, ...]:
        """What it opens, whichever policy does."""
        return self.direction, self.namespace, self.pods, self.peer, self.rule.ports, self.rule.named

    @property
    def side(self) -> tuple[Direction, str]:
        return self.direction, self.namespace


def each(one: Standing) -> Iterator[Opening]:
    if isinstance(one.policy, Policy):
        for direction in BOTH:
            for rule in one.policy.rules(direction) or ():
                if not isinstance(rule, Rule):
                    continue
                if rule.peers is None:
                    yield Opening(direction, one.ref.namespace, one.ref, one.policy.pods, rule, None)
                for peer in rule.peers or ():
                    alone = Rule((peer,), rule.ports, rule.named)
                    yield Opening(direction, one.ref.namespace, one.ref, one.policy.pods, alone, peer)


def every(listed: Iterable[Standing]) -> list[Opening]:
    return [opening for one in listed for opening in each(one)]


def kept(one: Standing, but: Collection[Opening]) -> Standing:
    """A policy without these openings."""
    rules: dict[Direction, list[Rule]] = {direction: [] for direction in BOTH}
    for opening in each(one):
        if opening not in but:
            rules[opening.direction].append(opening.rule)
    pods = one.policy.pods if isinstance(one.policy, Policy) else ALL
    return one._replace(policy=Policy(pods, tuple(rules["ingress"]), tuple(rules["egress"])))


def of_tier(one: Tiered, action: Action, spaces: standing.Spaces) -> Iterator[Opening]:
    """What a policy of the tier Admin does by rules with this action, for each of these namespaces that it selects."""
    policy = one.policy
    if not isinstance(policy, TierPolicy) or policy.tier != "Admin":
        return
    found = [
        (direction, Rule((peer,), rule.ports, _named(rule)), peer)
        for direction in BOTH
        for rule in policy.rules(direction)
        if isinstance(rule, TierRule) and rule.action == action
        for peer in rule.peers
        if isinstance(peer, PodPeer | Block)
    ]
    for name in standing.among("", policy.subject, spaces) if found else ():
        for direction, rule, peer in found:
            yield Opening(direction, name, one.ref, policy.subject.pods, rule, peer)


def _named(rule: TierRule) -> tuple[NamedPort, ...]:
    """There a port's name is of whatever protocol."""
    return tuple(NamedPort(protocol, name) for name in rule.named for protocol in ("SCTP", "TCP", "UDP"))


def without_blocks(one: Tiered) -> Tiered:
    """A policy of a tier as far as it is about pods."""
    if not isinstance(one.policy, TierPolicy):
        return one
    ingress, egress = (
        tuple(
            replace(rule, peers=left)
            for rule in one.policy.rules(direction)
            if isinstance(rule, TierRule) and (left := tuple(peer for peer in rule.peers if isinstance(peer, PodPeer)))
        )
        for direction in BOTH
    )
    return one._replace(policy=replace(one.policy, ingress=ingress, egress=egress))


def apart(listed: Iterable[Opening], known: Container[object]) -> list[Opening]:
    """Without what is open by something else as well, word for word, and what selects no pods."""
    return [one for one in listed if one.key not in known and not _is_nobody(one.peer)]


def _is_nobody(peer: Peer | None) -> bool:
    if not isinstance(peer, PodPeer):
        return False
    return labels.terms(peer.pods) is None or (peer.namespaces is not None and labels.terms(peer.namespaces) is None)


def may_meet(one: Opening, other: Opening) -> bool:
    """Whether both may be about the same flow, by what they are written with."""
    if one.side != other.side or ports.intersection(numbers(one.rule), numbers(other.rule)) == ports.NONE:
        return False
    if not _overlap(one.pods, other.pods):
        return False
    peers = (one.peer, other.peer)
    if None in peers:
        return True
    if isinstance(one.peer, PodPeer) and isinstance(other.peer, PodPeer):
        here = selectors.of_namespaces([one.namespace])
        spaces = (here if peer.namespaces is None else peer.namespaces for peer in (one.peer, other.peer))
        return _overlap(*spaces) and _overlap(one.peer.pods, other.peer.pods)
    if isinstance(one.peer, Block) and isinstance(other.peer, Block):
        spans = addresses.spans(other.peer)
        return any(addresses.meets(spans, span) for span in addresses.spans(one.peer))
    return False


def _overlap(one: Selector, other: Selector) -> bool:
    found = labels.terms(one), labels.terms(other)
    return found[0] is not None and found[1] is not None and labels.both(found[0], found[1]) is not None


def numbers(rule: Rule) -> Ports:
    """The ports of a rule; a named one may have any number."""
    named = ports.merged(Range(port.protocol, LOWEST, HIGHEST) for port in rule.named)
    return ports.union(rule.ports, named)


def is_within(block: Block, outside: Outside) -> bool:
    """Whether some of these addresses are in a block."""
    spans = addresses.spans(block)
    return any(addresses.meets(spans, addresses.span(network)) for network in outside.blocks)
