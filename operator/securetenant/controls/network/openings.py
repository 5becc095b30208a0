"""What a NetworkPolicy opens, read back from its spec: of one of ours flow by flow, of a stranger's in short."""

from collections.abc import Container, Iterable, Iterator
from typing import Final, NamedTuple

from securetenant.controls.network.policies import PEERS, TYPE
from securetenant.controls.network.whitelist import Direction
from securetenant.model import names
from securetenant.model.objects import Json, JsonValue
from securetenant.sets import ports
from securetenant.sets.ports import Range

_SHOWN: Final = 3  # how many ends a message names
_EVERYWHERE: Final = "everywhere"
_ALL_PODS: Final = "all pods"
_OWN: Final[dict[Direction, str]] = {"ingress": "to", "egress": "from"}
_ADMITS: Final[dict[Direction, str]] = {"ingress": "to", "egress": "of"}


class Opening(NamedTuple):
    """One end that the policy's own pods may talk with in a direction, on some ports; all as text for a reader.

    Equal openings are equal values, whatever the order in which a policy lists them. An end is one namespace or
    one block of addresses: where a policy names several, there are several openings.
    """

    direction: Direction
    own: str
    end: str
    ports: str

    def __str__(self) -> str:
        return f"{self.direction} {_OWN[self.direction]} {self.own} {PEERS[self.direction]} {self.end} on {self.ports}"


def openings(spec: JsonValue) -> frozenset[Opening]:
    """All that a NetworkPolicy opens, by its `spec`. Never fails: what has no sense to us is shown as it stands."""
    if not isinstance(spec, dict):
        return frozenset()
    own = _pods(spec.get("podSelector")) or _ALL_PODS
    return frozenset(
        Opening(direction, own, end, _allowed(entry.get("ports")))
        for direction, entries in _rules(spec)
        for entry in entries
        if isinstance(entry, dict)
        for end in _each_end(entry.get(PEERS[direction]))
    )


def covered(opening: Opening, wanted: Container[Opening]) -> bool:
    """Whether the wanted ones open this too: it is among them, or is for all pods there. Wider ends and ports are not
    looked for: "no" is the safe answer."""
    return opening in wanted or opening._replace(own=_ALL_PODS) in wanted


def _rules(spec: Json) -> Iterator[tuple[Direction, list[JsonValue]]]:
    """The rules of the directions that the policy is for. `policyTypes` left out mean Ingress, and Egress if it has
    such rules (https://kubernetes.io/docs/concepts/services-networking/network-policies/)."""
    types = spec.get("policyTypes")
    told = types if isinstance(types, list) else ["Ingress", *(["Egress"] if "egress" in spec else [])]
    for direction, kind in TYPE.items():
        entries = spec.get(direction)
        if kind in told and isinstance(entries, list) and entries:
            yield direction, entries


def _each_end(peers: JsonValue) -> Iterator[str]:
    if not isinstance(peers, list) or not peers:
        yield _EVERYWHERE
        return
    for peer in peers:
        if not isinstance(peer, dict):
            continue
        block = peer.get("ipBlock")
        if isinstance(block, dict):
            yield _block(block)
            continue
        where, pods = peer.get("namespaceSelector"), _pods(peer.get("podSelector"))
        for place in _named(where) or [_place(where)]:
            yield f"{pods} of {place}" if pods else place


def _block(block: Json) -> str:
    excepted = block.get("except")
    without = f" except {', '.join(map(str, excepted))}" if isinstance(excepted, list) and excepted else ""
    return f"{block.get('cidr')}{without}"


def _named(selector: JsonValue) -> list[str]:
    """The namespaces that a selector of ours names, one by one; none if it is of another form."""
    if not isinstance(selector, dict) or len(selector) != 1:
        return []
    labels, terms = selector.get("matchLabels"), selector.get("matchExpressions")
    listed: JsonValue = None
    if isinstance(labels, dict) and labels.keys() == {names.LABEL_NAMESPACE_NAME}:
        listed = list(labels.values())
    elif isinstance(terms, list) and len(terms) == 1 and isinstance(terms[0], dict):
        term = terms[0]
        if (term.get("key"), term.get("operator")) == (names.LABEL_NAMESPACE_NAME, "In"):
            listed = term.get("values")
    return [f"namespace {one}" for one in listed] if isinstance(listed, list) else []


def _place(selector: JsonValue) -> str:
    if selector is None:
        return "this namespace"
    return f"namespaces with {_selection(selector)}" if selector else "all namespaces"


def _pods(selector: JsonValue) -> str:
    return f"pods {_selection(selector)}" if selector else ""


def _allowed(listed: JsonValue) -> str:
    """The ports of a rule: "TCP 8443, UDP 53-60"."""
    if not isinstance(listed, list) or not listed:
        return ports.described(None)
    ranges: list[Range] = []
    named: list[str] = []
    for port in listed:
        if not isinstance(port, dict):
            continue
        protocol, low = str(port.get("protocol") or "TCP"), port.get("port")
        high = port.get("endPort", low)
        if low is None:
            ranges.append(Range(protocol, ports.LOWEST, ports.HIGHEST))
        elif isinstance(low, int) and isinstance(high, int):
            ranges.append(Range(protocol, low, high))
        else:
            named.append(f"{protocol} {low}")
    told = [ports.described(ports.merged(ranges))] if ranges else []
    return ", ".join([*told, *sorted(named)])


def described(spec: JsonValue) -> str:
    """What a policy that others made opens, shortly: "admits ingress from everywhere to all pods"."""
    if not isinstance(spec, dict):
        return "opens nothing"
    chosen = _ALL_PODS if not spec.get("podSelector") else f"pods with {_selection(spec['podSelector'])}"
    opened = [
        f"admits {direction} {PEERS[direction]} {_ends(entries, PEERS[direction])} {_ADMITS[direction]} {chosen}"
        for direction, entries in _rules(spec)
    ]
    return "; ".join(opened) or f"opens nothing, selects {chosen}"


def _ends(entries: Iterable[JsonValue], field: str) -> str:
    found: list[str] = []
    for entry in entries:
        peers = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(peers, list) or not peers:
            return _EVERYWHERE
        found += [_end(peer) for peer in peers if isinstance(peer, dict)]
    if _EVERYWHERE in found:
        return _EVERYWHERE
    distinct = list(dict.fromkeys(found))
    return ", ".join(distinct[:_SHOWN]) + (f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else "")


def _end(peer: Json) -> str:
    block = peer.get("ipBlock")
    if isinstance(block, dict):
        cidr = str(block.get("cidr"))
        return _EVERYWHERE if cidr in ("0.0.0.0/0", "::/0") and not block.get("except") else cidr
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
