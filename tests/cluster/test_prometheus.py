"""A real Prometheus scrapes the operator: alerts fire on what is done to the cluster and end when their pages are
followed, and every panel of the dashboards has data."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml

from monitoring import files, rules
from monitoring.boards import DASHBOARDS
from sandbox import prometheus
from sandbox.prometheus import Prometheus
from tests.support import tenants
from tests.support.sandbox import Admin, Plane, wait_for
from tests.support.tenants import Stage

pytestmark = [pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with tenants.stage(plane, admin, tmp_path_factory.mktemp("operator")) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module")
async def watching(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    if prometheus.find("prometheus") is None:
        pytest.skip(
            "no Prometheus is on PATH (Debian's package has it) or in the cache: the alerts are not seen to fire"
        )
    folder = tmp_path_factory.mktemp("prometheus")
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules.shortened()))
    target = stage.operator.url.removeprefix("http://")
    with prometheus.running(folder, {"bank": target}, path) as running:
        yield running


async def fires(watching: Prometheus, alert: str, tenant: str = "") -> None:
    async def is_firing() -> bool:
        return (alert, tenant) in await asyncio.to_thread(watching.firing)

    await wait_for(is_firing, 60, f"{alert} to fire")


async def is_silent(watching: Prometheus, alert: str, tenant: str = "") -> None:
    async def has_ended() -> bool:
        return (alert, tenant) not in await asyncio.to_thread(watching.firing)

    await wait_for(has_ended, 90, f"{alert} to end")


async def foreign(stage: Stage, namespace: str) -> None:
    """A NetworkPolicy of others, which opens the namespace."""
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    body = {"metadata": {"name": "open"}, "spec": {"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]}}
    await stage.admin.create(path, body)


async def test_every_panel_has_data(stage: Stage, watching: Prometheus) -> None:
    await stage.tenant(
        "prom-full",
        {
            "namespaces": [{"name": "prom-full-a"}],
            "locks": {"posture": False},
            "quota": {"tenant": {"pods": "10"}},
            "network": {
                "egress": [
                    {
                        "name": "later",
                        "to": [{"tenant": "nobody"}],
                        "ticket": "CHG-1",
                        "expires": "2099-01-01T00:00:00Z",
                    }
                ]
            },
            "exemptions": [
                {
                    "control": "runtime",
                    "check": "readOnlyRootFilesystem",
                    "namespace": "prom-full-a",
                    "reason": "a vendor's image",
                    "ticket": "CHG-2",
                    "approvedBy": "ciso",
                    "expires": "2099-01-01T00:00:00Z",
                }
            ],
        },
    )
    await foreign(stage, "prom-full-a")  # one table shows deviations alone

    async def has_all() -> bool:
        missing = []
        for board in DASHBOARDS:
            for panel in (panel for _, row in board.rows for panel in row):
                for query in panel.queries:
                    expr = rules.plain(query.expr)
                    if not await asyncio.to_thread(watching.query, expr):
                        missing.append(f"{panel.title}: {expr}")
        assert missing == []
        return True

    await wait_for(has_all, 60, "every panel to have data")


async def test_an_alert_fires_and_its_page_ends_it(stage: Stage, watching: Prometheus) -> None:
    """A policy of others: SecureTenantForeignPolicy, whose page says to delete it."""
    await stage.tenant("prom-foreign", {"namespaces": [{"name": "prom-foreign-a"}], "locks": {"posture": False}})
    zeros = 'securetenant_drift_detected_total{tenant="prom-foreign", control="network", reason="Foreign"}'

    async def is_scraped() -> bool:
        return bool(await asyncio.to_thread(watching.query, zeros))

    await wait_for(is_scraped, 20, "the counter's 0 to be scraped: an increase is seen from there")
    await foreign(stage, "prom-foreign-a")
    # The second looks back over seconds here, so it is looked for at the same time.
    await asyncio.gather(
        fires(watching, "SecureTenantForeignPolicy", "prom-foreign"),
        fires(watching, "SecureTenantDriftOfAccess", "prom-foreign"),
    )
    page = (files.FOLDER.parents[2] / "docs" / "runbooks" / "SecureTenantForeignPolicy.md").read_text()
    (command,) = re.findall(r"^kubectl get networkpolicies (.*)$", page, re.MULTILINE)
    shown = await stage.admin.kubectl(
        "get", "networkpolicies", *command.replace("<namespace>", "prom-foreign-a").split(), "-o", "name"
    )
    assert shown.split() == ["networkpolicy.networking.k8s.io/open"]
    await stage.admin.kubectl("delete", "-n", "prom-foreign-a", *shown.split())
    await is_silent(watching, "SecureTenantForeignPolicy", "prom-foreign")


async def test_not_ready(stage: Stage, watching: Prometheus) -> None:
    """A namespace that is somebody else's: the page leads to the condition, which says what to do."""
    await stage.namespace("prom-taken")
    tenant = await stage.create("prom-wait", {"namespaces": [{"name": "prom-taken"}]})
    await fires(watching, "SecureTenantNotReady", "prom-wait")
    await stage.admin.patch(tenant.path, {"spec": {"namespaces": [{"name": "prom-taken", "adopt": True}]}})
    await is_silent(watching, "SecureTenantNotReady", "prom-wait")


async def test_a_dead_operator_is_no_clean_one(stage: Stage, watching: Prometheus) -> None:
    """Last: it stops the operator. Its dashboards show nothing, not zeros, and one alert says why."""
    await stage.operator.stop()
    await fires(watching, "SecureTenantNoLeader")
    drifted = next(p for _, row in DASHBOARDS[0].rows for p in row if p.title == "Drifted").queries[0].expr

    async def is_unknown() -> bool:
        return not await asyncio.to_thread(watching.query, rules.plain(drifted))

    await wait_for(is_unknown, 30, "the panel to have no data")
