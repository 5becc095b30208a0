"""Whether a ClusterRole grants what it is meant to grant. Pure.

It compares what rules allow, not how they are written: their order and grouping do not matter.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final, Literal

import msgspec

from securetenant import __version__
from securetenant.controls.access.shipped import ROLES, Right
from securetenant.controls.world import World
from securetenant.model.kinds import CLUSTER_ROLE
from securetenant.model.objects import Observed, Ref

MOST: Final = 2_000  # rights of a role that are compared; the largest role that ships has 150
_SHOWN: Final = 3  # rights that a message names
_ANY: Final = "*"

Problem = Literal["Widened", "Aggregated", "Missing", "Narrowed"]


class _Rule(msgspec.Struct, rename="camel"):
    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] | None = ()
    resources: tuple[str, ...] | None = ()
    resource_names: tuple[str, ...] | None = ()
    urls: tuple[str, ...] | None = msgspec.field(name="nonResourceURLs", default=())


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a role differs from what it must grant: the worst difference, and the rights that were added or removed.

    `countless`: it has more rights than are compared (`MOST`).
    """

    problem: Problem
    added: frozenset[Right] = frozenset()
    removed: frozenset[Right] = frozenset()
    countless: bool = False


def judged(name: str, world: World) -> Verdict | None:
    """How a tenant role in the cluster differs from the shipped one; None if it does not."""
    observed = world.get(Ref(CLUSTER_ROLE, "", name))
    return Verdict("Missing", removed=ROLES[name]) if observed is None else compared(observed, ROLES[name])


def compared(observed: Observed, meant: frozenset[Right]) -> Verdict | None:
    """The same for any role and the rights that it is meant to grant."""
    rules = observed.fields.get("rules")
    # With an aggregationRule, a Kubernetes controller writes the rules of other roles into this one.
    is_aggregated = observed.field("aggregationRule") is not None
    return _compared(bytes(rules) if rules is not None else b"null", meant, is_aggregated)


# Each pass over a tenant compares the same few roles.
@lru_cache(maxsize=64)
def _compared(rules: bytes, meant: frozenset[Right], is_aggregated: bool) -> Verdict | None:
    given: set[Right] = set()
    for number, right in enumerate(rights(rules)):
        if number >= MOST:
            return Verdict("Widened", added=frozenset(given - meant), countless=True)
        given.add(right)
    added = frozenset(right for right in given if right not in meant and right._replace(name="") not in meant)
    removed = frozenset(right for right in meant if right not in given and not _is_within(right, given))
    if added:
        return Verdict("Widened", added, removed)
    if is_aggregated:
        return Verdict("Aggregated", added, removed)
    return Verdict("Narrowed", added, removed) if removed else None


def as_shipped() -> list[Observed]:
    """The tenant roles, unchanged, as objects."""
    return [_observed(name, meant) for name, meant in ROLES.items()]


def _observed(name: str, meant: Iterable[Right]) -> Observed:
    rules = [
        {"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]} for right in sorted(meant)
    ]
    return Observed(
        ref=Ref(CLUSTER_ROLE, "", name),
        uid="",
        resource_version="0",
        created="",
        deleting=False,
        labels={},
        annotations={},
        finalizers=(),
        owners=(),
        fields={"rules": msgspec.Raw(msgspec.json.encode(rules))},
    )


def rights(rules: bytes) -> Iterator[Right]:
    """The rights that a role's rules (JSON) grant, one by one: a rule of a few kilobytes may grant millions."""
    for rule in msgspec.json.decode(rules, type=list[_Rule] | None) or ():
        verbs = _once(rule.verbs)
        for group, resource, name, verb in product(
            _once(rule.api_groups), _once(rule.resources), _once(rule.resource_names) or ("",), verbs
        ):
            yield Right(verb, group, resource, name)
        for url, verb in product(_once(rule.urls), verbs):
            yield Right(verb, "", "", url=url)


def _once(texts: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts or ()))


def _is_within(right: Right, given: set[Right]) -> bool:
    """Whether rules with wildcards include a right of ours, which has no wildcard and applies to all names."""
    _, _, subresource = right.resource.partition("/")
    resources = (right.resource, _ANY, *((f"{_ANY}/{subresource}",) if subresource else ()))
    return any(
        Right(verb, group, resource) in given
        for verb, group, resource in product((right.verb, _ANY), (right.group, _ANY), resources)
    )


@lru_cache(maxsize=64)
def told(name: str, verdict: Verdict) -> str:
    """What is wrong with a tenant role, and what to do."""
    return f"ClusterRole {name} {_wrong(verdict)}; either it was changed or it is of another version: {_CURE}"


# The role itself does not show which of the two is the case.
_CURE: Final = f"look up the last write in the audit log, and apply manifests/ of version {__version__}"


def _wrong(verdict: Verdict) -> str:
    if verdict.problem == "Missing":
        return "is missing, so RoleBindings to it grant nothing"
    if verdict.problem == "Aggregated":
        return "has an aggregationRule, which adds the rules of other roles to it"
    if verdict.problem == "Narrowed":
        return f"grants less than it ships with: {listed(verdict.removed)}"
    if verdict.countless:
        return f"grants more than it ships with: its rules hold more than {MOST} rights, {listed(verdict.added)}"
    return f"grants more than it ships with: {listed(verdict.added)}"


def listed(found: Iterable[Right]) -> str:
    """The first few rights in a fixed order, wildcards first."""
    ordered = sorted(found, key=lambda right: (_ANY not in right, str(right)))
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return f"{', '.join(map(str, ordered[:_SHOWN]))}{more}"
