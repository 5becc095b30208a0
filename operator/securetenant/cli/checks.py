"""What is wrong with the tenants in some files: each by itself, and all of them together."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from securetenant.api import load
from securetenant.api.load import Severity
from securetenant.api.tenant import SecureTenant
from securetenant.cli.documents import Document, Fault, Found
from securetenant.cli.offline import world_without_cluster
from securetenant.controls import ownership
from securetenant.controls.network import whitelist
from securetenant.model import names
from securetenant.sets.policy import PEERS
from securetenant.settings import Settings


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong, and where: file, line, tenant, field."""

    file: str
    line: int
    tenant: str
    path: str
    message: str
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Given:
    """A tenant out of a file."""

    document: Document
    tenant: SecureTenant

    @property
    def at(self) -> str:
        return f"{self.document.source}:{self.document.line}"


@dataclass(slots=True)
class Checked:
    """The sound tenants, and all issues, by file and line."""

    tenants: list[Given] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)

    @property
    def errors(self) -> list[Issue]:
        return [issue for issue in self.issues if issue.severity == "error"]

    @property
    def warnings(self) -> list[Issue]:
        return [issue for issue in self.issues if issue.severity == "warning"]


def check(found: Found, settings: Settings, now: datetime, *, strict: bool = False) -> Checked:
    """Judge all that was read. `strict`: warn, too, of what these files cannot tell."""
    checked = Checked(issues=[_unreadable(fault) for fault in found.faults])
    for document in found.tenants:
        issues = list(_own(document, now))
        checked.issues += issues
        if not any(issue.severity == "error" for issue in issues):
            checked.tenants.append(Given(document, load.load(document.body)))
    checked.issues += _together(checked.tenants, settings, now)
    if strict:
        checked.issues += _undeclared(checked.tenants, found.namespaces, settings, now)
    checked.issues.sort(key=lambda issue: (issue.file, issue.line, issue.path, issue.message))
    return checked


def _unreadable(fault: Fault) -> Issue:
    return Issue(fault.source, fault.line, "", "", fault.message)


def _own(document: Document, now: datetime) -> Iterator[Issue]:
    for problem in load.problems(document.body, now):
        mark = document.mark(problem.path)
        message = problem.message + _misread(mark.plain, problem.message)
        yield Issue(document.source, mark.line, document.name, problem.path, message, problem.severity)


def _misread(plain: str | None, message: str) -> str:
    """A hint where YAML takes a word without quotes for something else."""
    if plain is None or "wrong type" not in message or plain in ("true", "false") or plain.isdecimal():
        return ""
    return f" (without quotes, YAML does not read {plain} as text)"


def _together(given: Sequence[Given], settings: Settings, now: datetime) -> Iterator[Issue]:
    """What is wrong between the tenants."""
    yield from _same_names(given)
    yield from _same_namespaces(given)
    yield from _same_nodes(given)
    yield from _one_sided(given, settings, now)


def _same_names(given: Iterable[Given]) -> Iterator[Issue]:
    first: dict[str, Given] = {}
    for one in given:
        before = first.setdefault(one.tenant.name, one)
        if before is not one:
            message = f"SecureTenant {one.tenant.name} stands in {before.at} as well: only the last applied counts"
            yield _issue(one, "metadata.name", message)


def _same_namespaces(given: Iterable[Given]) -> Iterator[Issue]:
    first: dict[str, Given] = {}
    for one in given:
        for index, entry in enumerate(one.tenant.spec.namespaces):
            before = first.setdefault(entry.name, one)
            if before.tenant.name != one.tenant.name:
                message = (
                    f"namespace {entry.name} is declared by SecureTenant {before.tenant.name} as well ({before.at}): "
                    "it can belong to one only, remove it from the other"
                )
                yield _issue(one, f"spec.namespaces[{index}].name", message)


def _same_nodes(given: Iterable[Given]) -> Iterator[Issue]:
    first: dict[frozenset[tuple[str, str]], Given] = {}
    for one in given:
        if one.tenant.spec.nodes is None:
            continue
        before = first.setdefault(frozenset(one.tenant.spec.nodes.selector.match_labels.items()), one)
        if before.tenant.name != one.tenant.name:
            message = (
                f"SecureTenant {before.tenant.name} selects the same nodes ({before.at}): a node belongs to one "
                "tenant only, select by another label in one of the two"
            )
            yield _issue(one, "spec.nodes.selector", message)


def _one_sided(given: Sequence[Given], settings: Settings, now: datetime) -> Iterator[Issue]:
    """Flows that stay closed because the other side, which is among the files, does not declare them."""
    tenants = {one.tenant.name: one.tenant for one in given}
    world = world_without_cluster(tenants.values(), settings)
    for one in given:
        if one.tenant is not tenants[one.tenant.name]:
            continue
        for declared in whitelist.declarations(one.tenant, ownership.held(one.tenant, world), world, now):
            peer = declared.peer.tenant
            if declared.expired or declared.opened.flows or (peer is not None and peer not in tenants):
                continue
            rules = whitelist.rules(one.tenant, declared.direction)
            index = next(i for i, (rule, _, _) in enumerate(rules) if rule is declared.rule)
            message = f"rule {declared.rule.name!r} stays closed: {declared.opened.reason}"
            yield _issue(one, f"spec.network.{declared.direction}[{index}]", message, "warning")


def _undeclared(given: Sequence[Given], namespaces: Set[str], settings: Settings, now: datetime) -> Iterator[Issue]:
    """Platform namespaces that rules name and that none of the files declares: they may not exist."""
    platform = settings.platform()
    tenants = {entry.name for one in given for entry in one.tenant.spec.namespaces}
    known = {*namespaces, *tenants, *names.BUILT_IN_NAMESPACES, platform.dns_namespace, platform.operator_namespace}
    for one in given:
        for direction, others in PEERS.items():
            for index, (rule, _, peers) in enumerate(whitelist.rules(one.tenant, direction)):
                for number, peer in enumerate(peers):
                    if peer.namespace in (None, *known) or whitelist.has_expired(rule.expires, now):
                        continue
                    message = (
                        f"rule {rule.name!r} stays closed unless the namespace {peer.namespace} exists, which no file "
                        "declares: give its manifest as well, or what kubectl get namespaces -o yaml says"
                    )
                    path = f"spec.network.{direction}[{index}].{others}[{number}].namespace"
                    yield _issue(one, path, message, "warning")


def _issue(given: Given, path: str, message: str, severity: Severity = "error") -> Issue:
    document = given.document
    return Issue(document.source, document.mark(path).line, given.tenant.name, path, message, severity)
