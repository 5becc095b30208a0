"""What stands in a few namespaces, out of the caches, and cut down to what decides the traffic between them."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import msgspec

from securetenant.checks.cni import SWITCHES
from securetenant.controls import ownership
from securetenant.controls.network.control import DENY
from securetenant.controls.network.foreign import found as foreign
from securetenant.controls.subnets import places
from securetenant.controls.world import World
from securetenant.drift.applied import recorded
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.reach import tiers
from securetenant.reach.values import Cluster, Standing, Tiered
from securetenant.sets import labels, matching, policy, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.labels import Labels
from securetenant.sets.policy import TYPE, Direction, Peer, PodPeer, Policy, Rule, Unclear
from securetenant.sets.selectors import Selector
from securetenant.sets.tiers import TierPolicy

# The kinds that decide what is open.
LOOKED_AT: Final = (NAMESPACE, NETWORK_POLICY, *foreign.KINDS)
_SWITCHES: Final = frozenset(key for keys in SWITCHES for key in keys.keys)
# What a pass may look at of other namespaces: so many of them, so many of their policies (one counts once more for
# each KiB of its spec), of which so many peers (each once for each of its rule's ports), so many comparisons of a
# selector with a namespace (0.2 us each).
NAMESPACES: Final = 100
POLICIES: Final = 200
OPENINGS: Final = 5_000
COMPARISONS: Final = 25_000
_KINDS: Final = 4096
BOTH: Final[tuple[Direction, ...]] = tuple(TYPE)
# By name, their labels.
Spaces: TypeAlias = Mapping[str, Mapping[str, str]]
# What becomes of peers by address: they stay, go, or, where pods may have these addresses, are everyone.
Blocks: TypeAlias = Literal["Keep", "Drop", "Everyone"]


_CACHED: Final = 4096  # bytes of a spec: parsed it takes 15 times as many


# A policy that stays is parsed once, not by every pass that finds it at the other end.
@lru_cache(maxsize=512)
def _parsed(spec: bytes) -> Policy | Unclear:
    return policy.parsed(msgspec.json.decode(spec))


def parsed(have: Observed) -> Policy | Unclear:
    """The policy of a NetworkPolicy."""
    spec = bytes(have.fields.get("spec", b"null"))
    return _parsed(spec) if len(spec) <= _CACHED else _parsed.__wrapped__(spec)


@lru_cache(maxsize=128)
def _parsed_tier(kind: Kind, spec: bytes) -> TierPolicy | Unclear:
    return tiers.parsed(kind, msgspec.json.decode(spec))


def tiered(have: Observed) -> Tiered:
    """A policy of a tier."""
    return Tiered(have.ref, _parsed_tier(have.ref.kind, bytes(have.fields.get("spec", b"null"))), have.created)


def size(have: Observed) -> int:
    """The bytes of a NetworkPolicy's spec."""
    return len(bytes(have.fields.get("spec", b"")))


def switched(have: Observed) -> list[str]:
    """The annotations of a NetworkPolicy by which a network plug-in may enforce it for less, or not at all."""
    return sorted(key for key in have.annotations if key in _SWITCHES)


def in_namespace(namespace: str, world: World) -> list[Observed]:
    return list(world.in_namespace(NETWORK_POLICY, namespace))


def labels_of(namespace: str, world: World) -> Mapping[str, str] | None:
    """None: there is no such namespace."""
    have = world.get(Ref(NAMESPACE, "", namespace))
    return have.labels if have is not None else None


def everything(world: World) -> Cluster:
    """All NetworkPolicies and namespaces, with the subnets that namespaces have."""
    spaces = {have.ref.name: have.labels for have in world.in_namespace(NAMESPACE, "")}
    policies = {name: [Standing(have.ref, parsed(have)) for have in in_namespace(name, world)] for name in spaces}
    subnets = {name: tuple(found) for name in spaces if (found := places.of_namespace(name, world))}
    return Cluster(spaces, policies, subnets=subnets)


