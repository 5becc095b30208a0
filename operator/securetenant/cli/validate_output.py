"""Prints what `validate` found: text for people, JSON, SARIF 2.1.0 for code scanning, JUnit for test reports."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote

import typer

from securetenant import __version__
from securetenant.cli.documents import Document, Found
from securetenant.cli.issues import DOCUMENT, MALFORMED, NOT_JUDGED, Issue, Level, located
from securetenant.cli.output import Report, console, count, print_json, printable

_STYLES: Final[Mapping[Level, str]] = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True, slots=True)
class Result:
    """`judged`: how many workloads were judged; `others`: those that were not; `strict`: whether warnings fail."""

    found: Found
    issues: list[Issue]
    judged: int
    others: list[Document]
    strict: bool

    def of(self, severity: Level) -> list[Issue]:
        return [issue for issue in self.issues if issue.severity == severity]

    def fails(self, issue: Issue) -> bool:
        return issue.severity == "error" or (self.strict and issue.severity == "warning")

    @property
    def failing(self) -> bool:
        return any(map(self.fails, self.issues))


def show(ctx: typer.Context, result: Result, output: Report, no_color: bool) -> None:
    if output is Report.json:
        print_json(as_json(result))
    elif output is Report.sarif:
        print_json(as_sarif(result))
    elif output is Report.junit:
        print(as_junit(result))
    else:
        _print_text(ctx, result, no_color)


def _print_text(ctx: typer.Context, result: Result, no_color: bool) -> None:
    from rich.text import Text

    out = console(ctx, no_color)
    for issue in result.issues:
        out.print(Text.assemble((issue.severity, _STYLES[issue.severity]), " ", located(issue)))
    errors, warnings, notes = result.of("error"), result.of("warning"), result.of("note")
    style = "bold red" if errors else "yellow" if warnings else "green"
    out.print(f"{_given(result)}: {', '.join(_counts(result, errors, warnings, notes))}", style=style)


def _given(result: Result) -> str:
    found = result.found
    what = [count(found.tenants, "tenant")]
    what += [count(number, kind.name, kind.plural_name) for kind, number in found.resources.items()]
    what += [count(len(found.workloads), "workload")] if found.workloads else []
    return f"{', '.join(what)} in {count(found.files, 'file')}"


def _counts(result: Result, errors: list[Issue], warnings: list[Issue], notes: list[Issue]) -> Iterator[str]:
    yield count(len(errors), "error")
    yield count(len(warnings), "warning")
    if notes:
        yield f"{len(notes)} exempted"
    if result.others:
        yield f"{count(len(result.others), 'workload')} not judged"
    if result.found.others:
        yield f"{count(result.found.others, 'other document')} skipped"


def as_json(result: Result) -> dict[str, Any]:
    found = result.found
    return {
        "files": found.files,
        "tenants": found.tenants,
        **{kind.plural: number for kind, number in found.resources.items()},
        "workloads": {"judged": result.judged, "notJudged": len(result.others)},
        "skipped": found.others,
        "errors": len(result.of("error")),
        "warnings": len(result.of("warning")),
        "exempted": len(result.of("note")),
        "problems": [_problem(issue) for issue in result.issues],
    }


def _problem(issue: Issue) -> dict[str, Any]:
    made = asdict(issue)
    until = made.pop("exempted_until")
    del made["document"]
    return {**made, "exemptedUntil": until} if until else made


# --- SARIF

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# The numbers by which code scanning sorts: those of CVSS v3 for the same words.
_SCORES: Final = {"Critical": "9.5", "High": "8.0", "Medium": "5.5", "Low": "2.0"}


def as_sarif(result: Result) -> dict[str, Any]:
    """A SARIF 2.1.0 log. What is exempted is a suppressed result."""
    rules = list(_rules())
    index = {rule["id"]: at for at, rule in enumerate(rules)}
    driver = {"name": "securetenant", "version": __version__, "rules": rules}
    results = [_result(issue, index) for issue in result.issues]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rules() -> Iterator[dict[str, Any]]:
    from securetenant.controls.registry import CHECKS

    yield _rule(DOCUMENT, "A file that cannot be read, or a resource that is not sound", "error")
    yield _rule(MALFORMED, "A workload that the API server refuses before it judges it", "error")
    yield _rule(NOT_JUDGED, "A workload that is not judged, since no tenant of its namespace is known", "warning")
    for checks in CHECKS:
        for check in checks.checks:
            properties = {
                "severity": check.severity,
                "security-severity": _SCORES[check.severity],
                "tags": ["security", *check.frameworks],
            }
            yield {**_rule(checks.identifier(check), check.message, "error"), "properties": properties}


def _rule(identifier: str, text: str, level: Level) -> dict[str, Any]:
    name = identifier.rpartition("/")[2]
    return {
        "id": identifier,
        "name": name[0].upper() + name[1:],
        "shortDescription": {"text": text},
        "help": {"text": text},
        "defaultConfiguration": {"level": level},
    }


def _result(issue: Issue, index: Mapping[str, int]) -> dict[str, Any]:
    logical = {"name": issue.name, "fullyQualifiedName": ".".join(filter(None, (issue.namespace, issue.name)))}
    named = [{**logical, "kind": issue.kind}] if issue.name else []
    title = ": ".join(part for part in (issue.title, issue.path, issue.message) if part)
    made = {
        "ruleId": issue.rule,
        "ruleIndex": index[issue.rule],
        "level": issue.severity,
        "message": {"text": printable(title)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(issue.file)},
                    "region": {"startLine": issue.line},
                },
                **({"logicalLocations": named} if named else {}),
            }
        ],
    }
    if issue.exempted_until:
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": printable(issue.message)}]
    return made


def _uri(file: str) -> str:
    return Path(file).as_uri() if PurePath(file).is_absolute() else quote(PurePath(file).as_posix())


# --- JUnit


def as_junit(result: Result) -> str:
    """A suite for each file, a case for each document in it that is looked at."""
    from xml.etree import ElementTree

    unjudged = {id(document) for document in result.others}
    cases: dict[str, dict[tuple[Any, ...], list[Issue]]] = {source: {} for source in result.found.sources}
    skipped: set[tuple[Any, ...]] = set()
    for document in (*result.found.documents, *result.found.workloads):
        key = (document.line, document.kind, document.namespace, document.name)
        cases[document.source].setdefault(key, [])
        if id(document) in unjudged:
            skipped.add((document.source, *key))
    for issue in result.issues:
        group = cases.setdefault(issue.file, {})
        same = (key for key in group if (key[0], key[1], key[3]) == (issue.document, issue.kind, issue.name))
        key = next(same, (issue.document, issue.kind, issue.namespace, issue.name))
        group.setdefault(key, []).append(issue)
    root = ElementTree.Element("testsuites", name="securetenant validate")
    for source, group in cases.items():
        suite = ElementTree.SubElement(root, "testsuite", name=printable(source))
        for key in sorted(group):
            _case(suite, source, key, group[key], result, (source, *key) in skipped)
        _totals(suite)
    _totals(root)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _case(suite: Any, source: str, key: tuple[Any, ...], issues: list[Issue], result: Result, skipped: bool) -> None:
    from xml.etree import ElementTree

    line, kind, namespace, name = key
    title = "/".join(filter(None, (namespace, name))) or f"line {line}"
    attributes = {"name": printable(f"{kind} {title}".strip()), "classname": printable(source)}
    case = ElementTree.SubElement(suite, "testcase", {**attributes, "file": printable(source), "line": str(line)})
    for issue in issues:
        if result.fails(issue):
            element = ElementTree.SubElement(case, "failure", type=issue.rule, message=printable(issue.message))
            element.text = located(issue)
    if skipped and not any(map(result.fails, issues)):
        ElementTree.SubElement(case, "skipped", message="not judged: no tenant of its namespace is known")
    told = [f"{issue.severity} {located(issue)}" for issue in issues if not result.fails(issue)]
    if told:
        ElementTree.SubElement(case, "system-out").text = "\n".join(told)


def _totals(element: Any) -> None:
    cases = element.findall(".//testcase")
    element.set("tests", str(len(cases)))
    element.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    element.set("errors", "0")
    element.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
