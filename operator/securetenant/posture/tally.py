"""Adds up what was found in one namespace, whatever the number of its objects."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice, zip_longest
from typing import Final

from securetenant.api.status import NamespacePosture, PostureItem, stamp
from securetenant.checks.check import Check, Severity
from securetenant.checks.targets import Target
from securetenant.posture import addresses
from securetenant.posture.addresses import Address
from securetenant.posture.judging import Verdict
from securetenant.posture.rules import Rules, judged_by

LISTED: Final = 20  # how many findings are named; the counts are whole
_PLACE: Final = 200  # characters of a place

_ORDER: Final[dict[Severity, int]] = {"Critical": 0, "High": 1, "Medium": 2, "Low": 3}


@dataclass(slots=True)
class Broken:
    """A check that objects break: how many, and the first of them."""

    check: Check
    count: int = 0
    items: list[PostureItem] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """`objects`: how many were judged; `breaking`: how many of them break a check. `broken` and `unknown`: by the
    check's ID; `unjudged`: by the target's name. Of the latter two: why."""

    namespace: str
    objects: int = 0
    breaking: int = 0
    broken: dict[str, Broken] = field(default_factory=dict)
    exempted: set[str] = field(default_factory=set)
    unknown: dict[str, str] = field(default_factory=dict)
    unjudged: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, verdict: Verdict) -> None:
        self.objects += 1
        self.breaking += any(not failure.error and not failure.exempted for failure in verdict.failures)
        for failure in verdict.failures:
            if failure.exempted:
                self.exempted.add(failure.identifier)
            elif failure.error:
                self.unknown.setdefault(failure.identifier, f"{kind} {verdict.name}: {failure.error}")
            else:
                self._breaks(failure.identifier, failure.control, failure.check, kind, verdict.name, failure.places)

    def address(self, kind: str, judged: Address) -> None:
        """What the addresses of one pod came to."""
        if judged.error:
            self.unknown.setdefault(addresses.ID, f"{kind} {judged.name}: {judged.error}")
        elif judged.outside:
            self._breaks(addresses.ID, addresses.CONTROL, addresses.CHECK, kind, judged.name, judged.outside)

    def _breaks(self, identifier: str, control: str, check: Check, kind: str, name: str, places: Iterable[str]) -> None:
        """An object breaks a check, at these places in it."""
        broken = self.broken.setdefault(identifier, Broken(check))
        broken.count += 1
        if len(broken.items) < LISTED:
            place = _short(", ".join(places))
            broken.items.append(
                PostureItem(
                    control=control, check=check.name, kind=kind, namespace=self.namespace, name=name, place=place
                )
            )

    def failed(self, target: Target, why: str) -> None:
        """The objects of a target could not all be listed: nothing is known of those that were not seen."""
        self.unjudged[target.name] = why

    def row(self, rules: Rules, judged: datetime) -> NamespacePosture:
        """The outcome of each check. One that an object breaks fails, whatever else is unknown."""
        failed, unknown, exempted, passed = [], [], [], 0
        for name, _, targets in judged_by(rules.subnets):
            if name in self.broken:
                failed.append(name)
            elif targets & self.unjudged.keys():
                continue
            elif name in self.unknown:
                unknown.append(name)
            elif name in self.exempted:
                exempted.append(name)
            else:
                passed += 1
        reasons = [*self.unjudged.values(), *(self.unknown[name] for name in unknown)][:1]
        outside = self.broken[addresses.ID].count if addresses.ID in self.broken else 0
        if outside:
            reasons.insert(0, addresses.told(outside, rules.subnets, rules.remedy))
        return NamespacePosture(
            name=self.namespace,
            judged=stamp(judged),
            rules=rules.digest,
            objects=self.objects,
            findings=sum(broken.count for broken in self.broken.values()),
            passed=passed,
            failed=failed,
            exempted=exempted,
            unknown=unknown,
            unjudged=sorted(self.unjudged),
            subnets=list(rules.subnets),
            outside=outside,
            message="; ".join(map(_short, reasons)),
        )


def together(tallies: Iterable[Tally]) -> dict[str, Broken]:
    """What is broken in several namespaces, by the check's ID, the gravest first."""
    found: dict[str, Broken] = {}
    for tally in tallies:
        for name, broken in tally.broken.items():
            whole = found.setdefault(name, Broken(broken.check))
            whole.count += broken.count
            whole.items += broken.items
    return dict(sorted(found.items(), key=lambda one: (_ORDER[one[1].check.severity], one[0])))


def listed(tallies: Iterable[Tally]) -> list[PostureItem]:
    """The findings that are named: of each check one, then of each another, so that one check hides no other."""
    return list(islice(_in_turn([broken.items for broken in together(tallies).values()]), LISTED))


def _in_turn(lists: Iterable[list[PostureItem]]) -> Iterator[PostureItem]:
    return (item for item in chain.from_iterable(zip_longest(*lists)) if item is not None)


def _short(text: str) -> str:
    return text if len(text) <= _PLACE else text[: _PLACE - 1] + "…"
