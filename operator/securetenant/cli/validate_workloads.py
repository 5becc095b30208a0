"""What the API server would refuse of the workloads in some files, by the checks of the tenants that they belong to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from securetenant.api.load import dotted
from securetenant.api.tenant import SecureTenant
from securetenant.api.workloads import Exemption
from securetenant.cache.world import World
from securetenant.checks import server_form
from securetenant.checks.decoding import Malformed
from securetenant.checks.evaluator import Evaluator, Failure
from securetenant.checks.injections import injected
from securetenant.checks.policies import ADMISSION
from securetenant.checks.targets import PODS
from securetenant.checks.variables import EXEMPTIONS
from securetenant.cli.documents import Document
from securetenant.cli.issues import MALFORMED, NOT_JUDGED, Issue, Level
from securetenant.cli.parsing import Place
from securetenant.cli.places import is_field, of_finding, of_path
from securetenant.cli.processes import spread
from securetenant.controls import ownership
from securetenant.controls.registry import CHECKS
from securetenant.model.objects import Desired
from securetenant.posture.rules import marks

# How many workloads take longer than a process takes to start.
_WORTH_A_PROCESS: Final = 100


@dataclass(slots=True)
class Judged:
    """`workloads`: those that were judged; `others`: those that were not, for want of a tenant."""

    issues: list[Issue] = field(default_factory=list)
    workloads: int = 0
    others: list[Document] = field(default_factory=list)


@dataclass(frozen=True)
class Rules:
    """How a tenant's workloads in one namespace are judged. `marks`: what the operator writes on the namespace."""

    tenant: SecureTenant
    namespace: str
    marks: Desired
    world: World
    now: datetime

    @cached_property
    def strictest(self) -> Mapping[str, str]:
        """The annotations without exemptions."""
        return {key: value for key, value in self.marks.annotations.items() if key != EXEMPTIONS}

    @cached_property
    def exemptions(self) -> list[tuple[Exemption, Mapping[str, str]]]:
        """The exemptions in this namespace that have not ended, each with the annotations that say it alone."""
        given = self.tenant.spec.exemptions
        current = [one for one in given if one.namespace == self.namespace and one.expires > self.now]
        alone = ((one, _with_spec(self.tenant, exemptions=[one])) for one in current)
        return [(one, marks(tenant, self.world, self.now)[self.namespace].annotations) for one, tenant in alone]

    @property
    def refuses(self) -> bool:
        """Whether pods that break a check are refused in Enforce; else they are admitted with a warning."""
        return self.marks.labels.get(ADMISSION) != "Warn"

    @property
    def severity(self) -> Level:
        return "error" if self.refuses and self.tenant.spec.mode == "Enforce" else "warning"

    @property
    def consequence(self) -> str:
        """Why what breaks a check is no error, in words that follow its message."""
        name, mode = self.tenant.name, self.tenant.spec.mode
        if mode == "Enforce":
            return "" if self.refuses else f"; a warning only: admission of SecureTenant {name} is Warn"
        result = "would be refused" if self.refuses else "would be admitted with this warning"
        return f"; {result} in Enforce (mode of SecureTenant {name} is {mode})"


def _with_spec(tenant: SecureTenant, **changes: Any) -> SecureTenant:
    return tenant.model_copy(update={"spec": tenant.spec.model_copy(update=changes)})


