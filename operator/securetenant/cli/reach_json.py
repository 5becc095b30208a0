"""The JSON of `reach`: a stable form, described in docs/reach.md. Fields may be added, none is renamed or removed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from securetenant.cli.output import print_json
from securetenant.cli.reach_rows import Place, Row, Rows
from securetenant.cli.reach_states import State
from securetenant.model.objects import Ref
from securetenant.sets import labels, ports
from securetenant.sets.ports import Ports

if TYPE_CHECKING:
    from securetenant.cli.reach_answer import Answer


class PortRange(msgspec.Struct, rename="camel", frozen=True):
    """`protocol`: TCP, UDP, SCTP, or other (ICMP and all else, for which ports are 0)."""

    protocol: str
    port: int
    end_port: int


class EndForm(msgspec.Struct, rename="camel", frozen=True):
    """Pods, or addresses outside the cluster (`cidrs`, without `namespaces`). `pods`: by labels, each a description; []
    for all. `workloads`: which they are, where pods are known."""

    tenant: str
    namespaces: tuple[str, ...]
    pods: tuple[str, ...]
    workloads: tuple[str, ...]
    cidrs: tuple[str, ...]
    host_network: bool


class PolicyForm(msgspec.Struct, rename="camel", frozen=True):
    """A policy that allows it. `rule`, `ticket`, `expires`: of the SecureTenant that declares it; "" for none."""

    kind: str
    namespace: str
    name: str
    end: str
    tenant: str = ""
    rule: str = ""
    ticket: str = ""
    expires: str = ""


class FlowForm(msgspec.Struct, rename="camel", frozen=True):
    """`state`: declared, undeclared, missing (declared and not open) or other (no end is a tenant's). `change`: opened
    or closed, "" where one state is looked at. `namedPorts`: counted as all ports of their protocol."""

    state: str
    change: str
    source: EndForm = msgspec.field(name="from")
    target: EndForm = msgspec.field(name="to")
    ports: tuple[PortRange, ...]
    named_ports: tuple[str, ...]
    policies: tuple[PolicyForm, ...]


class UnknownForm(msgspec.Struct, rename="camel", frozen=True):
    namespace: str
    reasons: tuple[str, ...]


class FlowsForm(msgspec.Struct, rename="camel", frozen=True):
    """`of`, `against`: what was looked at, and the state before ("" for none)."""

    of: str
    against: str
    flows: tuple[FlowForm, ...]
    unknown: tuple[UnknownForm, ...]
    notes: tuple[str, ...]


class AnswerForm(msgspec.Struct, rename="camel", frozen=True):
    """`answer`: yes, partly, no or unknown. `about`: the Service that led to the pods, if one did."""

    answer: str
    about: str
    reasons: tuple[str, ...]
    flows: tuple[FlowForm, ...]
    unknown: tuple[str, ...]


class AnswersForm(msgspec.Struct, rename="camel", frozen=True):
    answers: tuple[AnswerForm, ...]


class CellForm(msgspec.Struct, rename="camel", frozen=True):
    """`ports`: what is declared, or no tenant's affair; `undeclared`: what else is open."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    ports: tuple[PortRange, ...]
    undeclared: tuple[PortRange, ...]


class MatrixForm(msgspec.Struct, rename="camel", frozen=True):
    """`by`: tenant or namespace. `cells`: those that are not empty."""

    by: str
    cells: tuple[CellForm, ...]
    unknown: tuple[UnknownForm, ...]


def print_matrix(by: str, cells: Iterable[tuple[str, str, Ports, Ports]], found: Rows) -> None:
    forms = tuple(CellForm(one, other, _ports(open_), _ports(more)) for one, other, open_, more in cells)
    print_json(msgspec.to_builtins(MatrixForm(by, forms, _unknown(found))))


def _unknown(found: Rows) -> tuple[UnknownForm, ...]:
    return tuple(UnknownForm(name, tuple(listed)) for name, listed in sorted(found.unknown.items()))


def print_rows(found: Rows, state: State, before: State | None) -> None:
    flows = tuple(flow(row, before if before is not None and row.change == "closed" else state) for row in found.rows)
    unknown = _unknown(found)
    against = before.title if before is not None else ""
    print_json(msgspec.to_builtins(FlowsForm(state.title, against, flows, unknown, tuple(state.notes))))


def print_answers(answers: "Sequence[Answer]", state: State) -> None:
    forms = tuple(
        AnswerForm(
            one.outcome, one.about, tuple(one.reasons), tuple(flow(r, state) for r in one.rows), tuple(one.unknown)
        )
        for one in answers
    )
    print_json(msgspec.to_builtins(AnswersForm(forms)))


def flow(row: Row, state: State) -> FlowForm:
    policies = (
        *(_policy(ref, "from", state) for ref in row.leaves),
        *(_policy(ref, "to", state) for ref in row.enters),
    )
    return FlowForm(row.kind, row.change, _end(row.source), _end(row.target), _ports(row.ports), row.named, policies)


def _end(place: Place) -> EndForm:
    pods = () if place.pods in ((), (labels.EVERY,)) else tuple(map(labels.described, place.pods))
    return EndForm(place.tenant, place.namespaces, pods, place.names, tuple(map(str, place.blocks)), place.is_host)


def _ports(found: Ports) -> tuple[PortRange, ...]:
    return tuple(PortRange(one.protocol, one.low, one.high) for one in (ports.EVERYTHING if found is None else found))


def _policy(ref: Ref, end: str, state: State) -> PolicyForm:
    source = state.sources.get(ref)
    given: Mapping[str, str] = {}
    if source is not None:
        expires = source.expires.isoformat().replace("+00:00", "Z") if source.expires else ""
        given = {"tenant": source.tenant, "rule": source.rule, "ticket": source.ticket, "expires": expires}
    return PolicyForm(ref.kind.key, ref.namespace, ref.name, end, **given)
