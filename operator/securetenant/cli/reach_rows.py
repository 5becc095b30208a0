"""Flows as rows that people read: between a tenant's pods and others, declared or not, each with its rule."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias

from securetenant.cli.output import count
from securetenant.cli.reach_states import Source, State
from securetenant.model.objects import Ref
from securetenant.reach import addresses, kube_ovn
from securetenant.reach.addresses import Span
from securetenant.reach.flows import Pair, side_by_side
from securetenant.reach.values import End, Flow, Outside
from securetenant.sets import labels, ports
from securetenant.sets.blocks import Network
from securetenant.sets.labels import Labels
from securetenant.sets.ports import Ports

# declared: a SecureTenant declares it, and it is open. undeclared: open, and none does. missing: declared and agreed,
# and not open. other: no end of it is a tenant's.
Kind: TypeAlias = Literal["declared", "undeclared", "missing", "other"]
# What happens to it between two states; "" where one is looked at.
Change: TypeAlias = Literal["", "opened", "closed"]


#: Instead of a tenant's name: a name that none can have.
SEVERAL: Final = "several tenants"
_MANY: Final = 20  # tenants that are one, as long as no policy tells them apart


class Place(NamedTuple):
    """One end as it is shown: pods of one tenant's namespaces ("": of no tenant), or addresses outside the cluster.
    `pods`: (EVERY,) for all."""

    tenant: str
    namespaces: tuple[str, ...]
    pods: tuple[Labels, ...] = (labels.EVERY,)
    names: tuple[str, ...] = ()
    blocks: tuple[Network, ...] = ()
    is_host: bool = False

    @property
    def is_outside(self) -> bool:
        return not self.namespaces


@dataclass(frozen=True, slots=True)
class Row:
    """`leaves`, `enters`: the policies that allow it at each end; none where no policy is enforced. `named`: ports by
    name, counted as all of their protocol."""

    source: Place
    target: Place
    ports: Ports
    kind: Kind
    leaves: tuple[Ref, ...]
    enters: tuple[Ref, ...]
    named: tuple[str, ...] = ()
    change: Change = ""

    @property
    def tenants(self) -> set[str]:
        return {self.source.tenant, self.target.tenant} - {""}

    def touches(self, tenant: str) -> bool:
        return tenant in (self.source.tenant, self.target.tenant)


class Rows(NamedTuple):
    """`unknown`: by namespace, why there may be more, or less."""

    rows: Sequence[Row]
    unknown: dict[str, Sequence[str]]


def of_state(state: State, tenant: str = "", *, everything: bool = False) -> Rows:
    """The flows of a state. `tenant`: of this one alone; `everything`: those between namespaces of no tenant too."""
    loose = frozenset() if tenant else state.loose
    found = side_by_side([state.declared, state.cluster], _of(state.owner, tenant, everything))
    rows = [row for pair in found.pairs for row in _judged(pair, pair.passing[1].ports, 0, 1, state, state.owner)]
    for pair in found.pairs:
        missing = ports.difference(pair.passing[0].ports, pair.passing[1].ports)
        rows += _rows("missing", "", pair.flow(0, missing), state.owner)
    rows = [_unless_loose(row, state, loose) for row in rows if not tenant or row.touches(tenant)]
    return Rows(_merged(rows), dict(found.unknown))


def _unless_loose(row: Row, state: State, loose: frozenset[str]) -> Row:
    """Undeclared, where it is taken for declared only since nothing stands there."""
    if row.kind != "declared" or not loose or any(ref in state.sources for ref in (*row.leaves, *row.enters)):
        return row
    return (
        row if loose.isdisjoint((*row.source.namespaces, *row.target.namespaces)) else replace(row, kind="undeclared")
    )


def between(before: State, after: State, tenant: str = "", *, everything: bool = False) -> Rows:
    """What opens and what closes. Whether it is declared: of what opens, in the later state; of what closes, in the
    earlier one."""
    owner = {**before.owner, **after.owner}
    states = [before.declared, before.cluster, after.declared, after.cluster]
    found = side_by_side(states, _of(owner, tenant, everything))
    rows = []
    for pair in found.pairs:
        _, was, _, now = pair.passing
        opened = _judged(pair, ports.difference(now.ports, was.ports), 2, 3, after, owner, "opened")
        closed = _judged(pair, ports.difference(was.ports, now.ports), 0, 1, before, owner, "closed")
        rows += [_unless_loose(row, after, frozenset() if tenant else after.loose) for row in opened]
        rows += [_unless_loose(row, before, frozenset() if tenant else before.loose) for row in closed]
    return Rows(_merged(row for row in rows if not tenant or row.touches(tenant)), dict(found.unknown))


def of_flows(flows: Iterable[Flow], state: State) -> Sequence[Row]:
    """Flows that are open, as rows; whether they are declared is not asked."""
    return _merged(row for flow in flows for row in _rows("other", "", flow, state.owner))


def _of(owner: Mapping[str, str], tenant: str, everything: bool) -> Collection[str] | None:
    if everything or not owner:
        return None
    return [name for name, have in owner.items() if tenant in ("", have)]


def _judged(
    pair: Pair,
    open_: Ports,
    declared: int,
    actual: int,
    state: State,
    owner: Mapping[str, str],
    change: Change = "",
) -> list[Row]:
    """What is open of a pair, by whether it is declared. `declared`, `actual`: the numbers of these states."""
    if open_ == ports.NONE:
        return []
    rest = pair.flow(actual, ports.difference(open_, pair.passing[declared].ports))
    leaves, enters = _causes(rest.leaves, state), _causes(rest.enters, state)
    return [
        *_rows("declared", change, pair.flow(declared, open_), owner),
        *_rows("undeclared", change, replace(rest, leaves=leaves, enters=enters), owner),
    ]


def _causes(refs: tuple[Ref, ...], state: State) -> tuple[Ref, ...]:
    """Of the policies at one end, those that no SecureTenant stands for, if there are any."""
    return tuple(ref for ref in refs if ref not in state.sources) or refs


def _rows(kind: Kind, change: Change, flow: Flow, owner: Mapping[str, str]) -> list[Row]:
    if flow.ports == ports.NONE:
        return []
    return [
        Row(
            *(source, target, flow.ports, kind if source.tenant or target.tenant else "other"),
            *(flow.leaves, flow.enters, flow.named, change),
        )
        for source in places(flow.source, owner)
        for target in places(flow.target, owner)
    ]


def places(end: End, owner: Mapping[str, str]) -> list[Place]:
    """An end cut by tenants."""
    if isinstance(end, Outside):
        return [Place("", (), (), (), end.blocks)]
    by_tenant: dict[str, list[str]] = {}
    for name in end.namespaces:
        by_tenant.setdefault(owner.get(name, ""), []).append(name)
    if len(by_tenant) > _MANY:
        by_tenant = {SEVERAL: list(end.namespaces)}
    pods = labels.simplified(end.pods)
    return [
        Place(
            *(tenant, tuple(names), pods, tuple(one for one in end.names if one.partition("/")[0] in names)),
            *(end.blocks, end.is_host),
        )
        for tenant, names in by_tenant.items()
    ]


def _merged(rows: Iterable[Row]) -> list[Row]:
    """Rows that differ at one end alone, in the addresses, the pods or the namespaces of no tenant, are one."""
    found = list(rows)
    for key, join in (
        (_but_blocks, _blocks_joined),
        (_but_pods, _pods_joined),
        (_but_namespaces, _namespaces_joined),
    ):
        for end in ("source", "target"):
            groups: dict[object, list[Row]] = {}
            for row in found:
                place, other = (row.source, row.target) if end == "source" else (row.target, row.source)
                rest = (row.ports, row.kind, row.change, row.leaves, row.enters, row.named)
                groups.setdefault((key(place), other, rest), []).append(row)
            found = [
                listed[0]
                if len(listed) == 1
                else _with_end(listed[0], end, join([getattr(row, end) for row in listed]))
                for listed in groups.values()
            ]
    return sorted(found, key=_order)


def _with_end(row: Row, end: str, place: Place) -> Row:
    return replace(row, source=place) if end == "source" else replace(row, target=place)


def _but_blocks(place: Place) -> object:
    return place._replace(blocks=())


def _blocks_joined(ends: Sequence[Place]) -> Place:
    if any(not one.blocks for one in ends):
        return ends[0]._replace(blocks=())
    return ends[0]._replace(blocks=addresses.networks({addresses.span(block) for one in ends for block in one.blocks}))


def _but_pods(place: Place) -> object:
    return place._replace(pods=(), names=())


def _pods_joined(ends: Sequence[Place]) -> Place:
    return ends[0]._replace(
        pods=labels.simplified(each for one in ends for each in one.pods),
        names=tuple(sorted({name for one in ends for name in one.names})),
    )


def _but_namespaces(place: Place) -> object:
    return place if place.tenant or place.is_outside or place.names else place._replace(namespaces=("",))


def _namespaces_joined(ends: Sequence[Place]) -> Place:
    return ends[0]._replace(namespaces=tuple(sorted({name for one in ends for name in one.namespaces})))


_RANK: Final = {"undeclared": 0, "missing": 1, "declared": 2, "other": 3}


def _order(row: Row) -> tuple[object, ...]:
    return (
        _RANK[row.kind],
        row.source.namespaces,
        row.target.namespaces,
        tuple(map(str, row.target.blocks)),
        tuple(map(str, row.source.blocks)),
        ports.described(row.ports),
        labels.described(row.source.pods[0]) if row.source.pods else "",
        labels.described(row.target.pods[0]) if row.target.pods else "",
    )


# --- as text

EVERYWHERE: Final = "all addresses outside the cluster"


def ports_of(row: Row) -> str:
    text = described(row.ports)
    return f"{text} (for {', '.join(row.named)})" if row.named else text


def described(allowed: Ports) -> str:
    """As text; what is nearly all, as all but the rest."""
    rest = ports.difference(None, allowed)
    if allowed is not None and rest and len(rest) < len(allowed):
        return f"all but {ports.described(rest)}"
    return ports.described(allowed)


def place_of(place: Place, most: int = 4) -> str:
    """As text: "payments-prod (app=gateway)", "203.0.113.0/24"."""
    if place.is_outside:
        return outside(place.blocks, most)
    listed = ", ".join(place.namespaces[:most])
    if len(place.namespaces) > most:
        listed += f" and {len(place.namespaces) - most} more namespaces"
    told = pods_of(place, most)
    return f"{listed} ({told})" if told else listed


def pods_of(place: Place, most: int = 4) -> str:
    """Which pods, as text; "" for all."""
    parts = [name.partition("/")[2] for name in place.names[:most]]
    if len(place.names) > most:
        parts.append(f"{len(place.names) - most} more")
    if not parts and place.pods != (labels.EVERY,):
        parts = [labels.described(one) for one in place.pods[:most]]
        if len(place.pods) > most:
            parts.append(f"{len(place.pods) - most} more sets of labels")
    told = "; or ".join(parts) if not place.names else ", ".join(parts)
    extra = [f"at {outside(place.blocks, most)}"] if place.blocks else []
    if place.is_host and not place.names:
        extra.append("on the node's network")
    return ", ".join([*([told] if told else []), *extra])


def outside(blocks: Sequence[Network], most: int = 4) -> str:
    """Addresses as text: "203.0.113.0/24", "10.8.0.0/16 except 10.8.9.0/24"."""
    families = [[one for one in blocks if one.version == version] for version in (4, 6)]
    if all(len(found) == 1 and found[0].prefixlen == 0 for found in families):
        return EVERYWHERE
    return "; ".join(_family(_whole(found), found, most) for found in families if found)


def _family(whole: Network, blocks: Sequence[Network], most: int) -> str:
    holes = _holes(whole, blocks)
    called = f"all IPv{whole.version} addresses outside the cluster" if whole.prefixlen == 0 else str(whole)
    if not holes:
        return called
    if len(holes) < len(blocks):
        return f"{called} except {_listed(holes, most)}"
    return _listed(blocks, most)


def _listed(blocks: Sequence[Network], most: int) -> str:
    more = f" and {count(len(blocks) - most, 'more block')}" if len(blocks) > most else ""
    return ", ".join(map(str, blocks[:most])) + more


def _whole(blocks: Sequence[Network]) -> Network:
    """The smallest block around these."""
    first, last = min(blocks, key=lambda one: int(one[0])), max(blocks, key=lambda one: int(one[-1]))
    shared = first.max_prefixlen - (int(first[0]) ^ int(last[-1])).bit_length()
    return first.supernet(new_prefix=min(shared, first.prefixlen))


def _holes(whole: Network, blocks: Sequence[Network]) -> tuple[Network, ...]:
    """What is in the block and in none of these, which are in order and apart."""
    found, at = [], int(whole[0])
    for one in sorted(addresses.span(block) for block in blocks):
        if one.first > at:
            found.append(Span(whole.version, at, one.first - 1))
        at = one.last + 1
    if at <= int(whole[-1]):
        found.append(Span(whole.version, at, int(whole[-1])))
    return addresses.networks(found)


class Told(NamedTuple):
    """Why a row is open. `tickets`: with their ends ("CHG-1 until 2031-03-31"). `has_rule`: a rule is among them, and
    not only what all pods of a tenant may (DNS, isolation)."""

    rules: tuple[str, ...]
    tickets: tuple[str, ...]
    foreign: tuple[str, ...]
    has_rule: bool


def told(row: Row, state: State) -> Told:
    rules: dict[str, None] = {}
    tickets: dict[str, None] = {}
    foreign: dict[str, None] = {}
    for ref in (*row.leaves, *row.enters):
        source = state.sources.get(ref)
        if source is None:
            foreign[str(ref)] = None
            continue
        rules[f"{source.tenant}/{source.rule}"] = None
        if text := ticket(source):
            tickets[text] = None
    has_rule = any(one.direction for ref in (*row.leaves, *row.enters) if (one := state.sources.get(ref)) is not None)
    return Told(tuple(rules), tuple(tickets), tuple(foreign), has_rule)


def ticket(source: Source) -> str:
    end = f"until {source.expires:%Y-%m-%d}" if source.expires else ""
    return " ".join(part for part in (source.ticket, end) if part)


def why(row: Row, state: State) -> str:
    """In one line: by which rules, tickets, policies."""
    found = told(row, state)
    if row.kind in ("declared", "missing"):
        names = ", ".join(dict.fromkeys(name.partition("/")[2] for name in found.rules))
        return ", ".join(part for part in (names, *found.tickets) if part)
    if found.foreign:
        return f"by {', '.join(found.foreign)}"
    spaces = [name for place in (row.source, row.target) for name in place.namespaces]
    subnets = kube_ovn.subnets_of(state.cluster, spaces)
    if opening := [one.name for one in subnets if any(acl.allows for acl in one.acls)]:
        return f"by an acl of Subnet {', '.join(opening)}, or since no policy closes it"
    bare = [
        f"no policy of {place_of(place._replace(pods=(labels.EVERY,)))} closes it"
        for place, refs in ((row.source, row.leaves), (row.target, row.enters))
        if not refs and place.tenant
    ]
    bare = list(dict.fromkeys(bare))
    return " and ".join(bare) or ", ".join(found.rules)