@dataclass(slots=True)
class Others:
    """The namespaces at the other end of what a policy opens, as far as one pass may look at them."""

    world: World
    spaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    looked: dict[Selector, tuple[str, ...] | None] = field(default_factory=dict)
    tiers: dict[Ref, Tiered] = field(default_factory=dict)
    _every: list[Observed] | None = None
    _comparisons: int = 0
    _policies: int = 0
    _openings: int = 0

    def selected(self, where: Selector) -> tuple[str, ...] | None:
        """The namespaces that a selector selects; None: too many to look at."""
        if where not in self.looked:
            self.looked[where] = self._look(where)
        return self.looked[where]

    def _look(self, where: Selector) -> tuple[str, ...] | None:
        terms = labels.terms(where)
        if terms is None:
            return ()
        names = matching.named(where)
        if names is not None and len(names) > NAMESPACES:
            return None
        near = (
            self._all()
            if names is None
            else [have for name in sorted(names) if (have := self.world.get(Ref(NAMESPACE, "", name))) is not None]
        )
        self._comparisons += len(near)
        if self._comparisons > COMPARISONS or (not terms and len(near) > NAMESPACES):
            return None
        chosen = [have for have in near if labels.matched(terms, have.labels)]
        new = [have for have in chosen if have.ref.name not in self.spaces]
        stand = (one for have in new[: NAMESPACES + 1] for one in in_namespace(have.ref.name, self.world))
        self._policies += sum(1 + size(one) // 1024 for one in stand)
        if len(self.spaces) + len(new) > NAMESPACES or self._policies > POLICIES:
            return None
        self.spaces |= {have.ref.name: have.labels for have in new}
        return tuple(have.ref.name for have in chosen)

    def _all(self) -> list[Observed]:
        if self._every is None:
            self._every = list(self.world.in_namespace(NAMESPACE, ""))
        return self._every

    def policies(self, namespace: str, towards: Spaces) -> list[Standing]:
        """What stands in one of them, as far as it is about others (by name, their labels). Where policies of network
        plug-ins select its pods, one may be switched off, or they open too much, as if all were open: what is closed
        there is not known.
        Those of tiers are in `tiers` then, but for the operator's own."""
        owner = ownership.holder(namespace, self.world)
        ours = recorded(owner.status) if owner is not None else ()
        for have, *_ in foreign.concerning((namespace,), DENY, self.world, ours):
            if have.ref.kind not in tiers.KINDS or isinstance((one := tiered(have)).policy, Unclear):
                return []
            self.tiers[have.ref] = one
        stand = in_namespace(namespace, self.world)
        if any(map(switched, stand)):
            return []
        is_kept = owner is not None and owner.spec.mode == "Enforce" and owner.spec.network.peers_by == "Selector"
        own = {have.ref for have in stand if is_kept and owner is not None and have.tenant == owner.name}
        listed = [Standing(have.ref, parsed(have)) for have in stand]
        self._openings += sum(openings(one.policy) for one in listed)
        if self._openings > OPENINGS:
            return []
        return cut(namespace, listed, towards, "Everyone", own)


def openings(found: Policy | Unclear) -> int:
    """The peers of a policy, each counted once more for each of its rule's ports, and the exceptions of its blocks."""
    if isinstance(found, Unclear):
        return 1
    rules = [rule for side in BOTH for rule in found.rules(side) or () if isinstance(rule, Rule)]
    blocks = (peer for rule in rules for peer in rule.peers or () if isinstance(peer, Block))
    by_port = (len(rule.peers or (None,)) * (len(rule.ports or ()) + len(rule.named) + 1) for rule in rules)
    return sum(by_port) + sum(len(block.excepts) for block in blocks)


def closes(listed: Iterable[Standing], direction: Direction) -> bool:
    """Whether one of these policies closes a direction for all pods of their namespace."""
    return any(
        isinstance(one.policy, Policy) and one.policy.pods == selectors.ALL and one.policy.rules(direction) is not None
        for one in listed
    )


def cut(
    namespace: str, listed: Sequence[Standing], towards: Spaces, blocks: Blocks, ours: Container[Ref] = ()
) -> list[Standing]:
    """The policies of a namespace without what is about others than these. `ours`: those of which no block contains
    addresses of the cluster."""
    closed = {direction for direction in BOTH if closes(listed, direction)}
    found: list[Standing] = []
    is_closed: set[Direction] = set()
    for one in listed:
        if isinstance(one.policy, Unclear):
            found.append(one)
            continue
        rules = {
            direction: None
            if (given := one.policy.rules(direction)) is None
            else tuple(
                left
                for rule in given
                if (left := _cut_rule(namespace, rule, towards, "Drop" if one.ref in ours else blocks)) is not None
            )
            for direction in BOTH
        }
        is_whole = one.policy.pods == selectors.ALL
        for direction in closed:
            # What opens nothing only closes, which one policy does for all.
            if rules[direction] == () and not (is_whole and direction not in is_closed):
                rules[direction] = None
            elif rules[direction] is not None and is_whole:
                is_closed.add(direction)
        if rules["ingress"] is not None or rules["egress"] is not None:
            found.append(one._replace(policy=Policy(one.policy.pods, rules["ingress"], rules["egress"])))
    return found


def _cut_rule(namespace: str, rule: Rule | Unclear, towards: Spaces, blocks: Blocks) -> Rule | Unclear | None:
    if isinstance(rule, Unclear) or rule.peers is None:
        return rule
    if blocks == "Everyone" and any(isinstance(peer, Block) for peer in rule.peers):
        return Rule(None, rule.ports, rule.named)
    left = tuple(peer for peer in rule.peers if _is_about(namespace, peer, towards, blocks))
    return Rule(left, rule.ports, rule.named) if left else None


def _is_about(namespace: str, peer: Peer, towards: Spaces, blocks: Blocks) -> bool:
    if isinstance(peer, Block):
        return blocks == "Keep"
    return bool(among(namespace, peer, towards))


def among(namespace: str, peer: PodPeer, spaces: Spaces) -> list[str]:
    """Which of these namespaces (by name, their labels) a peer of a policy in `namespace` is in."""
    where = peer.namespaces
    if where is None:
        return [namespace] if namespace in spaces else []
    terms = labels.terms(where)
    if terms is None:
        return []
    names = matching.named(where)
    near = spaces if names is None else [name for name in names if name in spaces]
    return [name for name in near if labels.matched(terms, spaces[name])]


def kinds_of_pods(listed: Iterable[Labels]) -> int:
    """At most how many kinds of pods these selectors tell apart, up to some thousands."""
    chosen = {one for one in listed if one}
    by_selector = 1
    for one in chosen:
        by_selector *= len(one) + 1
        if by_selector > _KINDS:
            break
    literals: dict[str, set[str]] = {}
    for one in chosen:
        for key, values in one:
            literals.setdefault(key, set()).update(values.listed)
    # A value that is listed, any other, none at all.
    by_values = 1
    for found in literals.values():
        by_values *= len(found) + 2
        if by_values > _KINDS:
            break
    return min(by_selector, by_values)
