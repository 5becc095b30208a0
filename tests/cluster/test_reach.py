"""`securetenant reach` of a real cluster: what the operator made, what others add and take away, with few rights."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from securetenant.model import names
from tests.cluster.test_cli import STNS, Done, account, cli, is_ready
from tests.support.sandbox import Admin, Plane, run_operator, wait_for

pytestmark = pytest.mark.cluster

POLICIES: Final = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
TICKET: Final = {"ticket": "CHG-1", "expires": "2031-03-31T00:00:00Z", "ports": [{"port": 8443}]}
READ: Final = {"": ["namespaces"], "networking.k8s.io": ["networkpolicies"]}
MORE: Final = {
    "": ["namespaces", "nodes", "pods", "services"],
    "apps": ["deployments", "statefulsets", "daemonsets"],
    "batch": ["jobs", "cronjobs"],
    "networking.k8s.io": ["networkpolicies", "servicecidrs", "ingresses"],
    "discovery.k8s.io": ["endpointslices"],
    names.GROUP: ["securetenants", "subnetpools"],
}


def tenant(name: str, **network: Any) -> dict[str, Any]:
    spec = {"namespaces": [{"name": f"{name}-prod"}], "network": network}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": spec}


# What is the cluster's own is not opened by the last one: it must not count as declared either.
CLIENT: Final = tenant(
    "reach-client",
    egress=[
        {"name": "books", "to": [{"tenant": "reach-books"}], **TICKET},
        {"name": "out", "to": [{"cidr": "0.0.0.0/0"}]},
    ],
)
BOOKS: Final = tenant("reach-books", ingress=[{"name": "clients", "from": [{"tenant": "reach-client"}], **TICKET}])


def foreign(name: str = "open") -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "reach-books-prod"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": [{"port": 5432}]}]},
    }


async def reader(plane: Plane, admin: Admin, name: str, groups: dict[str, list[str]], folder: Path) -> Path:
    rules = [{"apiGroups": [group], "resources": r, "verbs": ["list"]} for group, r in groups.items()]
    return await account(plane, admin, name, rules, folder)


@pytest_asyncio.fixture(scope="module")
async def made(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[None]:
    """Two tenants that agreed on a flow, as the operator made them; the operator has stopped."""
    listed = ("reach-client", "reach-books")
    await admin.apply(CLIENT)
    await admin.apply(BOOKS)
    try:
        async with run_operator(plane, tmp_path_factory.mktemp("operator")):
            for name in listed:
                await wait_for(partial(is_ready, admin, name), 60, f"{name} to be Ready")
        yield
    finally:
        for name in listed:
            await admin.patch(f"{STNS}/{name}", {"metadata": {"finalizers": None}})
            await admin.delete(f"{STNS}/{name}")
            await admin.delete(f"/api/v1/namespaces/{name}-prod")


@pytest_asyncio.fixture(scope="module")
async def config(plane: Plane, admin: Admin, made: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return await reader(plane, admin, "reach-reader", MORE, tmp_path_factory.mktemp("reader"))


async def reach(config: Path, *args: object, text: str = "") -> Done:
    return await cli(config, "reach", *args, text=text)


async def flows(config: Path, *args: object, code: int = 0) -> list[dict[str, Any]]:
    done = await reach(config, *args, "-o", "json")
    assert done.code == code, done.err
    found: list[dict[str, Any]] = done.json["flows"]
    ours = {"reach-client", "reach-books"}
    return [one for one in found if {one["from"]["tenant"], one["to"]["tenant"]} & ours]


async def test_what_the_operator_made_is_declared_and_nothing_else_is_open(config: Path) -> None:
    for name in ("reach-client", "reach-books"):
        found = await flows(config, "--tenant", name)
        assert {one["state"] for one in found} == {"declared"}
    (flow,) = (one for one in found if one["from"]["namespaces"] == ["reach-client-prod"])
    assert {(one["rule"], one["ticket"]) for one in flow["policies"]} == {("books", "CHG-1"), ("clients", "CHG-1")}


async def test_the_question_by_workload_and_service(admin: Admin, config: Path) -> None:
    container = {"name": "db", "image": "registry.example/db:1", "ports": [{"name": "api", "containerPort": 8443}]}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": "db"}}
    await admin.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "db", "namespace": "reach-books-prod"},
            "spec": {"selector": selector, "template": template, "replicas": 0},
        }
    )
    await admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "db", "namespace": "reach-books-prod"},
            "spec": {"selector": {"app": "db"}, "ports": [{"port": 443, "targetPort": "api"}]},
        }
    )
    for target in ("service/reach-books-prod/db", "reach-books-prod/deployment/db"):
        port = ["--port", "TCP/8443"] if "deployment" in target else []
        done = await reach(config, "--from", "reach-client-prod", "--to", target, *port)
        assert done.code == 0, done.err
        assert "ingress of reach-books-prod allows it, by rule clients, CHG-1 until 2031-03-31" in done.out
    done = await reach(config, "--from", "default", "--to", "service/reach-books-prod/db")
    assert done.code == 1
    assert "egress of default allows it, since no policy of that direction selects these pods" in done.out
    assert "ingress of reach-books-prod does not allow it" in done.out


async def test_a_policy_of_others_is_undeclared_and_named(admin: Admin, config: Path) -> None:
    await admin.apply(foreign())
    try:
        found = await flows(config, "--tenant", "reach-books", "--undeclared", code=1)
        assert {one["name"] for flow in found for one in flow["policies"]} == {"open"}
        assert {port["port"] for flow in found for port in flow["ports"]} == {5432}
        assert "default" in {name for flow in found for name in flow["from"]["namespaces"]}
    finally:
        await admin.delete(f"{POLICIES.format('reach-books-prod')}/open")


async def test_what_somebody_took_away_is_declared_and_not_open(admin: Admin, config: Path) -> None:
    path = f"{POLICIES.format('reach-books-prod')}/securetenant-ingress-clients"
    kept = await admin.get(path)
    await admin.delete(path)
    try:
        (flow,) = (one for one in await flows(config, "-t", "reach-books") if one["state"] == "missing")
        assert flow["policies"][0]["ticket"] == "CHG-1"
    finally:
        kept["metadata"] = {key: kept["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
        await admin.create(POLICIES.format("reach-books-prod"), kept)


async def test_what_files_would_open_on_the_cluster(config: Path, tmp_path: Path) -> None:
    """As `plan`: the files' tenant as if it were applied, all else as it is."""
    file = tmp_path / "books.yaml"
    file.write_text(json.dumps(BOOKS))
    assert await flows(config, file, "--against", "cluster") == []
    wider = tenant("reach-client", egress=[{"name": "out", "to": [{"cidr": "0.0.0.0/0"}, {"cidr": "2001:db8::/32"}]}])
    file.write_text(yaml.safe_dump_all([wider, foreign("later")]))
    found = await flows(config, file, "--against", "cluster", code=1)
    changes = {(one["change"], one["state"], one["to"]["cidrs"][:1] != []) for one in found}
    assert changes == {("opened", "declared", True), ("closed", "declared", False), ("opened", "undeclared", False)}


