"""The tables of the documentation are those of the code: fields, bounds, settings, metrics, conditions, rights."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import yaml

from securetenant.api.crd import documented_schema
from securetenant.api.definitions import TENANT
from securetenant.controls.access.roles import Problem
from securetenant.controls.control import NO_CLUSTER
from securetenant.controls.lookup import FAMILIES, NAMES
from securetenant.controls.network import notices
from securetenant.engine import inspection
from securetenant.posture import report as posture
from securetenant.posture.judging import LARGEST
from securetenant.posture.rules import kinds
from securetenant.reach import report as reachability
from securetenant.settings import Settings, flag, variable
from securetenant.telemetry.metrics import Metrics, TenantReport
from tests.support.markdown import PAGES, ROOT, code, table

DOCS: Final = ROOT / "docs"
PACKAGE: Final = ROOT / "operator" / "securetenant"
NONE: Final = "–"

# Where the pages of the controls stop to go into the depth: told once, in words.
_WHOLE: Final = re.compile(r"\.pods$|^limits\.\w+$|^namespaces\[\]\.limits$")
# What one page tells of another control's section.
_ELSEWHERE: Final = {"quota": "namespaces[].quota", "limits": "namespaces[].limits", "subnets": "namespaces[].subnet"}
# The sections of the spec that belong to a control of another name.
_SECTIONS: Final = {"admission": {"admission", "locks", "exemptions"}}


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields below a schema, each with its own schema."""
    for name, inner in schema.get("items", schema).get("properties", {}).items():
        here = f"{path}{'[]' if 'items' in schema else ''}.{name}"
        yield here, inner
        if not _WHOLE.search(here):
            yield from fields(inner, here)


def spec_fields() -> dict[str, dict[str, Any]]:
    """All fields of the spec by their path."""
    top = documented_schema(TENANT)["properties"]
    return {**top, **{path: inner for name in top for path, inner in fields(top[name], name)}}


def section(path: str) -> str:
    """The field of the spec that a path begins with."""
    return re.split(r"[.\[]", path)[0]


def default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    if value in (None, {}):
        return NONE
    return f"`{value}`" if isinstance(value, str) else f"`{str(value).lower()}`"


# --- controls ---------------------------------------------------------------------------------------------------


def test_every_control_has_a_page_and_every_page_a_control() -> None:
    assert {page.stem for page in (DOCS / "controls").glob("*.md")} == set(NAMES)
    assert [code(row[0])[0] for row in table(DOCS / "concepts.md", "control", "writes")] == list(NAMES)


@pytest.mark.parametrize("control", NAMES)
def test_fields_of_a_control_are_told_with_their_defaults(control: str) -> None:
    every = spec_fields()
    mirrored = re.compile(r"^network\.egress\[\]")
    wanted = {path for path in every if path.startswith((f"{control}.", f"{control}[]"))}
    wanted |= {path for path in every if section(path) in _SECTIONS.get(control, ())}
    if control == "namespaces":
        wanted = {path for path in wanted if not path.startswith("namespaces[].subnet.")}
    wanted = {path for path in wanted if not mirrored.match(path)}
    wanted |= {path for path in every if control in _ELSEWHERE and path.startswith(_ELSEWHERE[control])}
    told = {code(row[0])[0]: row[1] for row in table(DOCS / "controls" / f"{control}.md", "field", "default")}
    assert told == {path: default(every[path]) for path in wanted}


def test_fields_at_the_top_are_told_with_their_defaults() -> None:
    every = spec_fields()
    told_elsewhere = {*NAMES, *(name for own in _SECTIONS.values() for name in own)}
    wanted = {path for path in every if section(path) not in told_elsewhere}
    told = {code(row[0])[0]: row[1] for row in table(DOCS / "concepts.md", "field", "default")}
    assert told == {path: default(every[path]) for path in wanted}


def test_egress_mirrors_ingress() -> None:
    """So that the page of the network may tell the fields once."""
    every = spec_fields()

    def below(direction: str, own: str, peers: str) -> set[str]:
        start = f"network.{direction}[]."
        paths = {path.removeprefix(start) for path in every if path.startswith(start)}
        return {re.sub(rf"^{own}\b", "OWN", re.sub(rf"^{peers}\b", "PEERS", path)) for path in paths}

    assert below("ingress", "to", "from") == below("egress", "from", "to")


