"""The kinds of sigs.k8s.io/network-policy-api: AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), and
ClusterNetworkPolicy (v1alpha2), which replaces both."""

from typing import Final

from securetenant.controls.network.foreign import reading
from securetenant.controls.network.foreign.reading import Direction, Effect, Part, Reading
from securetenant.model.objects import JsonValue, at
from securetenant.sets import blocks, matching, ports, selectors, tiers
from securetenant.sets.blocks import Block
from securetenant.sets.policy import PodPeer, Unclear
from securetenant.sets.ports import Ports
from securetenant.sets.tiers import Action, Nodes, Peer, Rule

_TOLD: Final[dict[Action, str]] = {"Accept": "allows", "Deny": "denies", "Pass": "leaves to NetworkPolicies"}
_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")  # in the order in which they are told


def read(spec: JsonValue, *, baseline: bool = False) -> Reading:
    """`baseline`: it is a BaselineAdminNetworkPolicy."""
    try:
        policy = tiers.understood(spec, baseline=baseline)
    except ValueError as error:
        return reading.unclear(error)._replace(last=baseline)
    chosen = policy.subject.namespaces or selectors.ALL
    effects = [
        *(_effect(rule, "ingress") for rule in policy.ingress),
        *(_effect(rule, "egress") for rule in policy.egress),
    ]
    part = Part(reading.by_labels(chosen), reading.pods_of(policy.subject.pods), effects, matching.named(chosen))
    about = [f"tier {policy.tier}"] if at(spec, ["tier"]) else []  # only of a kind that has both
    about += [f"priority {policy.priority}"] if policy.priority is not None else []
    return Reading([part], ", ".join(about), last=policy.tier == "Baseline")


def _effect(rule: Rule | Unclear, direction: Direction) -> Effect:
    if isinstance(rule, Unclear):
        action = tiers.action_of(rule)
        return reading.rule_not_understood(_TOLD[action] if action else reading.DOES_SOMETHING, direction)
    return Effect(_TOLD[rule.action], direction, reading.on(map(_end, rule.peers), _ports(rule.ports, rule.named)))


def _end(peer: Peer) -> str:
    if isinstance(peer, PodPeer):
        places = reading.namespaces_of(peer.namespaces or selectors.ALL)
        return places if peer.pods == selectors.ALL else f"{reading.pods_of(peer.pods)} in {places}"
    if isinstance(peer, Block):
        return reading.EVERYWHERE if peer in blocks.EVERYWHERE else peer.cidr
    if isinstance(peer, Nodes):
        chosen = selectors.described(peer.selected)
        return f"nodes with {reading.short(chosen)}" if chosen else "all nodes"
    return f"the name {reading.short(peer.name)}"


def _ports(known: Ports, named: tuple[str, ...]) -> str:
    """ "" for all ports."""
    if known is None:
        return ""
    listed = sorted(known, key=lambda one: _PROTOCOLS.index(one.protocol))
    return ", ".join([*(ports.described((one,)) for one in listed), *(f"port {name}" for name in named)])