async def test_few_rights_tell_what_was_not_read(plane: Plane, admin: Admin, made: None, tmp_path: Path) -> None:
    config = await reader(plane, admin, "reach-little", READ, tmp_path)
    done = await reach(config, "--from", "reach-client-prod", "--to", "reach-books-prod", "--port", "8443")
    assert done.code == 0, done.err
    assert "no SecureTenants were read, so nothing counts as declared" in done.err
    assert "no nodes were read: no right to list them" in done.err
    assert "which no SecureTenant declares" in done.out


async def test_without_the_right_to_list_nodes_a_declared_cidr_is_unknown(
    plane: Plane, admin: Admin, made: None, tmp_path: Path
) -> None:
    config = await reader(plane, admin, "reach-no-nodes", {**MORE, "": ["namespaces"]}, tmp_path)
    done = await reach(config, "--tenant", "reach-client", "--undeclared", "--output", "json")
    assert done.code == 3, done.err
    (told,) = json.loads(done.out)["unknown"]
    assert told["namespace"] == "reach-client-prod"
    assert told["reasons"] == ["nodes could not be read: which part of a declared cidr is the cluster's is not known"]


async def test_without_the_right_to_list_policies_there_is_no_answer(
    plane: Plane, admin: Admin, made: None, tmp_path: Path
) -> None:
    config = await reader(plane, admin, "reach-nothing", {"": ["namespaces"]}, tmp_path)
    done = await reach(config)
    assert (done.code, done.out) == (2, "")
    assert "it needs list on namespaces and networkpolicies, cluster-wide" in done.err


async def test_it_writes_nothing(admin: Admin, config: Path) -> None:
    async def versions() -> dict[str, str]:
        listed = (await admin.get(POLICIES.format("reach-books-prod")))["items"]
        return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in listed}

    before = await versions()
    done = await asyncio.gather(*(reach(config, *args) for args in ([], ["--matrix"], ["-o", "svg"])))
    assert [one.code for one in done] == [0, 0, 0]
    assert await versions() == before
