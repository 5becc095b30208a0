"""What a comparison costs, before it is made."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from securetenant.model.objects import Observed
from securetenant.reach import addresses, opened, standing
from securetenant.reach.standing import BOTH
from securetenant.reach.values import Cluster, Standing, Tiered
from securetenant.sets import labels, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.labels import Labels
from securetenant.sets.policy import PodPeer, Policy
from securetenant.sets.tiers import Rule, TierPolicy

PAIRS: Final = 800  # of kinds of pods, in namespaces of which one names the other: 13 us each
OWN_AS_PAIRS: Final = 25  # a namespace whose policies differ takes as long as so many pairs
OTHER_AS_PAIRS: Final = 5  # and so does one that is looked at
MET: Final = 7_000  # the same, each counted once for each peer that differs: 13 us each
LOOKS: Final = 2000  # of peers of tiers' rules, for each namespace that they are for: 5 us each
PARTS: Final = 40_000  # comparisons of a block with a part of the address space: 0.2 us each
# What a pass reads of policies that stand and are not planned: so many bytes of their specs (0.1 us each), and so many
# peers, each counted once for each of its rule's ports (20 us each).
BYTES: Final = 1 << 17
OPENINGS: Final = 1_000


@dataclass(slots=True)
class Reading:
    """What one pass has read of policies so far."""

    _bytes: int = 0
    _openings: int = 0

    def read(self, have: Observed) -> Standing | None:
        """A NetworkPolicy; None: to look at it would take too long."""
        size = standing.size(have)
        if self._bytes + size > BYTES:
            return None
        self._bytes += size
        found = standing.parsed(have)
        count = standing.openings(found)
        if self._openings + count > OPENINGS:
            return None
        self._openings += count
        return Standing(have.ref, found)


def is_small(states: Sequence[Cluster], own: standing.Spaces, differing: int) -> bool:
    """Whether to compare these states takes some 10 ms at most. `differing`: peers that are compared."""
    spaces = states[0].namespaces
    kinds: dict[str, set[Labels]] = {name: set() for name in spaces}
    meeting: set[tuple[str, str]] = set()
    spans = 0
    if sum(len(where) * len(peers) for state in states for where, _, peers in _of_tiers(state)) > LOOKS:
        return False
    for where, pods, peers in (part for state in states for part in (*_of_policies(state), *_of_tiers(state))):
        for name in where:
            kinds[name].add(pods)
            for peer in peers:
                if isinstance(peer, Block):
                    spans += len(addresses.spans(peer))
                    continue
                selected = labels.terms(peer.pods) or labels.EVERY
                for there in standing.among(name, peer, spaces):
                    kinds[there].add(selected)
                    meeting.add((min(name, there), max(name, there)))
    counts = {name: standing.kinds_of_pods(found) for name, found in kinds.items()}
    pairs = sum(counts[one] * counts[other] for one, other in meeting)
    if pairs * differing > MET:
        return False
    mine = sum(counts[name] for name in own)
    pairs += OWN_AS_PAIRS * len(own) + OTHER_AS_PAIRS * (len(counts) - len(own))
    return pairs * len(states) <= PAIRS * 2 and mine * spans**2 <= PARTS


# The namespaces and pods of a policy, and its peers.
_Part: TypeAlias = tuple[Sequence[str], Labels, Sequence[Block | PodPeer]]


def _of_policies(state: Cluster) -> Iterator[_Part]:
    for name, listed in state.policies.items():
        for one in listed:
            pods = one.policy.pods if isinstance(one.policy, Policy) else selectors.ALL
            peers = [opening.peer for opening in opened.each(one) if opening.peer is not None]
            yield (name,), labels.terms(pods) or labels.EVERY, peers


def _of_tiers(state: Cluster) -> Iterator[_Part]:
    for tier in state.tiers:
        if isinstance(tier.policy, TierPolicy):
            subject = tier.policy.subject
            where = standing.among("", subject, state.namespaces)
            yield where, labels.terms(subject.pods) or labels.EVERY, list(_peers(tier))


def _peers(tier: Tiered) -> Iterable[Block | PodPeer]:
    if isinstance(tier.policy, TierPolicy):
        for rule in (rule for direction in BOTH for rule in tier.policy.rules(direction)):
            if isinstance(rule, Rule):
                yield from (peer for peer in rule.peers if isinstance(peer, Block | PodPeer))
