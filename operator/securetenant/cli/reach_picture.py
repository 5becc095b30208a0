"""What a picture of flows shows: one tenant and its neighbours, or all tenants; and what it leaves out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias

from securetenant.cli import reach_rows
from securetenant.cli.output import count
from securetenant.cli.reach_rows import SEVERAL, Place, Row, Rows, pods_of, ports_of, told, why
from securetenant.cli.reach_states import State
from securetenant.sets import labels

# More is not readable at a glance: then the picture is of one tenant.
_EDGES: Final = 40
_TENANTS: Final = 12
_LISTED: Final = 3  # namespaces that a note names
_LONGEST: Final = 30  # characters of the namespaces of one line

Kind: TypeAlias = Literal["tenant", "none", "outside"]


class Key(NamedTuple):
    """A box: a tenant, all namespaces of none, or what is outside the cluster."""

    kind: Kind
    name: str = ""


class Port(NamedTuple):
    """A line of a box, where edges begin and end."""

    box: Key
    text: str


@dataclass(frozen=True, slots=True)
class Edge:
    """`style`: declared, undeclared, missing, other or closed. `label`: the ports and tickets; `detail`: the pods;
    `whole`: all of it, for a tooltip."""

    source: Port
    target: Port
    style: str
    label: str
    detail: str
    whole: str


@dataclass(frozen=True, slots=True)
class Picture:
    """`focus`: the tenant in the middle; None: all are on both sides. `within`: what passes inside of a box. `notes`:
    what is left out, and what is unknown."""

    title: str
    subtitle: str
    focus: Key | None
    edges: Sequence[Edge]
    within: Mapping[Key, Sequence[str]]
    notes: Sequence[str]
    titles: Mapping[Key, str]


def svg(found: Rows, state: State, tenant: str, *, everything: bool, before: State | None = None) -> str:
    from securetenant.cli.reach_svg import drawn

    return drawn(picture(found, state, tenant, everything=everything, before=before))


def picture(found: Rows, state: State, tenant: str, *, everything: bool, before: State | None = None) -> Picture:
    rows = [row for row in found.rows if everything or row.kind != "other"]
    rows = _joined(rows, state)
    tenants = sorted({name for row in rows for name in row.tenants})
    inside = [row for row in rows if _key(row.source) == _key(row.target)]
    between = [row for row in rows if _key(row.source) != _key(row.target)]
    focus, notes = tenant, list[str]()
    if not tenant and not everything and (len(tenants) > _TENANTS or len(between) > _EDGES):
        focus = _worst(tenants, rows)
        left = [name for name in tenants if name != focus and not _meet(name, focus, between)]
        lines = sum(not row.touches(focus) for row in between)
        bad = sum(not row.touches(focus) and row.kind == "undeclared" for row in between)
        notes.append(
            f"Not shown: {count(len(left), 'tenant')} that {focus} does not meet, and {count(lines, 'line')} between "
            f"others, {bad} of them undeclared. --tenant NAME draws another tenant, --all everything."
        )
    if focus:
        between = [row for row in between if row.touches(focus)]
        inside = [row for row in inside if row.touches(focus)]
    if found.unknown:
        names = sorted(found.unknown)
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        notes.append(f"Unknown, there may be more, or less: {', '.join(names[:_LISTED])}{more}")
    within: dict[Key, list[str]] = {}
    for row in inside:
        within.setdefault(_key(row.source), []).append(_inside(row, state))
    of = before if before is not None else state
    edges = [_edge(row, of if row.change == "closed" else state) for row in between]
    if not focus and len(edges) > _EDGES:  # too many to follow each with the eye
        edges = [replace(one, detail=" · ".join(filter(None, (f"to {one.target.text}", one.detail)))) for one in edges]
    if tenant and not edges and not inside:
        notes.append("There are no flows.")
    title = f"Who reaches {focus}, and whom it reaches" if focus else "Who reaches whom"
    if before is not None:
        title = "What opens, and what closes"
    undeclared = sum(edge.style == "undeclared" for edge in edges)
    subtitle = f"{state.title}: {count(len(edges), 'line')} between boxes, {undeclared} undeclared"
    titles = {Key("tenant", name): name if name == SEVERAL else _title(name, state) for name in tenants}
    return Picture(title, subtitle, Key("tenant", focus) if focus else None, edges, within, notes, titles)


def _title(name: str, state: State) -> str:
    return f"{name} ({count(_namespaces(name, state), 'namespace')})"


def _worst(tenants: Iterable[str], rows: Sequence[Row]) -> str:
    """The tenant that has most undeclared flows, then most flows."""
    sums = {name: (0, 0) for name in tenants if name != SEVERAL}
    for row in rows:
        for name in row.tenants & {*sums}:
            bad, all_ = sums[name]
            sums[name] = bad + (row.kind == "undeclared"), all_ + 1
    return max(sums, key=lambda name: (sums[name], name), default="")


def _meet(one: str, other: str, rows: Iterable[Row]) -> bool:
    return any(row.touches(one) and row.touches(other) for row in rows)


def _key(place: Place) -> Key:
    if place.is_outside:
        return Key("outside")
    return Key("tenant", place.tenant) if place.tenant else Key("none")


def _joined(rows: Iterable[Row], state: State) -> list[Row]:
    """What is the same for several namespaces of one tenant (DNS, isolation) is one line."""
    found = list(rows)
    for end in ("source", "target"):
        groups: dict[object, list[Row]] = {}
        for row in found:
            place, other = (row.source, row.target) if end == "source" else (row.target, row.source)
            itself = row.source == row.target
            rules = (tuple(told(row, state).rules), row.kind, row.change, row.ports, row.named)
            rest = (place._replace(namespaces=()), "itself" if itself else other, rules)
            groups.setdefault(rest if place.tenant else id(row), []).append(row)
        found = []
        for listed in groups.values():
            names = tuple(sorted({n for row in listed for n in getattr(row, end).namespaces}))
            first = listed[0]
            if len(listed) == 1:
                found.append(first)
            elif first.source == first.target:
                place = first.source._replace(namespaces=names)
                found.append(replace(first, source=place, target=place))
            elif end == "source":
                found.append(replace(first, source=first.source._replace(namespaces=names)))
            else:
                found.append(replace(first, target=first.target._replace(namespaces=names)))
    return found


def _line(place: Place, state: State) -> str:
    """What stands in a box: as many names as have room."""
    if place.is_outside:
        text = reach_rows.outside(place.blocks, 2)
        return "all addresses" if text == reach_rows.EVERYWHERE else text
    names = place.namespaces
    if place.tenant and len(names) > 1 and len(names) == _namespaces(place.tenant, state):
        return "all namespaces"
    shown = 1
    while shown < len(names) and len(", ".join(names[: shown + 1])) <= _LONGEST:
        shown += 1
    return ", ".join(names[:shown]) + (f" +{len(names) - shown}" if len(names) > shown else "")


def _inside(row: Row, state: State) -> str:
    sign = "! " if row.kind == "undeclared" else "not open: " if row.kind == "missing" else ""
    if row.source == row.target:
        where = _line(row.source, state) if _namespaces(row.source.tenant, state) > 1 else ""
        where = "within each namespace" if where == "all namespaces" else f"within {where}".strip()
        return f"{sign}{where}: {ports_of(row)}"
    return f"{sign}{_line(row.source, state)} → {_line(row.target, state)}: {ports_of(row)}"


def _namespaces(tenant: str, state: State) -> int:
    return sum(owner == tenant for owner in state.owner.values())


def _pods(place: Place) -> str:
    if place.is_outside:
        return "any"
    return pods_of(place, 2) if place.pods != (labels.EVERY,) or place.names else "all pods"


def _edge(row: Row, state: State) -> Edge:
    pods = [_pods(row.source), _pods(row.target)]
    chosen = " → ".join(pods) if {*pods} - {"all pods", "any"} else ""
    reason = why(row, state)
    found = told(row, state)
    change = {"opened": "opens: ", "closed": "closes: "}.get(row.change, "")
    beside = found.tickets[:2] if row.kind != "undeclared" else ()
    if row.kind == "undeclared":
        causes = [f"{ref.kind.name} {ref.name}" for ref in (*row.leaves, *row.enters) if ref not in state.sources]
        detail = f"by {', '.join(causes)}" if causes else "no policy closes it"
    elif row.kind == "missing":
        detail = "declared, and not open"
    else:
        detail = "" if found.tickets else f"{reason}, no ticket" if found.has_rule else reason
    style = "closed" if row.change == "closed" else row.kind
    source, target = (Port(_key(place), _line(place, state)) for place in (row.source, row.target))
    whole = f"{reach_rows.place_of(row.source, 20)} → {reach_rows.place_of(row.target, 20)}: {ports_of(row)} ({reason})"
    label = " · ".join((f"{change}{ports_of(row)}", *beside))
    return Edge(source, target, style, label, " · ".join(part for part in (detail, chosen) if part), whole)