class Judge:
    """Judges workloads by the tenants of a world. `refused`: why the spec of a tenant cannot be read, by its name.
    `injection`: whether the API server writes what tenants' pods lack (`checks.injections`); otherwise it must stand in
    the pods and templates."""

    def __init__(
        self, world: World, now: datetime, refused: Mapping[str, str] | None = None, *, injection: bool = False
    ) -> None:
        self.world = world
        self._now = now
        self._refused = refused or {}
        self._injection = injection
        self._evaluators: dict[str, Evaluator] = {}
        self._rules: dict[str, Rules | None] = {}
        self._marks: dict[str, dict[str, Desired]] = {}

    def judge(self, workloads: Iterable[Document], namespace: str = "") -> Judged:
        """`namespace`: that of the documents that name none."""
        made = Judged()
        pairs: list[tuple[Document, Rules]] = []
        # One namespace after the other: the evaluator keeps the parameters of the last.
        for document in sorted(workloads, key=lambda one: one.namespace):
            rules = self._of(document.namespace or namespace)
            if rules is None:
                made.others.append(document)
            else:
                pairs.append((document, rules))
        made.workloads = len(pairs)
        for issues in spread(self.issues, pairs, _WORTH_A_PROCESS):
            made.issues += issues
        return made

    def issues(self, pairs: Sequence[tuple[Document, Rules]]) -> list[Issue]:
        """What is to be said of workloads, each by its rules."""
        return [issue for document, rules in pairs for issue in self._issues_of(document, rules)]

    def unjudged(self, documents: Sequence[Document], namespace: str, *, strict: bool) -> Iterator[Issue]:
        """Say of each namespace in each file that workloads in it are not judged, and why."""
        groups: dict[tuple[str, str], list[Document]] = {}
        for one in documents:
            groups.setdefault((one.source, one.namespace or namespace), []).append(one)
        for (source, where), group in groups.items():
            first = group[0]
            others = f" (and {len(group) - 1} more in {source})" if len(group) > 1 else ""
            message = f"not judged{others}: {self._unknown(where)}"
            yield _issue(first, (), message, "error" if strict else "warning", NOT_JUDGED, where)

    def _unknown(self, namespace: str) -> str:
        if not namespace:
            return "it has no metadata.namespace: write it, or say with --namespace where it is applied"
        tenant = ownership.holder(namespace, self.world)
        if tenant is not None:
            return f"the spec of SecureTenant {tenant.name} is refused: {self._refused[tenant.name]}"
        return f"the namespace {namespace} is in none of the given SecureTenants: give its tenant with --tenant"

    def _of(self, namespace: str) -> Rules | None:
        if namespace not in self._rules:
            self._rules[namespace] = self._found(namespace)
        return self._rules[namespace]

    def _found(self, namespace: str) -> Rules | None:
        tenant = ownership.holder(namespace, self.world) if namespace else None
        if tenant is None or tenant.name in self._refused:
            return None
        if tenant.name not in self._marks:
            self._marks[tenant.name] = marks(tenant, self.world, self._now)
        return Rules(tenant, namespace, self._marks[tenant.name][namespace], self.world, self._now)

    def _failures(self, body: Mapping[str, Any], annotations: Mapping[str, str]) -> list[Failure]:
        """`body`: as `server_form` gives it."""
        target = server_form.target_of(body)
        assert target is not None
        if target is PODS and self._injection:
            body = injected(body, CHECKS, annotations)
        elif "injected" in target.variables and not self._injection:
            target = replace(target, variables={**target.variables, "injected": "true"})
        if "completed" in target.variables:
            # Which storage class is the default is the cluster's to know.
            target = replace(target, variables={**target.variables, "completed": "false"})
        if target.name not in self._evaluators:
            self._evaluators[target.name] = Evaluator(target, CHECKS)
        return self._evaluators[target.name].failures(body, annotations)

    def _issues_of(self, document: Document, rules: Rules) -> Iterator[Issue]:
        try:
            body = server_form.judged(document.body, self._now)
        except Malformed as error:
            message = f"{error.message}: the API server refuses the object as it is"
            yield _issue(document, of_path(error.path), message, "error", MALFORMED, rules)
            return
        if not rules.exemptions:
            yield from _told(document, rules, self._failures(body, rules.marks.annotations))
            return
        found = self._failures(body, rules.strictest)
        if not found:
            return
        standing = self._failures(body, rules.marks.annotations)
        yield from _told(document, rules, standing)
        kept = {failure.identifier for failure in standing}
        for failure in found:
            if failure.identifier not in kept:
                yield from _told(document, rules, [failure], self._exemption(body, failure, rules))

    def _exemption(self, body: Mapping[str, Any], failure: Failure, rules: Rules) -> Exemption:
        """Of the exemptions that cover a failure by themselves, the one that ends last."""
        covering = [
            one
            for one, alone in rules.exemptions
            if one.id == failure.identifier
            and failure.identifier not in {found.identifier for found in self._failures(body, alone)}
        ]
        return max(covering, key=lambda one: one.expires)


def _told(
    document: Document, rules: Rules, failures: Iterable[Failure], exemption: Exemption | None = None
) -> Iterator[Issue]:
    for failure in failures:
        if failure.error:
            message = f"cannot be evaluated, which counts as a refusal: {failure.error}{rules.consequence}"
            yield _issue(document, (), message, rules.severity, failure.identifier, rules)
        for place in failure.places:
            where = of_finding(document.body, place, failure.check.message)
            plain = is_field(place) and " " not in place  # the path says it already
            said = failure.check.message if plain else f"{place}: {failure.check.message}"
            if exemption is None:
                yield _issue(document, where, said + rules.consequence, rules.severity, failure.identifier, rules)
            else:
                until = exemption.expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                why = ", ".join(filter(None, (exemption.reason, exemption.ticket)))
                said = f"exempted until {until} ({why}): {said}"
                yield _issue(document, where, said, "note", failure.identifier, rules, until)


def _issue(
    document: Document,
    place: Place,
    message: str,
    severity: Level,
    rule: str,
    rules: Rules | str,
    until: str = "",
) -> Issue:
    """`rules`: those that it is judged by, or the namespace where there are none."""
    return Issue(
        document.source,
        document.line_of(place),
        document.line,
        document.kind,
        document.name,
        dotted(place),
        message,
        severity,
        rule,
        rules if isinstance(rules, str) else rules.namespace,
        "" if isinstance(rules, str) else rules.tenant.name,
        until,
    )
