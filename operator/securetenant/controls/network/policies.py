"""NetworkPolicies of ours: their names, and their bodies in the form that the API server gives back.

`policyTypes` is always written: left out it means Ingress only. A peer in the cluster is one peer with both
selectors (AND; two peers would be OR), its namespaces by the label that the API server itself keeps.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from securetenant.controls.network.whitelist import Block, Direction
from securetenant.model import names
from securetenant.model.objects import Json, JsonValue
from securetenant.sets import ports, selectors
from securetenant.sets.ports import Ports
from securetenant.sets.selectors import Selector

TYPE: Final[Mapping[Direction, str]] = {"ingress": "Ingress", "egress": "Egress"}
PEERS: Final[Mapping[Direction, str]] = {"ingress": "from", "egress": "to"}

_PREFIX: Final[Mapping[Direction, str]] = {"ingress": "securetenant-ingress-", "egress": "securetenant-egress-"}


class Within(NamedTuple):
    """Some pods of one namespace."""

    namespace: str
    selector: Selector


End: TypeAlias = Block | Within


def name(direction: Direction, rule: str, narrowed: Selector | None = None) -> str:
    """What a rule's policy is called; `narrowed` to fewer pods than the rule's own, it has a name for these.

    A policy's name may hold a dot and a rule's may not, so that no rule's policy has another's name.
    """
    suffix = "" if narrowed is None else f".{selectors.fingerprint(narrowed)}"
    return f"{_PREFIX[direction]}{rule}{suffix}"


def rule_of(name: str) -> tuple[Direction, str] | None:
    """The direction and the name of the rule that a policy of ours is for; None if it is for no rule."""
    for direction, prefix in _PREFIX.items():
        if name.startswith(prefix):
            return direction, name.removeprefix(prefix).partition(".")[0]
    return None


def default_deny() -> Json:
    """Nothing in, nothing out, for every pod of the namespace."""
    return {"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}


def among(namespaces: Sequence[str]) -> Json:
    """All pods of these namespaces, the policy's own among them, with each other; of its own alone if none is given."""
    peer: Json = {"podSelector": {}} if not namespaces else {"namespaceSelector": _named(sorted(namespaces))}
    return {
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [peer]}],
            "egress": [{"to": [peer]}],
        }
    }


def opening(direction: Direction, own: Selector, ends: Mapping[End, Ports]) -> Json:
    """For the `own` pods, in one direction, each end on its ports. Equal openings give equal bodies."""
    by_ports: dict[Ports, dict[Selector, list[str]]] = {}
    blocks: dict[Ports, list[Block]] = {}
    for end, allowed in ends.items():
        if isinstance(end, Block):
            blocks.setdefault(allowed, []).append(end)
        else:
            by_ports.setdefault(allowed, {}).setdefault(end.selector, []).append(end.namespace)
    entries: list[JsonValue] = []
    for allowed in sorted({*by_ports, *blocks}, key=lambda item: (item is not None, item or ())):
        pods = sorted((sorted(found), selector) for selector, found in by_ports.get(allowed, {}).items())
        peers: list[JsonValue] = [_pods(namespaces, selector) for namespaces, selector in pods]
        peers += [_block(block) for block in sorted(blocks.get(allowed, ()))]
        entry: Json = {PEERS[direction]: peers}
        if allowed is not None:
            entry["ports"] = ports.rendered(allowed)
        entries.append(entry)
    return {
        "spec": {
            "podSelector": selectors.rendered(own),
            "policyTypes": [TYPE[direction]],
            direction: entries,
        }
    }


def _pods(namespaces: Sequence[str], selector: Selector) -> Json:
    peer: Json = {"namespaceSelector": _named(namespaces)}
    if selector != selectors.ALL:
        peer["podSelector"] = selectors.rendered(selector)
    return peer


def _named(namespaces: Sequence[str]) -> Json:
    if len(namespaces) == 1:
        return {"matchLabels": {names.LABEL_NAMESPACE_NAME: namespaces[0]}}
    term: Json = {"key": names.LABEL_NAMESPACE_NAME, "operator": "In", "values": list(namespaces)}
    return {"matchExpressions": [term]}


def _block(block: Block) -> Json:
    content: Json = {"cidr": block.cidr}
    if block.excepts:
        content["except"] = list(block.excepts)
    return {"ipBlock": content}
