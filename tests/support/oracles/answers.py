"""Who reaches whom, as each program says it, in one form to compare: the ports of TCP, UDP and SCTP from 1 on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from securetenant.reach import addresses
from securetenant.reach.addresses import Span
from securetenant.reach.values import Group, Outside, Reachability
from securetenant.sets import ports
from securetenant.sets.ports import EVERYTHING, OTHER, Ports, Range
from tests.support.cni.values import Call

Known: TypeAlias = tuple[Range, ...]
NUMBERED: Final = tuple(item._replace(low=1) for item in EVERYTHING if item.protocol != OTHER)


@dataclass
class Answer:
    """`pods`: "namespace/name" of source and target. `leaving`, `entering`: of each pod, addresses outside."""

    pods: dict[tuple[str, str], Known] = field(default_factory=dict)
    leaving: dict[str, list[tuple[Span, Known]]] = field(default_factory=dict)
    entering: dict[str, list[tuple[Span, Known]]] = field(default_factory=dict)

    def add(self, source: str | Span, target: str | Span, passing: Known) -> None:
        if isinstance(source, str) and isinstance(target, str):
            self.pods[source, target] = ports.merged((*self.pods.get((source, target), ()), *passing))
        elif isinstance(source, str) and isinstance(target, Span):
            self.leaving.setdefault(source, []).append((target, passing))
        elif isinstance(source, Span) and isinstance(target, str):
            self.entering.setdefault(target, []).append((source, passing))


def numbered(found: Ports) -> Known:
    """Without what has no port, and without port 0."""
    return NUMBERED if found is None else ports.intersection(found, NUMBERED) or ()


def includes(known: Known, call: Call) -> bool:
    return any(item.protocol == call.protocol and item.low <= call.port <= item.high for item in known)


def ours(found: Reachability) -> Answer:
    """Of reachability, whose pods are all known."""
    assert not found.unknown
    answer = Answer()
    for flow in found.flows:
        passing = numbered(flow.ports)
        if passing:
            for source in _ends(flow.source):
                for target in _ends(flow.target):
                    answer.add(source, target, passing)
    return answer


def _ends(end: Group | Outside) -> list[str] | list[Span]:
    return list(end.names) if isinstance(end, Group) else [addresses.span(block) for block in end.blocks]


def differences(one: Answer, other: Answer, versions: tuple[int, ...] = (4, 6)) -> Iterator[tuple[str, str, str]]:
    """Source, target, and what each says. `versions`: the families of addresses that both know."""
    for source, target in dict.fromkeys((*one.pods, *other.pods)):
        if source != target:  # no policy is enforced on what a pod sends to itself
            mine, theirs = one.pods.get((source, target), ()), other.pods.get((source, target), ())
            if mine != theirs:
                yield source, target, _apart(mine, theirs)
    for pod, span, mine, theirs in _beyond(one.leaving, other.leaving, versions):
        yield pod, str(addresses.networks([span])), _apart(mine, theirs)
    for pod, span, mine, theirs in _beyond(one.entering, other.entering, versions):
        yield str(addresses.networks([span])), pod, _apart(mine, theirs)


def _apart(mine: Known, theirs: Known) -> str:
    return f"{ports.described(mine) or 'nothing'} against {ports.described(theirs) or 'nothing'}"


def _beyond(
    one: Mapping[str, list[tuple[Span, Known]]],
    other: Mapping[str, list[tuple[Span, Known]]],
    versions: tuple[int, ...],
) -> Iterator[tuple[str, Span, Known, Known]]:
    """Parts of the address space, cut wherever one of them says something else, of which they differ."""
    for pod in dict.fromkeys((*one, *other)):
        mine, theirs = one.get(pod, []), other.get(pod, [])
        for version in versions:
            edges = {edge for span, _ in (*mine, *theirs) if span.version == version for edge in _edges(span)}
            for first, end in zip(listed := sorted(edges), listed[1:], strict=False):
                span = Span(version, first, end - 1)
                if (left := _at(mine, span)) != (right := _at(theirs, span)):
                    yield pod, span, left, right


def _edges(span: Span) -> tuple[int, int]:
    return span.first, span.last + 1


def _at(listed: list[tuple[Span, Known]], span: Span) -> Known:
    return ports.merged(item for within, passing in listed if addresses.contains([within], span) for item in passing)
