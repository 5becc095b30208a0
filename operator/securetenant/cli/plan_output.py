"""Printing a plan: signs and colours for people, JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

from securetenant.cli.output import count, print_json, printable
from securetenant.cli.plan_changes import Change, Effect, Forecast, UnmetCondition, is_record_only, sums
from securetenant.cli.plan_flows import Flows, PlannedFlow
from securetenant.model.difference import Field
from securetenant.model.objects import JsonValue

if TYPE_CHECKING:
    from rich.console import Console

    from securetenant.cli.plan_running import Running
    from securetenant.controls.control import Deviation
    from securetenant.posture.tally import Broken

_SIGNS: dict[Effect, tuple[str, str]] = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "replace": ("~", "yellow"),
    "release": ("~", "yellow"),
    "delete": ("-", "red"),
    "report": ("!", "bold red"),
}
_DRIFT, _FOREIGN = ("!", "bold red"), ("?", "magenta")
_DONE: dict[Effect, str] = {
    "create": "created again",
    "update": "put right",
    "replace": "deleted and created again",
    "release": "given back",
    "delete": "removed",
    "report": "reported only",
}
_STATES = {
    "paused": "mode is Paused: nothing is judged, nothing is written",
    "deleting": "is being deleted: its deletionPolicy is carried out",
}
_NAMED = 5  # how many running objects are named, per check
_ITEM = ("kind", "namespace", "name", "place")
_FLOWS = 20  # flows that are opened, and closed, per tenant
_LONGEST = 160  # characters of a value that are shown


def print_as_json(forecasts: Sequence[Forecast], cluster: "Sequence[Deviation]" = ()) -> None:
    """Print everything, values in full. `cluster`: deviations that belong to no single tenant."""
    totals = sums(forecasts, cluster)
    print_json(
        {
            "summary": {**asdict(totals), "exitCode": totals.exit_code},
            "tenants": [
                {
                    "tenant": forecast.tenant,
                    "mode": forecast.mode,
                    "state": forecast.state,
                    "source": forecast.source,
                    "applied": forecast.applied,
                    "problem": forecast.problem,
                    "changes": [_as_json(change) for change in forecast.changes],
                    "conditions": [asdict(unmet) for unmet in forecast.unmet],
                    "refused": [_refused_as_json(name, broken) for name, broken in forecast.running.refused.items()],
                    "unknown": list(forecast.running.unknown),
                    "flows": {
                        "opened": [_flow_as_json(flow) for flow in forecast.flows.opened],
                        "closed": [_flow_as_json(flow) for flow in forecast.flows.closed],
                        "unknown": list(forecast.flows.unknown),
                    },
                }
                for forecast in forecasts
            ],
            "cluster": [
                {
                    "reason": deviation.reason,
                    "kind": deviation.ref.kind.name,
                    "name": deviation.ref.name,
                    "path": deviation.path,
                    "message": deviation.message,
                }
                for deviation in cluster
            ],
        }
    )


def _flow_as_json(flow: PlannedFlow) -> dict[str, object]:
    return {"source": flow.source._asdict(), "target": flow.target._asdict(), "ports": flow.ports}


def _as_json(change: Change) -> dict[str, object]:
    return {
        "effect": change.effect,
        "drift": change.drift,
        "reason": change.reason,
        "control": change.control,
        "kind": change.ref.kind.key,
        "namespace": change.ref.namespace,
        "name": change.ref.name,
        "path": change.path,
        "manager": change.manager,
        "message": change.message,
        "fields": [asdict(field) for field in change.fields],
    }


def _refused_as_json(name: str, broken: "Broken") -> dict[str, object]:
    return {
        "check": name,
        "severity": broken.check.severity,
        "message": broken.check.message,
        "count": broken.count,
        "items": [{key: getattr(item, key) for key in _ITEM} for item in broken.items],
    }


def print_as_text(out: "Console", forecasts: Sequence[Forecast], cluster: "Sequence[Deviation]" = ()) -> None:
    """Print the plan; tenants with nothing to show are only counted."""
    shown = [forecast for forecast in forecasts if not forecast.is_quiet or forecast.unmet]
    for forecast in shown:
        for line in _tenant(forecast):
            out.print(line)
        out.print()
    if cluster:
        out.print(Text("The cluster, and no one tenant", style="bold cyan"))
        for deviation in cluster:
            out.print(_deviation(deviation))
        out.print()
    out.print(_summary(forecasts, cluster))


def _deviation(deviation: "Deviation") -> Text:
    sign, style = _FOREIGN if deviation.reason == "Foreign" else _DRIFT
    named = f"{sign} {deviation.ref.kind}/{deviation.ref.name}"
    return _line(4, named, style, f" {deviation.reason.lower()}: {deviation.message} ({_DONE['report']})")


def _tenant(forecast: Forecast) -> Iterator[Text]:
    yield _header(forecast)
    if forecast.state == "invalid":
        meanwhile = (
            "until it is corrected the operator keeps what it last accepted, or after a restart only what closes"
        )
        yield _line(2, "invalid: ", "bold red", f"{forecast.problem}; {meanwhile}")
        return
    if forecast.state in _STATES:
        yield _line(2, "", "", _STATES[forecast.state])
        return
    for unmet in forecast.unmet:
        yield _condition(unmet)
    for place, changes in groupby(forecast.changes, key=lambda change: change.ref.place):
        yield _line(2, place or "(cluster)", "bold", "")
        for change in changes:
            yield from _change(change)
    yield from _flows(forecast.flows)
    yield from _running(forecast.running)


def _flows(flows: Flows) -> Iterator[Text]:
    for listed, word, sign, style in ((flows.opened, "opens", "+", "green"), (flows.closed, "closes", "-", "red")):
        if listed:
            yield _line(2, word, "bold", f" {count(len(listed), 'flow')}:")
        for flow in listed[:_FLOWS]:
            yield _line(4, f"{sign} {flow}", style, "")
        if len(listed) > _FLOWS:
            yield _line(4, "", "", f"and {len(listed) - _FLOWS} more: --output json has all")
    for why in flows.unknown:
        yield _line(2, "not counted: ", "yellow", why)


def _running(running: "Running") -> Iterator[Text]:
    if running.refused:
        runs = count(running.objects, "running object")
        yield _line(2, f"{runs} {running.consequence}", "bold yellow", " if created again by these rules:")
    for name, broken in running.refused.items():
        named = [f"{item.kind}/{item.namespace}/{item.name}" for item in broken.items[:_NAMED]]
        more = f" and {broken.count - _NAMED} more" if broken.count > _NAMED else ""
        yield _line(4, name, "bold", f" {broken.count}: {', '.join(named)}{more}")
        yield _line(8, "", "", broken.check.message)
    for why in running.unknown:
        yield _line(2, "unknown what would be refused: ", "yellow", why)


def _header(forecast: Forecast) -> Text:
    notes = []
    if forecast.source:
        notes.append(f"as in {forecast.source}" if forecast.applied else f"as in {forecast.source}, not applied yet")
    if forecast.mode == "Audit":
        notes.append("mode Audit: only reported, nothing is written")
    return Text.assemble(
        (f"SecureTenant {printable(forecast.tenant)}", "bold cyan"),
        f" ({printable('; '.join(notes))})" if notes else "",
    )


def _condition(unmet: UnmetCondition) -> Text:
    word, style = ("blocked: ", "bold red") if unmet.blocking else ("waiting: ", "yellow")
    return _line(2, word, style, f"{unmet.type} {unmet.reason}: {unmet.message}" if unmet.type else unmet.message)


def _change(change: Change) -> Iterator[Text]:
    sign, style = _SIGNS[change.effect]
    named = f"{change.ref.kind.key}/{change.ref.name}"
    if change.reason == "Foreign":
        (sign, style), words = _FOREIGN, f"foreign{_by(change)}: {change.message} ({_DONE[change.effect]})"
    elif change.drift:
        (sign, style) = _DRIFT
        words = f"{change.reason.lower()}{_by(change)} ({_DONE[change.effect]})"
    else:
        words = {"release": "is given back: our marks are removed", "replace": "is deleted and created again"}.get(
            change.effect, ""
        )
        if is_record_only(change):
            words = "only our record on it is updated"
    yield _line(4, f"{sign} {named}", style, f" {words}" if words else "")
    for each in change.fields:
        yield _field(each)


def _by(change: Change) -> str:
    return f" as the field manager {change.manager}" if change.manager else ""


def _field(each: Field) -> Text:
    if each.old is None:
        return Text.assemble(f"{' ' * 8}{printable(each.path)}: ", ("+ " + _value(each.new), "green"))
    if each.new is None:
        return Text.assemble(f"{' ' * 8}{printable(each.path)}: ", ("- " + _value(each.old), "red"))
    return Text.assemble(
        f"{' ' * 8}{printable(each.path)}: ", (_value(each.old), "red"), " -> ", (_value(each.new), "green")
    )


def _value(value: JsonValue) -> str:
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _line(indent: int, word: str, style: str, rest: str) -> Text:
    return Text.assemble(" " * indent, (printable(word), style), printable(rest))


def _summary(forecasts: Sequence[Forecast], cluster: "Sequence[Deviation]") -> Text:
    totals = sums(forecasts, cluster)
    if totals.exit_code == 0 and not totals.refused:
        return Text(f"No changes. {count(totals.tenants, 'tenant')} as declared.", style="bold green")
    parts = [
        f"{totals.create} to create",
        f"{totals.update} to update",
        f"{totals.delete} to delete",
        f"{totals.drift} drifted",
        f"{totals.foreign} foreign",
    ]
    if totals.reported:
        parts.append(f"{totals.reported} only reported")
    if totals.blocked:
        parts.append(f"{count(totals.blocked, 'tenant')} blocked")
    if totals.invalid:
        parts.append(f"{count(totals.invalid, 'tenant')} invalid")
    if totals.refused:
        parts.append(f"{totals.refused} running break the new rules")
    if totals.cluster:
        parts.append(f"{totals.cluster} of the cluster's")
    return Text(f"Plan for {count(totals.tenants, 'tenant')}: {', '.join(parts)}.", style="bold")