# --- bounds -----------------------------------------------------------------------------------------------------


def bounds(schema: dict[str, Any], path: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """The lists and maps below a schema that are bounded."""
    least, most = (schema.get(f"{end}Items", schema.get(f"{end}Properties")) for end in ("min", "max"))
    if most is not None:
        yield path, (str(least or NONE), str(most))
    for name, inner in schema.get("properties", {}).items():
        yield from bounds(inner, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from bounds(schema["items"], f"{path}[]")


def test_bounds_of_lists_and_maps() -> None:
    every = dict(bounds(documented_schema(TENANT), ""))
    limits = {path: bound for path, bound in every.items() if re.search(r"(^|\.)limits\.", path)}
    egress = {path for path in every if path.startswith("network.egress[]")}
    assert set(limits.values()) == {(NONE, "16")}
    told = {code(row[0])[0]: (row[1], row[2]) for row in table(DOCS / "bounds.md", "field", "at least", "at most")}
    assert told == {path: bound for path, bound in every.items() if path not in limits and path not in egress}


# --- settings ---------------------------------------------------------------------------------------------------


def _default_of(name: str) -> str:
    info = Settings.model_fields[name]
    if info.default_factory is not None or info.default in (None, "", ()):
        return NONE
    if isinstance(info.default, dict):
        return "`" + ",".join(f"{key}={value}" for key, value in info.default.items()) + "`"
    if isinstance(info.default, tuple):
        return f"`{','.join(info.default)}`"
    return f"`{info.default:g}`" if isinstance(info.default, float) else f"`{info.default}`"


def _bounds_of(name: str) -> tuple[str, ...]:
    """The ends of a number, or the choices of a word."""
    info = Settings.model_fields[name]
    ends = [getattr(each, end) for end in ("ge", "le") for each in info.metadata if hasattr(each, end)]
    if ends:
        return tuple(f"{end:g}" if end < 1e5 else str(end) for end in ends)
    return tuple(getattr(info.annotation, "__args__", ())) if "Literal" in str(info.annotation) else ()


def test_settings() -> None:
    rows = table(DOCS / "install.md", "variable", "default", "bounds")
    assert {code(row[0])[0]: row[1] for row in rows} == {
        variable(name): _default_of(name) for name in Settings.model_fields
    }
    for row in rows:
        name = code(row[0])[0].removeprefix("SECURETENANT_").lower()
        wanted = _bounds_of(name)
        if wanted:
            assert tuple(code(row[2]) or row[2].split(" to ")) == wanted, name


def test_flags_are_named_as_told() -> None:
    assert flag("lease_duration") == "--lease-duration"
    assert "`SECURETENANT_LEASE_DURATION` is `--lease-duration`" in (DOCS / "install.md").read_text()


# --- metrics ----------------------------------------------------------------------------------------------------


def exported() -> dict[str, tuple[str, set[str]]]:
    """Every metric of ours: its type and the labels of its samples."""
    families = (*FAMILIES, *posture.FAMILIES, *reachability.FAMILIES)
    metrics = Metrics(NAMES, families)
    metrics.tenant(
        TenantReport(
            tenant="t",
            mode="Enforce",
            deletion_policy="Retain",
            conditions={"Ready": "True"},
            samples={family.name: {family.labels: 1.0} for family in families},
        )
    )
    metrics.cluster("access", {"Foreign": 0}, ())
    metrics.request("get", "Node", 200, 0.1)
    metrics.build_info("0", "0")
    metrics.watch_informer("Node", lambda: 1, lambda: 1.0)
    text = metrics.text()
    found: dict[str, tuple[str, set[str]]] = {}
    for name, kind in re.findall(r"^# TYPE (securetenant_\w+) (\w+)$", text, re.MULTILINE):
        samples = re.findall(rf"^{name}(?:_bucket|_count|_sum)?\{{([^}}]*)\}}", text, re.MULTILINE)
        labels = {label for sample in samples for label in re.findall(r'(\w+)="', sample)} - {"le"}
        found[name] = (kind, labels)
    return found


def test_metrics() -> None:
    rows = table(DOCS / "metrics.md", "metric", "type", "labels")
    assert {code(row[0])[0]: (row[1], set(code(row[2]))) for row in rows} == exported()


def test_metrics_that_are_named_anywhere_exist() -> None:
    known = set(exported())
    for page in PAGES:
        for name in re.findall(r"\bsecuretenant_[a-z_]+\b", page.read_text()):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known, f"{page.name}: {name}"


# --- conditions -------------------------------------------------------------------------------------------------


def _constants(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value}


# What a reason is the second argument of.
_SECOND: Final = ("Verdict", "Given", "Choice", "provider.Choice", "Refused")


def _reasons_in(tree: ast.Module) -> Iterator[str]:
    """The reasons that a file gives to conditions, by the ways in which the code does it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Condition.of":
            yield from _constants(node.args[2])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _SECOND and len(node.args) > 1:
            yield from _constants(node.args[1])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "_Problem":
            yield from _constants(node.args[0])
        elif isinstance(node, ast.FunctionDef) and node.name == "obstacle":
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple):
                    yield from _constants(inner.value.elts[0])


def reasons() -> set[str]:
    """All reasons of conditions in the code."""
    sources = [
        *(PACKAGE / "controls").rglob("*.py"),
        *(PACKAGE / "engine").glob("*.py"),
        *(PACKAGE / layer / "report.py" for layer in ("posture", "reach")),
    ]
    found = {reason for source in sources for reason in _reasons_in(ast.parse(source.read_text()))}
    return found | set(get_args(Problem))


def types() -> set[str]:
    """All types of conditions in the code."""
    text = "\n".join(
        source.read_text()
        for folder in ("controls", "engine", "posture", "reach")
        for source in (PACKAGE / folder).rglob("*.py")
    )
    named = re.findall(r'(?:Condition\.of\(\s*|^CONDITION(?:: Final)? = )"(\w+)"', text, re.MULTILINE)
    return set(named)


def told_conditions() -> set[tuple[str, str]]:
    """(type, reason) of every row about conditions in the docs."""
    found = set()
    for page in (DOCS / "operations.md", _page_of("network"), _page_of("subnets")):
        for row in table(page, "condition", "reason", "status"):
            found.add((code(row[0])[0], code(row[1])[0] if code(row[1]) else ""))
    for control in ("namespaces", "access", "quota", "nodes", "exposure", "admission"):
        page = DOCS / "controls" / f"{control}.md"
        (heading,) = re.findall(r"^## Condition `(\w+)`$", page.read_text(), re.MULTILINE)
        found |= {(heading, code(row[0])[0]) for row in table(page, "reason", "status", "meaning")}
    return found


def test_conditions_and_their_reasons() -> None:
    told = told_conditions()
    assert {kind for kind, _ in told} == types()
    assert {reason for _, reason in told} - {"", NO_CLUSTER} == reasons()


def test_event_reasons() -> None:
    told = {reason for row in table(DOCS / "operations.md", "reason", "type", "when") for reason in code(row[0])}
    source = "".join((PACKAGE / "engine" / name).read_text() for name in ("reporter.py", "cluster.py"))
    drift = {"DriftDetected", "DriftCorrected", "DriftOver"}
    assert drift == set(re.findall(r'"(Drift[A-Z]\w+)"', source))
    conditions = {"Ready", "Contested", "ContestLasts", "ChecksFail", "Unexpected", "Blocked"}
    assert told == drift | conditions | {"Deleting", "DeletionBlocked", "Released"}


# --- rights -----------------------------------------------------------------------------------------------------


def rules(file: str) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """(namespace, resources, verbs) of every rule of a manifest, verbs on names included."""
    found: dict[tuple[str, frozenset[str]], set[str]] = {}
    for document in yaml.safe_load_all((ROOT / "manifests" / file).read_text()):
        where = document["metadata"].get("namespace", "")
        for rule in document.get("rules", ()):
            for resource in rule["resources"]:
                found.setdefault((where, frozenset((resource,))), set()).update(rule["verbs"])
    return [(where, resources, frozenset(verbs)) for (where, resources), verbs in found.items()]


def _verbs(cell: str) -> frozenset[str]:
    words = re.sub(r"on `\w+`|on five by name", "", cell).replace(";", ",").split(",")
    return frozenset(word.strip() for word in words if word.strip())


def test_rights_in_the_whole_cluster() -> None:
    told = {
        (name, _verbs(row[1]))
        for row in table(DOCS / "install.md", "resources", "verbs", "why")
        for name in code(row[0])
    }
    assert told == {(next(iter(resources)), verbs) for _, resources, verbs in rules("rbac/operator.yaml")}


def test_rights_in_two_namespaces() -> None:
    told = {
        (code(row[0])[0], code(row[1])[0], _verbs(row[2]))
        for row in table(DOCS / "install.md", "namespace", "resources", "verbs")
    }
    assert told == {(where, next(iter(r)), verbs) for where, r, verbs in rules("rbac/operator-namespaced.yaml")}


def test_the_nodes_component() -> None:
    assert rules("components/nodes/role.yaml") == [
        ("", frozenset({"nodes"}), frozenset({"patch"})),
        ("", frozenset({"pods"}), frozenset({"list", "watch"})),
    ]


# --- names ------------------------------------------------------------------------------------------------------


def _page_of(control: str) -> Path:
    return DOCS / "controls" / f"{control}.md"


def test_names_of_policies_are_those_of_the_code() -> None:
    from securetenant.controls.network import control as network

    told = {code(row[0])[0] for row in table(_page_of("network"), "NetworkPolicy", "when")}
    fixed = {network.DENY, network.DNS, network.ISOLATION, network.API_SERVER}
    assert told == fixed | {"securetenant-ingress-<rule>", "securetenant-egress-<rule>"}


def test_constants_that_the_text_gives() -> None:
    """Figures in sentences, beside what they come from."""
    from securetenant.engine import contention, informers, known
    from securetenant.engine.status import ITEMS, MESSAGE
    from securetenant.telemetry import events

    concepts, operations = (DOCS / "concepts.md").read_text(), (DOCS / "operations.md").read_text()
    assert f"corrected {contention.CORRECTIONS} times within {contention.WINDOW:g} seconds" in concepts
    assert (
        f"{contention.FIRST_WAIT:g} s, {2 * contention.FIRST_WAIT:g} s, and so on up to {contention.LONGEST_WAIT:g} s"
        in concepts
    )
    assert f"silent for {informers.SILENT:g} s" in operations
    assert f"at most {events.BURST:g} Events at once and one more every {events.REFILL:g} s" in operations
    assert (ITEMS, MESSAGE, known.MOST) == (20, 1024, 2048)
    page = (DOCS / "inspection.md").read_text()
    listed = [kind for found in kinds().values() for kind in found]
    assert f"one list for each {inspection.PAGE} objects" in page
    always = [kind for kind in listed if not kind.optional]
    assert f"× the kinds listed ({len(always)} today, and those of the Gateway API that are served)" in page
    assert f"tried again after {inspection.FIRST:g} s, {2 * inspection.FIRST:g} s" in page
    assert f"up to {inspection.LONGEST / 60:g} minutes" in page
    assert f"stands for {inspection.PATIENT} tries" in page
    assert f"more than {LARGEST // 1024} KiB" in page
    (told,) = (text for text in page.split("## ") if text.startswith("What is judged"))
    assert [kind.plural for kind in listed if kind.plural not in told.lower()] == []


# --- the record -------------------------------------------------------------------------------------------------


def test_the_record_is_told_line_by_line() -> None:
    """Every line of the logger `record` at info and above, and the Event beside it; controls give them as Notices."""
    told = table(DOCS / "operations.md", "line", "Event", "fields of the line")
    engine = (PACKAGE / "engine" / "reporter.py").read_text()
    controls = "".join(source.read_text() for source in (PACKAGE / "controls").rglob("*.py"))
    lines = set(re.findall(r'(?:record|line)\.(?:info|warning)\(\s*f?"([^"]+)"', engine))
    lines |= set(re.findall(r'\bline=f?"([^"]+)"', controls))
    lines |= {f"flow {change}" for change in notices.REASONS}
    assert {code(row[0])[0] for row in told} == lines - {"flow {flow.change}"}
    reasons = {reason for row in told for reason in code(row[1])}
    assert all(f'"{reason}"' in engine + controls for reason in reasons)
    emitted = re.findall(r'_note\(\s*tenant,\s*"(\w+)"', engine) + list(notices.REASONS.values())
    emitted += re.findall(r'Notice\([^)]*reason="(\w+)"', controls)
    assert "ExpiresSoon" in emitted
    assert set(emitted) <= reasons
