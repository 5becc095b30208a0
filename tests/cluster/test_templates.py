"""The life of a NetworkTemplate on a real control plane: made, used, changed, missed, deleted."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from securetenant.model.kinds import NETWORK_TEMPLATE
from tests.cluster.test_cli import cli
from tests.support import tenants
from tests.support.sandbox import Admin, wait_for
from tests.support.templates import WEB
from tests.support.tenants import POLICIES, Stage, Tenant

pytestmark = pytest.mark.cluster

TEMPLATES: Final = "/apis/securetenant.dev/v1alpha1/networktemplates"
RULE: Final = "securetenant-ingress-web-from-edge"
EDGE: Final = "tpl-edge"


def web(edge: str = EDGE, **rule: Any) -> dict[str, Any]:
    """The spec of a template whose pods a platform namespace reaches."""
    (of,) = WEB["ingress"]
    return {**WEB, "ingress": [{**of, "from": [{"namespace": edge}], **rule}]}


def use(template: str, port: int | None = None) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [{"name": "web", "pods": {"matchLabels": {"app": "gateway"}}}]
    more = [{"name": "port", "port": port}] if port is not None else []
    return {"name": "web", "template": template, "parameters": [*parameters, *more]}


def spec(namespace: str, *uses: dict[str, Any], **network: Any) -> dict[str, Any]:
    return {"namespaces": [{"name": namespace}], "network": {"templates": list(uses), **network}}


async def make(admin: Admin, name: str, template: dict[str, Any]) -> None:
    header = {"apiVersion": NETWORK_TEMPLATE.api_version, "kind": NETWORK_TEMPLATE.name}
    await admin.create(TEMPLATES, {**header, "metadata": {"name": name}, "spec": template})


async def ports(admin: Admin, namespace: str, policy: str = RULE) -> list[int]:
    """The ports of the rule's policy."""
    body = await admin.get(f"{POLICIES.format(namespace)}/{policy}")
    assert body["spec"]["podSelector"] == {"matchLabels": {"app": "gateway"}}
    (rule,) = body["spec"]["ingress"]
    return [one["port"] for one in rule["ports"]]


async def opens(admin: Admin, namespace: str, *numbers: int) -> None:
    async def is_so() -> bool:
        assert await ports(admin, namespace) == list(numbers)
        return True

    await wait_for(is_so, 20, f"ports {numbers} of {namespace} to be open")


async def closed(admin: Admin, namespace: str) -> None:
    async def is_so() -> bool:
        assert RULE not in await tenants.bodies(admin, POLICIES.format(namespace))
        return True

    await wait_for(is_so, 20, f"the rule of {namespace} to be closed")


async def told(tenant: Tenant, status: str, reason: str, said: str = "") -> None:
    async def is_so() -> bool:
        found = await tenant.condition("TemplatesReady")
        assert (found.get("status"), found.get("reason")) == (status, reason), found
        assert said in found.get("message", "")
        ready = await tenant.condition("Ready")
        assert ready["status"] == status, ready
        return True

    await wait_for(is_so, 20, f"{tenant.name} to say {reason}")


async def test_it_is_used_changed_missed_and_deleted(stage: Stage) -> None:
    admin = stage.admin
    await stage.namespace(EDGE)
    # A tenant may come first: its other rules are in force.
    own = {"name": "office", "from": [{"cidr": "198.51.100.0/24"}]}
    one = await stage.create("tpl-one", spec("tpl-one-a", use("tpl-web"), ingress=[own]))
    await told(one, "False", "NoTemplate", "web: there is no NetworkTemplate tpl-web: create it")
    assert "securetenant-ingress-office" in await tenants.bodies(admin, POLICIES.format("tpl-one-a"))
    await closed(admin, "tpl-one-a")

    await make(admin, "tpl-web", web())
    try:
        await opens(admin, "tpl-one-a", 8443)
        await told(one, "True", "Resolved")
        two = await stage.tenant("tpl-two", spec("tpl-two-a", use("tpl-web", 9443)))
        other = await stage.tenant("tpl-other", spec("tpl-other-a"))
        await opens(admin, "tpl-two-a", 9443)
        await one.agrees("the template to be no drift")

        # A change is a rollout for all who use it, and for nobody else.
        versions = await _versions(admin, "tpl-other-a")
        (rule,) = web()["ingress"]
        changed = {**web(), "ingress": [{**rule, "ports": [{"portFrom": "port"}, {"port": 9999}]}]}
        await admin.patch(f"{TEMPLATES}/tpl-web", {"spec": changed})
        await opens(admin, "tpl-one-a", 8443, 9999)
        await opens(admin, "tpl-two-a", 9443, 9999)
        for tenant in (one, two, other):
            await tenant.agrees("the change of the template to be no drift")
        assert await _versions(admin, "tpl-other-a") == versions
        rolled = [line for line in _lines(stage) if line["event"] == "flow opened" and line.get("tenant") == "tpl-two"]
        assert "NetworkTemplate tpl-web" in rolled[-1]["cause"]

        # What others do to such a policy is drift like any.
        await admin.delete(f"{POLICIES.format('tpl-two-a')}/{RULE}")
        await two.healed(("network", "Missing"))

        # A change that the parameters do not fit closes, and says so.
        more = {"name": "tier", "type": "Tenant", "description": "who calls"}
        await admin.patch(f"{TEMPLATES}/tpl-web", {"spec": {"parameters": [*WEB["parameters"], more]}})
        await closed(admin, "tpl-one-a")
        said = "parameter tier (who calls) is missing: add it, with the field tenant"
        await told(one, "False", "WrongParameters", said)
        await told(two, "False", "WrongParameters", said)
        await admin.patch(f"{TEMPLATES}/tpl-web", {"spec": {"parameters": WEB["parameters"]}})
        await opens(admin, "tpl-one-a", 8443, 9999)
        await told(one, "True", "Resolved")

        async def is_counted() -> bool:
            status = (await admin.get(f"{TEMPLATES}/tpl-web"))["status"]
            assert (status["tenants"], status["conditions"][0]["status"]) == (2, "True")
            return True

        await wait_for(is_counted, 90, "the status to count who uses it")
        row = (await admin.kubectl("get", "networktemplates", "tpl-web", "--no-headers")).split("  ")
        assert [cell.strip() for cell in row if cell.strip()][:4] == ["tpl-web", WEB["description"], "2", "True"]
    finally:
        await admin.delete(f"{TEMPLATES}/tpl-web")
    for tenant in (one, two):
        await closed(admin, f"{tenant.name}-a")
        await told(tenant, "False", "NoTemplate", "there is no NetworkTemplate tpl-web")
        await tenant.agrees("the deletion of the template to be no drift")
    assert "securetenant-ingress-office" in await tenants.bodies(admin, POLICIES.format("tpl-one-a"))


