"""NetworkPolicy bodies in the form that the API server gives back, and what a stranger's policy opens.

`policyTypes` is always written: left out it means Ingress only. A peer in the cluster is one peer with both
selectors (AND; two peers would be OR), its namespaces by the label that the API server itself keeps.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from securetenant.api import names
from securetenant.api.objects import Json, JsonValue
from securetenant.controls import ports, selectors
from securetenant.controls.ports import Ports
from securetenant.controls.selectors import Selector
from securetenant.controls.whitelist import Block, Direction

_SHOWN: Final = 3  # how many ends a message names

_TYPE: Final = {"ingress": "Ingress", "egress": "Egress"}
_PEERS: Final = {"ingress": "from", "egress": "to"}


class Within(NamedTuple):
    """Some pods of one namespace."""

    namespace: str
    selector: Selector


End: TypeAlias = Block | Within


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
        entry: Json = {_PEERS[direction]: peers}
        if allowed is not None:
            entry["ports"] = ports.rendered(allowed)
        entries.append(entry)
    return {
        "spec": {
            "podSelector": selectors.rendered(own),
            "policyTypes": [_TYPE[direction]],
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


def described(spec: JsonValue) -> str:
    """What a policy that others made opens, shortly: "admits ingress from everywhere to all pods"."""
    if not isinstance(spec, dict):
        return "opens nothing"
    chosen = "all pods" if not spec.get("podSelector") else f"pods with {_selection(spec['podSelector'])}"
    types = spec.get("policyTypes")
    told = types if isinstance(types, list) else ["Ingress", *(["Egress"] if "egress" in spec else [])]
    opened = [
        f"admits {direction} {word} {_ends(entries, _PEERS[direction])} {of} {chosen}"
        for direction, word, of in (("ingress", "from", "to"), ("egress", "to", "of"))
        if _TYPE[direction] in told and isinstance(entries := spec.get(direction), list) and entries
    ]
    return "; ".join(opened) or f"opens nothing, selects {chosen}"


def _ends(entries: Iterable[JsonValue], field: str) -> str:
    found: list[str] = []
    for entry in entries:
        peers = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(peers, list) or not peers:
            return "everywhere"
        found += [_end(peer) for peer in peers if isinstance(peer, dict)]
    if "everywhere" in found:
        return "everywhere"
    distinct = list(dict.fromkeys(found))
    return ", ".join(distinct[:_SHOWN]) + (f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else "")


def _end(peer: Json) -> str:
    block = peer.get("ipBlock")
    if isinstance(block, dict):
        cidr = str(block.get("cidr"))
        return "everywhere" if cidr in ("0.0.0.0/0", "::/0") and not block.get("except") else cidr
    where = peer.get("namespaceSelector")
    place = f"namespaces with {_selection(where)}" if where else "all namespaces"
    if where is None:
        place = "this namespace"
    return f"pods with {_selection(peer['podSelector'])} in {place}" if peer.get("podSelector") else place


def _selection(selector: JsonValue) -> str:
    if not isinstance(selector, dict):
        return "no labels"
    labels, terms = selector.get("matchLabels"), selector.get("matchExpressions")
    found = [f"{key}={value}" for key, value in sorted((labels if isinstance(labels, dict) else {}).items())]
    for term in terms if isinstance(terms, list) else []:
        if isinstance(term, dict):
            values = term.get("values")
            of = f" ({', '.join(map(str, values))})" if isinstance(values, list) and values else ""
            found.append(f"{term.get('key')} {term.get('operator')}{of}")
    return ", ".join(found)
