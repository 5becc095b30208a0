"""Label and taint on the nodes that are dedicated to a tenant, and the parameters of the checks on its namespaces.

The label is under `node-restriction.kubernetes.io/`, which a kubelet may not set on its own node (NodeRestriction). The
labels that the spec selects by may be set by a kubelet, so they only select.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct, field

from securetenant.api.status import Condition, SecureTenantStatus
from securetenant.api.tenant import Nodes, SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import NO_CLUSTER, Claim, Control, Plan, Triggers
from securetenant.controls.nodes import intruders
from securetenant.controls.nodes.checks import CHECKS, NAME
from securetenant.controls.parameters import on_namespaces
from securetenant.controls.world import Lookup, World
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NODE
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Desired, Observed
from securetenant.model.record import entries, entry, is_own_entry

CONDITION: Final = "NodesReady"
DEDICATED: Final = Family(
    "securetenant_node_dedicated", "gauge", "Nodes dedicated to the tenant, with label and taint.", zeros=((),)
)

_NAMED_AT_MOST: Final = 5  # names in a message; counts include all


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    """Label and taint for each node that the tenant selects and no older tenant does, and the parameters."""
    nodes = tenant.spec.nodes
    parameters = list(on_namespaces(CHECKS, tenant, ownership.held(tenant, world)))
    if nodes is None:
        return Plan(desired=parameters)
    if world.platform.offline:
        message = f"label and taint of the nodes with {_labels(nodes)} are not rendered: they depend on the cluster"
        condition = Condition.of(CONDITION, "Unknown", NO_CLUSTER, message)
        return Plan(desired=parameters, conditions=[condition])
    selected = _selected(tenant, world)
    owners = [(node, holder(node, world)) for node in selected]
    mine = [node for node, owner in owners if owner is not None and owner.name == tenant.name]
    lost = [(node, owner) for node, owner in owners if owner is not None and owner.name != tenant.name]
    desired = [_desired(tenant.name, node, nodes.effect) for node in mine]
    in_order = [node.ref.name for node, want in zip(mine, desired, strict=True) if is_in_order(node, want)]
    condition = _condition(nodes, selected, mine, lost, in_order)
    found = intruders.look(tenant, [node.ref.name for node in mine if node.tenant == tenant.name], world)
    about_others = intruders.condition(tenant, found)
    return Plan(
        desired=[*desired, *parameters],
        conditions=[condition, *([about_others] if about_others is not None else [])],
        blocking=[condition.message] if condition.reason in ("NoNodes", "Conflict") else [],
        passing=condition.reason == "NoNodes",  # a pool that is scaled to zero
        status={"nodes": in_order, **intruders.status(tenant, found)},
    )


def figures(status: SecureTenantStatus) -> Samples:
    dedicated: Samples = {DEDICATED.name: {(): len(status.nodes)}} if status.nodes else {}
    return {**dedicated, **intruders.figures(status)}


def holder(node: Observed, world: World) -> SecureTenant | None:
    """The oldest of the tenants that select the node, one that is being deleted included; None if none does."""
    candidates = world.having(map(_label, node.labels.items()))
    return min((t for t in candidates if _selects(t, node)), key=ownership.age, default=None)


def given_back(tenant: SecureTenant, world: World) -> list[Observed]:
    """The nodes that carry the tenant's label or taint but no longer belong to it: both are to be removed.

    Nodes that another tenant is about to write to are left out: a node that moves between two tenants stays closed.
    Without `nodes` in the spec, all the tenant's nodes are released.
    """
    marked = world.indexed(NODE, (_label((names.NODE_LABEL_TENANT, tenant.name)), f"taint:{tenant.name}"))
    found = sorted(marked, key=lambda node: node.ref)
    return [node for node in found if not node.deleting and _is_free(tenant, node, world)]


def is_in_order(node: Observed, desired: Desired) -> bool:
    """Whether the node has the label, and our taint exactly once and as desired."""
    return desired.labels.items() <= node.labels.items() and _our_taints(node) == [desired.body["taint"]]


def _is_free(tenant: SecureTenant, node: Observed, world: World) -> bool:
    owner = holder(node, world)
    if owner is None:
        return True
    if owner.name == tenant.name:
        return tenant.metadata.deletion_timestamp is not None
    return owner.spec.mode != "Enforce" or owner.metadata.deletion_timestamp is not None


def _selected(tenant: SecureTenant, world: World) -> list[Observed]:
    """The nodes that the tenant's selector matches, sorted by name, without those that are being deleted."""
    if tenant.spec.nodes is None:
        return []
    found = world.indexed(NODE, (_first(tenant.spec.nodes.selector.match_labels),))
    return sorted((n for n in found if not n.deleting and _selects(tenant, n)), key=lambda node: node.ref)