async def test_both_sides_of_a_flow_may_be_templates(stage: Stage) -> None:
    admin = stage.admin
    name = {"parameters": [{"name": "peer", "type": "Tenant"}]}
    await make(admin, "tpl-in", {**name, "ingress": [{"name": "in", "from": [{"tenantFrom": "peer"}]}]})
    await make(admin, "tpl-out", _out("tpl-server"))
    try:
        to = {"template": "tpl-in", "parameters": [{"name": "peer", "tenant": "tpl-client"}]}
        server = await stage.tenant("tpl-server", spec("tpl-server-a", to))
        client = await stage.tenant("tpl-client", spec("tpl-client-a", {"template": "tpl-out"}))

        async def are(*wanted: str) -> bool:
            found = [await tenants.bodies(admin, POLICIES.format(f"{one.name}-a")) for one in (server, client)]
            names = {policy for some in found for policy in some if "gress-" in policy}
            assert names == {f"securetenant-{name}" for name in wanted}
            return True

        both = ("ingress-tpl-in-in", "egress-tpl-out-out")
        await wait_for(lambda: are(*both), 20, "both sides to be open")
        # The template of one side decides about the other side's policy too.
        await admin.patch(f"{TEMPLATES}/tpl-out", {"spec": _out("tpl-x")})
        await wait_for(are, 20, "both sides to be closed")
        await admin.patch(f"{TEMPLATES}/tpl-out", {"spec": _out("tpl-server")})
        await wait_for(lambda: are(*both), 20, "both sides to be open again")
        for tenant in (server, client):
            await tenant.agrees("what the template did to be no drift")
    finally:
        for name_ in ("tpl-in", "tpl-out"):
            await admin.delete(f"{TEMPLATES}/{name_}")


async def test_a_plan_with_a_changed_template_shows_the_policies_of_who_uses_it(stage: Stage, tmp_path: Path) -> None:
    """Given alone: it is a rollout, and nothing else changes."""
    header = {
        "apiVersion": NETWORK_TEMPLATE.api_version,
        "kind": NETWORK_TEMPLATE.name,
        "metadata": {"name": "tpl-plan"},
    }
    file, config = tmp_path / "template.yaml", stage.plane.kubeconfig
    await make(stage.admin, "tpl-plan", web("kube-system"))
    try:
        await stage.tenant("tpl-user", spec("tpl-user-a", use("tpl-plan")))
        await stage.tenant("tpl-idle", spec("tpl-idle-a"))
        await opens(stage.admin, "tpl-user-a", 8443)
        before = await cli(config, "plan", "-o", "json")
        file.write_text(json.dumps({**header, "spec": web("kube-system", ports=[{"port": 1}])}))
        done = await cli(config, "plan", file, "-o", "json")
        news = {key: change for key, change in done.changes.items() if key not in before.changes}
        assert {key: (change["effect"], change["drift"]) for key, change in news.items()} == {
            f"NetworkPolicy/tpl-user-a/{RULE}": ("update", False)
        }
        more = [*WEB["parameters"], {"name": "more", "type": "Port"}]
        file.write_text(json.dumps({**header, "spec": {**web("kube-system"), "parameters": more}}))
        done = await cli(config, "plan", file, "-t", "tpl-user")
        assert f"    - NetworkPolicy/{RULE}\n" in done.out
        assert "parameter more is missing: add it, with the field port" in done.out
    finally:
        await stage.admin.delete(f"{TEMPLATES}/tpl-plan")


def _out(tenant: str) -> dict[str, Any]:
    return {"egress": [{"name": "out", "to": [{"tenant": tenant}]}]}


async def _versions(admin: Admin, namespace: str) -> dict[str, str]:
    listed = (await admin.get(POLICIES.format(namespace)))["items"]
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in listed}


def _lines(stage: Stage) -> list[dict[str, Any]]:
    text = stage.operator.log.read_text(errors="replace")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
