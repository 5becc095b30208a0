"""Intruders: pods on a tenant's dedicated nodes that are not the tenant's. Found and reported, never deleted.

The taint keeps the scheduler from placing them. They are those that ran there before (NoSchedule leaves them), that
tolerate the taint in a namespace of no tenant, or whose author named the node in spec.nodeName.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from securetenant.api.status import Condition, IntruderStatus, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.notice import Notice
from securetenant.controls.world import World
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Observed

CONDITION: Final = "NodesExclusive"
FAMILY: Final = Family(
    "securetenant_node_intruders", "gauge", "Pods of others on the tenant's dedicated nodes.", zeros=((),)
)
LISTED: Final = 20  # at most this many are in the status
_NAMED: Final = 5  # at most this many are in a message

# The kubelet sets it on the pod that stands for one of its files; it runs no other pod that has it.
_MIRROR: Final = "kubernetes.io/config.mirror"


@dataclass(frozen=True, slots=True)
class Found:
    """What runs on that many nodes. `allowed`: what is not the tenant's and may be there. `unknown`: the nodes of which
    it is not known, with the reason, "" where it is to be known soon."""

    nodes: int = 0
    intruders: Sequence[IntruderStatus] = ()
    allowed: Sequence[str] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)


def look(tenant: SecureTenant, nodes: Sequence[str], world: World) -> Found:
    """What runs on these nodes of the tenant's."""
    intruders: list[IntruderStatus] = []
    allowed: set[str] = set()
    unknown: dict[str, str] = {}
    for node in nodes:
        pods = world.pods_on(node)
        if not pods.is_known:
            unknown[node] = pods.failure
        for pod in pods.found:
            if _is_own(tenant, pod.ref.namespace, world):
                continue
            if as_what := _allowed(pod, world):
                allowed.add(as_what)
            else:
                namespace, name = pod.ref.namespace, pod.ref.name
                made = IntruderStatus(node=node, namespace=namespace, pod=name, controller=pod.controller)
                intruders.append(made)
    intruders.sort(key=lambda one: (one.node, one.namespace, one.pod))
    return Found(len(nodes), intruders, sorted(allowed), unknown)


def condition(tenant: SecureTenant, found: Found) -> Condition | None:
    """The condition; None without dedicated nodes, and while nothing was known yet."""
    if reasons := sorted({reason for reason in found.unknown.values() if reason}):
        nodes = _some(sorted(node for node, reason in found.unknown.items() if reason))
        message = (
            f"The pods on {nodes} cannot be read ({'; '.join(reasons)}): apply manifests/components/nodes, which has "
            "the right to list and watch pods."
        )
        return Condition.of(CONDITION, "Unknown", "NotWatched", message)
    if found.nodes == 0:
        return None
    if found.unknown:
        return next((one for one in tenant.status.conditions if one.type == CONDITION), None)
    if found.intruders:
        names = _some([_words(one) for one in found.intruders])
        message = (
            f"{_count(len(found.intruders))} of others on the tenant's nodes: {names}. Delete each where it is "
            "declared, or set spec.nodes.effect to NoExecute, which evicts what does not tolerate the taint."
        )
        return Condition.of(CONDITION, "False", "Intruders", message)
    others = f"; allowed there: {_some(found.allowed)}" if found.allowed else ""
    message = f"no pods of others on the tenant's nodes{others}"
    return Condition.of(CONDITION, "True", "Exclusive", message)


def status(tenant: SecureTenant, found: Found) -> dict[str, Sequence[IntruderStatus] | int]:
    """The part of the status; as it was while nothing is known."""
    if found.unknown:
        return {"intruders": tenant.status.intruders, "intruder_count": tenant.status.intruder_count}
    return {"intruders": found.intruders[:LISTED], "intruder_count": len(found.intruders)}


def figures(status: SecureTenantStatus) -> Samples:
    return {FAMILY.name: {(): status.intruder_count}} if status.nodes or status.intruder_count else {}


def warnings(tenant: SecureTenant, status: SecureTenantStatus) -> Mapping[Hashable, Notice]:
    """One for each intruder that the status names."""
    return {(one.node, one.namespace, one.pod): _notice(one) for one in status.intruders}


def _notice(one: IntruderStatus) -> Notice:
    return Notice(
        line="intruder found",
        fields={"node": one.node, "namespace": one.namespace, "pod": one.pod, "controller": one.controller},
        reason="IntruderFound",
        message=f"{_words(one)}: runs on a dedicated node and is not the tenant's; delete it, or set spec.nodes.effect "
        "to NoExecute",
        about=f"Pod/{one.namespace}/{one.pod}",
        verb="found",
        name=f"{one.namespace}/{one.pod}",
        is_warning=True,
    )


def _is_own(tenant: SecureTenant, namespace: str, world: World) -> bool:
    holder = ownership.holder(namespace, world)
    return holder is not None and holder.name == tenant.name


def _allowed(pod: Observed, world: World) -> str:
    """What the pod is allowed as; "" if it is not."""
    if _MIRROR in pod.annotations:
        return "static pods"
    kind, _, name = pod.controller.partition("/")
    if kind == "DaemonSet" and pod.ref.namespace in _platform(world):
        return f"DaemonSet {pod.ref.namespace}/{name}"
    return ""


def _platform(world: World) -> Iterator[str]:
    yield from world.platform.daemonset_namespaces
    yield world.platform.operator_namespace


def _words(one: IntruderStatus) -> str:
    by = f" ({one.controller})" if one.controller else ""
    return f"{one.namespace}/{one.pod}{by} on {one.node}"


def _count(number: int) -> str:
    return f"{number} pod" if number == 1 else f"{number} pods"


def _some(items: Sequence[str]) -> str:
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more" if more > 0 else "")
