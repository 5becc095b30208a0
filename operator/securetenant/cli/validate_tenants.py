"""What is wrong with our own resources in some files: each by itself, and all tenants together."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from securetenant.api import definitions, load
from securetenant.api.load import Problem
from securetenant.api.tenant import SecureTenant
from securetenant.cache.snapshot import world_without_cluster
from securetenant.cli.documents import Document, Fault, Found
from securetenant.cli.issues import Issue
from securetenant.cli.scalars import is_safe_unquoted
from securetenant.controls.lookup import CACHED
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import World
from securetenant.model import names
from securetenant.model.kinds import SECURE_TENANT
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform


@dataclass(frozen=True, slots=True)
class Given:
    """A tenant from a file."""

    document: Document
    tenant: SecureTenant


@dataclass(slots=True)
class Checked:
    """The valid tenants, the other resources of ours that controls read, and all issues, sorted by file and line."""

    tenants: list[Given] = field(default_factory=list)
    others: list[Observed] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)

    @property
    def errors(self) -> list[Issue]:
        return [issue for issue in self.issues if issue.severity == "error"]

    @property
    def warnings(self) -> list[Issue]:
        return [issue for issue in self.issues if issue.severity == "warning"]


def check(
    found: Found,
    platform: Platform,
    now: datetime,
    *,
    strict: bool = False,
    standing: Iterable[Observed] = (),
    is_whole: bool = True,
) -> Checked:
    """Check all that was read. `strict`: also warn of what cannot be checked with these files alone. `standing`: other
    resources of ours that are in the cluster; those in the files replace them. `is_whole`: whether there are no others,
    so that it is an error to refer to one."""
    checked = Checked(issues=[_unreadable(fault) for fault in found.faults])
    sound, others = [], []
    for document in found.documents:
        resource, problems = load.read(document.body)
        if resource is not None:
            sound.append(document)
        if isinstance(resource, SecureTenant):
            problems = load.warnings(resource, now)
            checked.tenants.append(Given(document, resource))
        elif resource is not None:
            others.append(document)
        checked.issues += [_own(document, problem) for problem in problems]
    checked.issues += [*_same_names(sound), *_same_claims(checked.tenants)]
    checked.others += _observed(others)
    known = {one.ref: one for one in (*standing, *checked.others)}
    world = world_without_cluster((one.tenant for one in checked.tenants), platform, known.values())
    checked.issues += _reviewed(checked.tenants, world, now)
    if is_whole:
        checked.issues += _missing(checked.tenants, world)
    if strict:
        checked.issues += _undeclared(checked.tenants, found.namespaces, world, now)
    checked.issues.sort(key=lambda issue: (issue.file, issue.line, issue.path, issue.message))
    return checked


def _unreadable(fault: Fault) -> Issue:
    return Issue(fault.source, fault.line, fault.line, "", "", "", fault.message)


def _own(document: Document, problem: Problem) -> Issue:
    mark = document.mark(problem.path)
    message = problem.message + _misread(mark.plain, problem.message)
    return Issue(
        document.source,
        mark.line,
        document.line,
        document.kind,
        document.name,
        problem.path,
        message,
        problem.severity,
        tenant=document.name if document.kind == SECURE_TENANT.name else "",
    )


def _misread(plain: str | None, message: str) -> str:
    """A hint where YAML reads a word without quotes as something else than text."""
    if plain is None or "wrong type" not in message or plain in ("true", "false") or plain.isdecimal():
        return ""
    if is_safe_unquoted(plain):
        return ""  # it is text, and something else was asked for
    return f" (without quotes, YAML does not read {plain} as text)"


def _same_names(sound: Iterable[Document]) -> Iterator[Issue]:
    first: dict[tuple[str, str], Document] = {}
    for one in sound:
        before = first.setdefault((one.kind, one.name), one)
        if before is not one:
            message = f"{one.kind} {one.name} is in {before.at} as well: only the last applied counts"
            yield _own(one, Problem("metadata.name", message))


def _same_claims(given: Iterable[Given]) -> Iterator[Issue]:
    """Claims of two tenants to something that only one can have."""
    first: dict[tuple[str, object], Given] = {}
    for one in given:
        for control in CONTROLS:
            for claim in control.claims(one.tenant):
                before = first.setdefault((control.name, claim.key), one)
                if before.tenant.name != one.tenant.name:
                    other = f"by SecureTenant {before.tenant.name} as well ({before.document.at})"
                    yield _issue(one, claim.path, f"{claim.taken} {other}: {claim.remedy}")


def _reviewed(given: Iterable[Given], world: World, now: datetime) -> Iterator[Issue]:
    """Issues between the tenants in the files, and with the other resources of ours."""
    for one, tenant in _resolved(given, world):
        for control in CONTROLS:
            for problem in control.review(tenant, world, now):
                yield _issue(one, problem.path, problem.message, problem.severity)


def _resolved(given: Iterable[Given], world: World) -> Iterator[tuple[Given, SecureTenant]]:
    """The tenants with what their specs refer to. Of two of one name the last counts."""
    for one in given:
        tenant = world.tenant(one.tenant.name)
        if tenant is not None and tenant.metadata is one.tenant.metadata:
            yield one, tenant


def _missing(given: Iterable[Given], world: World) -> Iterator[Issue]:
    """What specs refer to and nobody has."""
    for one in given:
        for need in (need for control in CONTROLS for need in control.needs(one.tenant)):
            if world.get(need.ref) is None:
                kind, name = need.ref.kind.name, need.ref.name
                message = (
                    f"there is no {kind} {name} in the files: give its file as well, or judge by those of the cluster "
                    "(--cluster), or correct the name"
                )
                yield _issue(one, need.path, message)


def _observed(others: Iterable[Document]) -> Iterator[Observed]:
    """The resources that the controls read, as a cluster would have them. Of two of one name the last counts."""
    for document in others:
        definition = definitions.of_kind(document.kind)
        if definition is not None and definition.kind in CACHED and isinstance(document.body, dict):
            spec = msgspec.Raw(msgspec.json.encode(document.body["spec"]))
            ref = Ref(definition.kind, "", document.name)
            yield Observed(ref, "", "", "", False, {}, {}, (), (), {"spec": spec})


def _undeclared(given: Sequence[Given], namespaces: Set[str], world: World, now: datetime) -> Iterator[Issue]:
    """Namespaces that a spec refers to and that none of the files declares: they may not exist."""
    tenants = {entry.name for one in given for entry in one.tenant.spec.namespaces}
    platform = world.platform
    known = {*namespaces, *tenants, *names.BUILT_IN_NAMESPACES, platform.dns_namespace, platform.operator_namespace}
    for one, tenant in _resolved(given, world):
        for reference in (reference for control in CONTROLS for reference in control.references(tenant, now)):
            if reference.namespace not in known:
                message = (
                    f"{reference.lost} unless the namespace {reference.namespace} exists, which no file "
                    "declares: give its manifest as well, or what kubectl get namespaces -o yaml says"
                )
                yield _issue(one, reference.path, message, "warning")


def _issue(given: Given, path: str, message: str, severity: Literal["error", "warning"] = "error") -> Issue:
    return _own(given.document, Problem(path, message, severity))
