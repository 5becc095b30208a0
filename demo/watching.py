"""With PROMETHEUS=1: what a real Prometheus, with the alerts that ship, says of what the demo does."""

import asyncio
import contextlib
import os
import time
import urllib.error
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from demo import screen
from monitoring import rules
from monitoring.tenants import TENANTS
from sandbox import prometheus
from sandbox.client import wait_for
from sandbox.operator import Operator
from sandbox.prometheus import Prometheus

#: Panels of the dashboard of tenants.
SHOWN: Final = ("Drifted", "Flows pending", "Exemptions")
#: What has fired at any time, and what fires now.
_EVER: Final = 'max_over_time(ALERTS{{alertstate="firing"}}[{seconds}s])'
_NOW: Final = 'ALERTS{alertstate="firing"}'
_PATIENCE: Final = 30.0
_SEVERITIES: Final = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Watch:
    """`begin`: since when it knows the operator, seconds since 1970."""

    prometheus: Prometheus
    begin: float


@dataclass(frozen=True, slots=True)
class Alert:
    """One that fired; `tenant` is "" where it is about none."""

    name: str
    tenant: str
    severity: str
    fires: bool  # still


@contextlib.asynccontextmanager
async def watched(folder: Path, operator: Operator) -> AsyncIterator[Watch | None]:
    """A Prometheus that scrapes the operator; None where it is not asked for, or not here."""
    if os.environ.get("PROMETHEUS") != "1":
        yield None
        return
    if prometheus.find("prometheus") is None:
        screen.say(
            "[yellow]PROMETHEUS=1: no Prometheus is on PATH[/yellow], so the demo goes on without. To get one: on"
            " Debian and Ubuntu, apt-get install prometheus (its service need not run)"
        )
        yield None
        return
    await wait_for(lambda: _leads(operator), _PATIENCE, "the operator to lead")
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules.shortened()))
    with prometheus.running(folder, {"demo": operator.url.removeprefix("http://")}, path) as running:
        screen.say(f"Prometheus at {running.url} scrapes it each second, with the alerts of manifests/, sped up")

        async def is_calm() -> bool:
            return not await asyncio.to_thread(running.firing)

        await scraped(running)
        # Before its first scrape it knew of no leader, which is an alert.
        await wait_for(is_calm, _PATIENCE, "Prometheus to know the operator")
        yield Watch(running, time.time())


async def _leads(operator: Operator) -> bool:
    return await operator.metric("securetenant_leader") == 1


async def caught_up(watch: Watch | None, problems: list[str]) -> None:
    """Wait until it has seen what is now, if there is one."""
    try:
        if watch is not None:
            await scraped(watch.prometheus)
    except AssertionError as error:
        problems.append(f"Prometheus: {error}")


async def scraped(running: Prometheus, later: float = 0.0) -> None:
    """Wait until it has seen what is so many seconds from now: an increase is seen from there. AssertionError after
    half a minute."""
    begin = time.time() + later

    async def is_newer() -> bool:
        try:
            found = await asyncio.to_thread(running.query, "max(timestamp(securetenant_leader))")
        except urllib.error.URLError:  # it does not listen yet
            return False
        return bool(found) and float(found[0]["value"][1]) > begin

    await wait_for(is_newer, _PATIENCE, "Prometheus to scrape the operator")


async def told(watch: Watch | None, expected: set[tuple[str, str]], problems: list[str]) -> None:
    """Show what fires, once these alerts (and tenants) have, and what three panels of a dashboard show."""
    if watch is None:
        return
    running = watch.prometheus
    screen.heading("What Prometheus says of it")

    async def have_fired() -> list[Alert]:
        since = _EVER.format(seconds=max(1, int(time.time() - watch.begin)))
        ever, now = [await asyncio.to_thread(running.query, expr) for expr in (since, _NOW)]
        found = alerts(ever, now)
        missing = expected - {(alert.name, alert.tenant) for alert in found}
        assert not missing, f"not fired: {sorted(missing)}"
        return found

    try:
        fired = await wait_for(have_fired, _PATIENCE, "the alerts to fire")
    except AssertionError as error:
        problems.append(f"Prometheus: {error}")
        return
    screen.alerts((a.name, a.tenant, a.severity, "fires" if a.fires else "fired, is over") for a in fired)
    screen.say(f"\npanels of the dashboard {TENANTS.title}:")
    for title in SHOWN:
        expr = query(title)
        values = [one["value"][1] for one in await asyncio.to_thread(running.query, expr)]
        screen.panel(title, ", ".join(values) or "No data", expr)


def alerts(ever: Iterable[Mapping[str, Any]], now: Iterable[Mapping[str, Any]]) -> list[Alert]:
    """By severity, the worst first, from the series of those that fired at any time and of those that fire now."""

    def key(series: Mapping[str, Any]) -> tuple[str, str, str]:
        labels = series["metric"]
        return labels["alertname"], labels.get("tenant", ""), labels["severity"]

    firing = {key(series) for series in now}
    found = [Alert(*one, one in firing) for one in {key(series) for series in ever} | firing]
    return sorted(found, key=lambda alert: (_SEVERITIES.index(alert.severity), alert.name, alert.tenant))


def query(title: str) -> str:
    """The query of a panel that shows one number, for Prometheus itself. StopIteration where there is none."""
    panel = next(panel for _, row in TENANTS.rows for panel in row if panel.title == title)
    return rules.plain(panel.queries[0].expr)
