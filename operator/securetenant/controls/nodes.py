"""nodes: nodes that are one tenant's alone, by a taint that keeps others out and a label that pods can require.

The label lies under `node-restriction.kubernetes.io/`, which a kubelet may not set on itself (NodeRestriction);
what the spec selects by may well be set by a kubelet, and so only selects.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from securetenant.api.status import Condition
from securetenant.api.tenant import Nodes, SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import NO_CLUSTER, Claim, Control, Plan
from securetenant.controls.world import World
from securetenant.model import names
from securetenant.model.kinds import NODE
from securetenant.model.objects import Desired, Observed
from securetenant.model.record import node_taints

NAME: Final = "nodes"
CONDITION: Final = "NodesReady"

_NAMED_AT_MOST: Final = 5  # names in a message; the counts are whole


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    """Label and taint for each node that the tenant selects and no older tenant does."""
    nodes = tenant.spec.nodes
    if nodes is None:
        return Plan()
    if world.platform.offline:
        message = f"label and taint of the nodes with {_labels(nodes)} are not here: they rest on the cluster's nodes"
        return Plan(conditions=[Condition(type=CONDITION, status="Unknown", reason=NO_CLUSTER, message=message)])
    selected = _selected(tenant, world)
    owners = [(node, holder(node, world)) for node in selected]
    mine = [node for node, owner in owners if owner is not None and owner.name == tenant.name]
    lost = [(node, owner) for node, owner in owners if owner is not None and owner.name != tenant.name]
    desired = [_desired(tenant.name, node, nodes.effect) for node in mine]
    in_order = [node.ref.name for node, want in zip(mine, desired, strict=True) if is_in_order(node, want)]
    condition = _condition(nodes, selected, mine, lost, in_order)
    return Plan(
        desired=desired,
        conditions=[condition],
        blocking=[condition.message] if condition.reason in ("NoNodes", "Conflict") else [],
        nodes=in_order,
    )


def holder(node: Observed, world: World) -> SecureTenant | None:
    """The oldest of the tenants that select the node, one that is being deleted included; None if none does."""
    return min(world.selecting(node.labels), key=ownership.age, default=None)


def given_back(tenant: SecureTenant, world: World) -> list[Observed]:
    """The nodes that carry the tenant's label or taint and are not its any more: both are to be taken off.

    Not those that another tenant is about to write its own on: between two tenants a node stays closed. With
    `nodes` gone from the spec, that is all of them.
    """
    marked = {node.ref: node for node in world.nodes({names.NODE_LABEL_TENANT: tenant.name})}
    marked.update((node.ref, node) for node in world.tainted(tenant.name))
    return [node for _, node in sorted(marked.items()) if not node.deleting and _is_free(tenant, node, world)]


def is_in_order(node: Observed, desired: Desired) -> bool:
    """Whether the node has the label, and our taint once and as desired."""
    return desired.labels.items() <= node.labels.items() and _our_taints(node) == [desired.body["taint"]]


def _is_free(tenant: SecureTenant, node: Observed, world: World) -> bool:
    owner = holder(node, world)
    if owner is None:
        return True
    if owner.name == tenant.name:
        return tenant.metadata.deletion_timestamp is not None
    return owner.spec.mode != "Enforce" or owner.metadata.deletion_timestamp is not None


def _selected(tenant: SecureTenant, world: World) -> list[Observed]:
    """The nodes that the tenant's selector matches, by name; one that is being deleted is left alone."""
    if tenant.spec.nodes is None:
        return []
    found = world.nodes(tenant.spec.nodes.selector.match_labels)
    return sorted((node for node in found if not node.deleting), key=lambda node: node.ref)


def _desired(tenant: str, node: Observed, effect: str) -> Desired:
    return Desired(
        node.ref,
        NAME,
        body={"taint": {"key": names.NODE_TAINT, "value": tenant, "effect": effect}},
        labels={names.NODE_LABEL_TENANT: tenant},
    )


def _our_taints(node: Observed) -> list[dict[str, object]]:
    """The taints of our key, without the time that NoExecute ones may carry. A key may stand once per effect."""
    return [
        {key: value for key, value in taint.items() if key != "timeAdded"}
        for taint in node_taints(node)
        if isinstance(taint, dict) and taint.get("key") == names.NODE_TAINT
    ]


def _condition(
    nodes: Nodes,
    selected: Sequence[Observed],
    mine: Sequence[Observed],
    lost: Sequence[tuple[Observed, SecureTenant]],
    in_order: Sequence[str],
) -> Condition:
    if lost:
        taken = _some([f"{node.ref.name} (SecureTenant {owner.name})" for node, owner in lost])
        return _not_ready(
            "Conflict",
            f"Of {_count(len(selected))} that spec.nodes.selector matches, {len(lost)} belong to an older tenant: "
            f"{taken}. Select by another label here or there.",
        )
    if not selected:
        remedy = "label the nodes to dedicate, or correct spec.nodes.selector"
        return _not_ready("NoNodes", f"No node has the labels {_labels(nodes)}: {remedy}.")
    if len(in_order) < len(mine):
        missing = _some([node.ref.name for node in mine if node.ref.name not in set(in_order)])
        return _not_ready("NotDedicated", f"Label or taint is missing or another on {missing}.")
    return Condition(
        type=CONDITION, status="True", reason="Dedicated", message=f"{_count(len(in_order))} dedicated"
    )  # fmt: skip


def _labels(nodes: Nodes) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(nodes.selector.match_labels.items()))


def _not_ready(reason: str, message: str) -> Condition:
    return Condition(type=CONDITION, status="False", reason=reason, message=message)


def _count(number: int) -> str:
    return f"{number} node" if number == 1 else f"{number} nodes"


def _some(items: Sequence[str]) -> str:
    more = len(items) - _NAMED_AT_MOST
    return ", ".join(items[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def claims(tenant: SecureTenant) -> Iterator[Claim]:
    """The nodes that it selects. Of two selectors that are not equal only the cluster's nodes tell."""
    if (nodes := tenant.spec.nodes) is not None:
        remedy = "a node belongs to one tenant only, select by another label in one of the two"
        key = frozenset(nodes.selector.match_labels.items())
        yield Claim("spec.nodes.selector", key, "the same nodes are selected", remedy)


CONTROL: Final = Control(name=NAME, plan=plan, kinds=(NODE.name,), claims=claims)