def _desired(tenant: str, node: Observed, effect: str) -> Desired:
    return Desired(
        node.ref,
        NAME,
        body={"taint": {"key": names.NODE_TAINT, "value": tenant, "effect": effect}},
        labels={names.NODE_LABEL_TENANT: tenant},
    )


def _our_taints(node: Observed) -> list[dict[str, object]]:
    """The taints with our key, without the `timeAdded` of NoExecute ones. A key may occur once per effect."""
    return [
        {key: value for key, value in taint.items() if key != "timeAdded"}
        for taint in entries(node)
        if isinstance(taint, dict) and is_own_entry(node, taint)
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
        return Condition.of(
            CONDITION,
            "False",
            "Conflict",
            f"Of {_count(len(selected))} that spec.nodes.selector matches, {len(lost)} belong to an older tenant: "
            f"{taken}. Select by another label here or there.",
        )
    if not selected:
        remedy = "label the nodes to dedicate, or correct spec.nodes.selector"
        return Condition.of(CONDITION, "False", "NoNodes", f"No node has the labels {_labels(nodes)}: {remedy}.")
    if len(in_order) < len(mine):
        missing = _some([node.ref.name for node in mine if node.ref.name not in set(in_order)])
        return Condition.of(CONDITION, "False", "NotDedicated", f"Label or taint is missing or wrong on {missing}.")
    return Condition.of(CONDITION, "True", "Dedicated", f"{_count(len(in_order))} dedicated")


def _labels(nodes: Nodes) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(nodes.selector.match_labels.items()))


def _count(number: int) -> str:
    return f"{number} node" if number == 1 else f"{number} nodes"


def _some(items: Sequence[str]) -> str:
    more = len(items) - _NAMED_AT_MOST
    return ", ".join(items[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def claims(tenant: SecureTenant) -> Iterator[Claim]:
    """A claim for the nodes it selects. Whether two different selectors overlap depends on the cluster's nodes."""
    if (nodes := tenant.spec.nodes) is not None:
        remedy = "a node belongs to one tenant only, select by another label in one of the two"
        key = frozenset(nodes.selector.match_labels.items())
        yield Claim("spec.nodes.selector", key, "the same nodes are selected", remedy)


def _selects(tenant: SecureTenant, node: Observed) -> bool:
    nodes = tenant.spec.nodes
    return nodes is not None and nodes.selector.match_labels.items() <= node.labels.items()


# --- which events concern whom: a tenant is found by the first label of its selector, a node by each of its labels


class _Selector(Struct, rename="camel"):
    match_labels: dict[str, str] = {}


class _Section(Struct):
    selector: _Selector = field(default_factory=_Selector)


def _label(label: tuple[str, str]) -> str:
    return f"node:{label[0]}={label[1]}"


def _first(match_labels: Mapping[str, str]) -> str:
    return _label(min(match_labels.items()))


def _listens(namespaces: Sequence[str], section: _Section) -> Iterator[str]:
    if labels := section.selector.match_labels:
        yield _first(labels)


def _keys(node: Observed) -> Iterator[str]:
    """A node's index keys: its labels, and the tenant that our taint on it names."""
    yield from map(_label, node.labels.items())
    taint = entry(node)
    if isinstance(taint, dict):
        yield f"taint:{taint.get('value', '')}"


def _changed(new: Observed, old: Observed | None) -> Iterator[str]:
    for key in (key for node in (new, old) if node is not None for key in _keys(node)):
        yield f"tenant:{key.removeprefix('taint:')}" if key.startswith("taint:") else key


def _rivals(tenant: str, tokens: Collection[str], lookup: Lookup) -> Iterator[str]:
    """The tokens of tenants that select, by any label, a node that this tenant may select or did select."""
    mine = [token for token in tokens if token.startswith("node:")]
    yield from mine
    for node in lookup(NODE, mine):
        yield from map(_label, node.labels.items())


CONTROL: Final = Control(
    name=NAME,
    plan=plan,
    kinds=(NODE, NAMESPACE),
    triggers=Triggers("nodes", _Section, _listens, {NODE: _changed}, _rivals),
    indexes={NODE: _keys},
    stale=given_back,
    rereads=True,
    families=(DEDICATED, intruders.FAMILY),
    figures=figures,
    warnings=intruders.warnings,
    cause="nodes changed",
    claims=claims,
    checks=CHECKS,
)
