"""Whether one end reaches another: yes or no, with the rule that allows it, or the reason that blocks it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final, Literal, TypeAlias

from securetenant.cli import reach_rows
from securetenant.cli.reach_ends import Addresses, End, Known, Selected, Target
from securetenant.cli.reach_rows import Row, ticket
from securetenant.cli.reach_states import ReachError, State
from securetenant.model.objects import Ref
from securetenant.reach import kube_ovn, values
from securetenant.reach.flows import Pair, side_by_side
from securetenant.reach.values import Cluster, Flow, Group, Outside, Pod, Standing, Tiered
from securetenant.sets import labels, ports, selectors
from securetenant.sets.labels import Labels, Values
from securetenant.sets.policy import Direction, Policy, Unclear
from securetenant.sets.tiers import TierPolicy

# partly: for some of the pods, addresses or ports that were asked for. unknown: not as far as known.
Outcome: TypeAlias = Literal["yes", "partly", "no", "unknown"]
# The states: what each side says by its NetworkPolicies alone, and with the tiers; both sides; and with Subnets' rules.
_SIDES: Final[tuple[tuple[Direction, int], ...]] = (("egress", 2), ("ingress", 3))
_TIERED: Final = 2  # so many after the same without tiers
_POLICIES: Final = 4
_FULL: Final = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """`rows`: what is open of it. `reasons`: what each end allows, and why. `unknown`: what may change the answer."""

    outcome: Outcome
    rows: Sequence[Row]
    reasons: Sequence[str]
    unknown: Sequence[str] = ()
    about: str = ""


def answer(source: End, target: Target, state: State) -> Answer:
    """Raises ReachError where no policy of the cluster decides."""
    if isinstance(source, Addresses) and isinstance(target.end, Addresses):
        raise ReachError(
            f"{source.network} and {target.end.network} are both outside the cluster, where no policy of it decides: "
            "name a namespace or pods with --from or --to"
        )
    cluster = kube_ovn.located(_cluster(source, target.end, state))
    apart = replace(cluster, switches=())
    spaces = [end.namespace for end in (source, target.end) if not isinstance(end, Addresses)]
    bare = replace(apart, tiers=())
    states = [*(_only(one, side) for one in (bare, apart) for side, _ in _SIDES), apart, cluster]
    found = side_by_side(states, list(dict.fromkeys(spaces)))
    pairs = [pair for pair in found.pairs if _is(pair.source, source) and _is(pair.target, target.end)]
    flows = [flow for pair in pairs if (flow := pair.flow(_FULL, target.ports)).ports != ports.NONE]
    rows = reach_rows.of_flows((_narrowed(flow, source, target.end) for flow in flows), state)
    unknown = [f"{name}: {why}" for name in dict.fromkeys(spaces) for why in found.unknown.get(name, ())]
    reasons = [*_reasons(pairs, source, target, state), *_of_subnets(pairs, source, target, cluster)]
    return Answer(_outcome(flows, target, unknown), rows, reasons, unknown, target.about)


def _outcome(flows: Sequence[Flow], target: Target, unknown: Sequence[str]) -> Outcome:
    if not flows:
        return "unknown" if unknown else "no"
    wanted = target.ports
    whole = all(wanted is None or ports.difference(wanted, flow.ports) == ports.NONE for flow in flows)
    return "yes" if whole else "partly"


# --- the cluster as far as it is asked about


def _cluster(source: End, target: End, state: State) -> Cluster:
    """With the pods that are known by name at the target, where ports have names, and what may be at the source."""
    if not isinstance(target, Known):
        if not isinstance(source, Known) or not any(one.is_host for one in source.pods):
            return state.cluster
        if isinstance(target, Selected):
            name = source.pods[0].name
            raise ReachError(f"--from {name}: it is on its node's network: ask for a workload or addresses with --to")
        return replace(state.cluster, pods={source.namespace: source.pods})
    pods: dict[str, list[Pod]] = {target.namespace: list(target.pods)}
    if isinstance(source, Known):
        pods.setdefault(source.namespace, []).extend(one for one in source.pods if one not in target.pods)
    elif isinstance(source, Selected):
        pods.setdefault(source.namespace, []).extend(_representatives(source, state.cluster))
    return replace(state.cluster, pods=pods)


def _representatives(end: Selected, cluster: Cluster) -> Iterator[Pod]:
    """One pod of each kind that policies tell apart."""
    found = side_by_side([cluster], [end.namespace])
    ends = (group for pair in found.pairs for group in (pair.source, pair.target))
    for pods in dict.fromkeys(one for end_ in ends if _is(end_, end) for one in getattr(end_, "pods", ())):
        both = labels.both(pods, end.pods)
        if both is not None:
            yield Pod(end.namespace, _called(both), dict(_example(both)))


def _called(pods: Labels) -> str:
    return f"pods with {labels.described(pods)}" if pods else "any pod"


def _example(pods: Labels) -> Iterator[tuple[str, str]]:
    for key, values_ in pods:
        if not values_.absent:
            yield key, _value(values_)


def _value(values_: Values) -> str:
    """One that it may have."""
    if not values_.but:
        return min(values_.listed)
    return next(text for number in range(len(values_.listed) + 1) if (text := f"x{number}") not in values_.listed)


def _only(cluster: Cluster, direction: Direction) -> Cluster:
    """With what policies say of one direction alone."""
    return replace(
        cluster,
        tiers=[_tier(one, direction) for one in cluster.tiers],
        policies={name: list(_of(listed, direction)) for name, listed in cluster.policies.items()},
    )


def _tier(one: Tiered, direction: Direction) -> Tiered:
    if isinstance(one.policy, Unclear):
        return one
    return one._replace(
        policy=replace(one.policy, ingress=(), egress=one.policy.egress)
        if direction == "egress"
        else replace(one.policy, egress=())
    )


def _of(listed: Sequence[Standing], direction: str) -> Iterator[Standing]:
    for one in listed:
        policy = one.policy
        if isinstance(policy, Unclear):
            yield one
        elif direction == "egress" and policy.egress is not None:
            yield one._replace(policy=Policy(policy.pods, None, policy.egress))
        elif direction == "ingress" and policy.ingress is not None:
            yield one._replace(policy=Policy(policy.pods, policy.ingress, None))


def _is(found: values.End, asked: End) -> bool:
    """Whether an end of a flow is one that was asked for, or a part of it."""
    if isinstance(found, Outside):
        return isinstance(asked, Addresses) and _within(found, asked)
    if isinstance(asked, Addresses) or asked.namespace not in found.namespaces:
        return False
    if isinstance(asked, Known):
        return any(_is_pod(found, one) for one in asked.pods)
    if found.names:
        return any(one.startswith(f"{asked.namespace}/") for one in found.names)
    return any(labels.both(pods, asked.pods) is not None for pods in found.pods)


def _is_pod(found: Group, pod: Pod) -> bool:
    if found.names:
        return f"{pod.namespace}/{pod.name}" in found.names
    return not pod.is_host and any(labels.matched(pods, pod.labels) for pods in found.pods)


def _within(found: Outside, asked: Addresses) -> bool:
    return any(one.version == asked.network.version and one.overlaps(asked.network) for one in found.blocks)


def _narrowed(flow: Flow, source: End, target: End) -> Flow:
    return replace(flow, source=_part(flow.source, source), target=_part(flow.target, target))


def _part(found: values.End, asked: End) -> values.End:
    """Of an end, what was asked for."""
    if isinstance(found, Outside) and isinstance(asked, Addresses):
        network = asked.network
        return Outside(
            tuple(
                max(one, network, key=lambda each: each.prefixlen)
                for one in found.blocks
                if one.version == network.version and one.overlaps(network)
            )
        )
    if isinstance(found, Outside) or isinstance(asked, Addresses):
        return found
    if isinstance(asked, Known):
        names = tuple(f"{one.namespace}/{one.name}" for one in asked.pods if _is_pod(found, one))
        return replace(found, namespaces=(asked.namespace,), names=names)
    names = tuple(one for one in found.names if one.startswith(f"{asked.namespace}/"))
    both = (labels.both(pods, asked.pods) for pods in found.pods)
    return replace(
        found, namespaces=(asked.namespace,), names=names, pods=tuple(one for one in both if one is not None)
    )


# --- why


def _reasons(pairs: Sequence[Pair], source: End, target: Target, state: State) -> list[str]:
    found = []
    for (direction, at), end in zip(_SIDES, (source, target.end), strict=True):
        if isinstance(end, Addresses):
            continue
        flows = [flow for pair in pairs if (flow := pair.flow(at, target.ports)).ports != ports.NONE]
        called = f"{direction} of {end.namespace}"
        if not flows:
            others = [pair.passing[at].ports for pair in pairs if pair.passing[at].ports != ports.NONE]
            only = f" on these ports, but on {ports.described(reduce(ports.union, others))}" if others else ""
            found.append(f"{called} does not allow it{only}{_denying(pairs, end, direction, at, target, state)}")
            continue
        refs = dict.fromkeys(r for flow in flows for r in (flow.leaves if direction == "egress" else flow.enters))
        found.append(f"{called} allows it, {_by(refs, state)}")
    blocked = not any(pair.passing[_POLICIES].ports != ports.NONE for pair in pairs)
    if blocked and found and all(" allows it" in text for text in found) and len(found) == 2:
        found.append("but not for the same pods and ports")
    return found


def _denying(
    pairs: Sequence[Pair], end: Selected | Known, direction: Direction, at: int, target: Target, state: State
) -> str:
    """The policies of tiers that may close what NetworkPolicies leave open."""
    if all(pair.flow(at - _TIERED, target.ports).ports == ports.NONE for pair in pairs):
        return ""
    labels_of = state.cluster.namespaces.get(end.namespace, {})
    refs = [
        str(one.ref)
        for one in state.cluster.tiers
        if isinstance(one.policy, TierPolicy)
        and any(not isinstance(rule, Unclear) and rule.action == "Deny" for rule in one.policy.rules(direction))
        and (terms := labels.terms(one.policy.subject.namespaces or selectors.ALL)) is not None
        and labels.matched(terms, labels_of)
    ]
    return f", since {' or '.join(refs)} denies it"


def _of_subnets(pairs: Sequence[Pair], source: End, target: Target, cluster: Cluster) -> Iterator[str]:
    """What Kube-OVN's Subnets change."""
    without, with_ = ([pair.flow(at, target.ports).ports != ports.NONE for pair in pairs] for at in (_POLICIES, _FULL))
    spaces = [end.namespace for end in (source, target.end) if not isinstance(end, Addresses)]
    ruled = [f"Subnet {one.name}" for one in kube_ovn.subnets_of(cluster, spaces) if one.is_private or one.acls]
    if any(without) and not any(with_):
        yield f"but {' or '.join(ruled)} closes it"
    elif any(with_) and not any(without):
        yield f"but an acl of {' or '.join(ruled)} opens it"


def _by(refs: Mapping[Ref, None], state: State) -> str:
    if not refs:
        return "since no policy of that direction selects these pods"
    found = []
    for ref in refs:
        source = state.sources.get(ref)
        if source is None:
            found.append(f"by {ref}, which no SecureTenant declares")
        elif source.direction:
            found.append(", ".join(part for part in (f"by rule {source.rule}", ticket(source)) if part))
        else:
            found.append(f"by {source.rule} of {source.tenant}")
    return "; ".join(found)
