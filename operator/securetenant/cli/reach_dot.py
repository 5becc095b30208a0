"""Flows as a graph in DOT, for graphviz and other tools."""

from collections.abc import Iterator

from securetenant.cli.output import printable
from securetenant.cli.reach_rows import Place, Row, Rows, outside, ports_of, told
from securetenant.cli.reach_states import State

_STYLES = {
    "declared": 'color="#0072b2"',
    "undeclared": 'color="#c44e00", style=dashed, penwidth=2',
    "missing": 'color="#6b6b6b", style=dotted',
    "other": 'color="#6b6b6b"',
}


def dot(found: Rows, state: State, before: State | None) -> str:
    nodes: dict[str, dict[str, str]] = {}
    edges = []
    for row in found.rows:
        for place in (row.source, row.target):
            cluster = "" if place.is_outside else place.tenant or "no tenant"
            nodes.setdefault(cluster, {})[_node(place)] = _named(place)
        of = before if before is not None and row.change == "closed" else state
        edges.append(f"  {_quoted(_node(row.source))} -> {_quoted(_node(row.target))} [{_attributes(row, of)}];")
    return "\n".join(["digraph reach {", "  rankdir=LR;", "  node [shape=box];", *_clusters(nodes), *edges, "}"])


def _clusters(nodes: dict[str, dict[str, str]]) -> Iterator[str]:
    for number, (cluster, listed) in enumerate(nodes.items()):
        lines = [f"{_quoted(name)} [label={_quoted(label)}];" for name, label in listed.items()]
        if not cluster:
            yield from (f"  {line}" for line in lines)
            continue
        yield f"  subgraph cluster_{number} {{"
        yield f"    label={_quoted(cluster)};"
        yield from (f"    {line}" for line in lines)
        yield "  }"


def _node(place: Place) -> str:
    return f"outside {outside(place.blocks, 50)}" if place.is_outside else " ".join(place.namespaces)


def _named(place: Place) -> str:
    if place.is_outside:
        return outside(place.blocks)
    more = f" and {len(place.namespaces) - 4} more" if len(place.namespaces) > 4 else ""
    return ", ".join(place.namespaces[:4]) + more


def _attributes(row: Row, state: State) -> str:
    label = "\n".join([*([row.change] if row.change else []), ports_of(row), *told(row, state).tickets])
    return f"label={_quoted(label)}, {_STYLES[row.kind]}"


def _quoted(text: str) -> str:
    lines = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'
