"""Pods of others on dedicated nodes, with the real watches of them: found, told once, and forgotten when they go."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import nodes
from sandbox.plane import Plane
from tests.support import attacks, life, tenants
from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster

NODES: Final = "/api/v1/nodes"
PODS: Final = "/api/v1/namespaces/{}/pods"
ROLE: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles/securetenant-controller-nodes"
DAEMONSETS: Final = "/apis/apps/v1/namespaces/kube-system/daemonsets"


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, node_rights: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    try:
        async with tenants.stage(plane, admin, tmp_path_factory.mktemp("operator"), nodes="int-") as stage:
            yield stage
    finally:
        await admin.delete(f"{DAEMONSETS}/int-agent")


async def run(admin: Admin, namespace: str, name: str, node: str, **metadata: Any) -> None:
    """A pod that passes the scheduler by."""
    body = attacks.pod()
    body["metadata"] |= {"name": name, **metadata}
    spec = {**body["spec"], "initContainers": [], "nodeName": node, "automountServiceAccountToken": False}
    account = f"{life.NAMESPACES}/{namespace}/serviceaccounts/default"
    await wait_for(lambda: admin.find(account), 20, f"the ServiceAccount of {namespace}")
    await admin.create(PODS.format(namespace), {**body, "spec": spec})


async def exclusive(tenant: Tenant, reason: str, *words: str) -> None:
    async def is_so() -> bool:
        condition = await tenant.condition("NodesExclusive")
        assert condition.get("reason") == reason, condition
        assert all(word in condition["message"] for word in words), condition
        return True

    await wait_for(is_so, 20, f"NodesExclusive {reason} {words}")


async def test_found_told_once_and_over(stage: Stage) -> None:
    admin = stage.admin
    (name,) = await asyncio.to_thread(nodes.create, stage.plane, 1, {"pool": "int"}, prefix="int-node")
    await stage.namespace("int-other")
    await run(admin, "int-other", "before", name)
    spec = {"namespaces": [{"name": "int-a"}], "nodes": {"selector": {"matchLabels": {"pool": "int"}}}}
    tenant = await stage.tenant("int", spec)

    await exclusive(tenant, "Intruders", f"1 pod of others on the tenant's nodes: int-other/before on {name}.")
    status = (await tenant.get())["status"]
    assert status["intruders"] == [{"node": name, "namespace": "int-other", "pod": "before"}]
    assert await stage.operator.metric("securetenant_node_intruders", tenant="int") == 1
    assert len(tenant.told("intruder found")) == 1

    # The tenant's own, one of the kubelet's and one of a DaemonSet of the platform are none. The tenant's own cannot
    # pass the scheduler by: admission would refuse spec.nodeName.
    account = f"{life.NAMESPACES}/int-a/serviceaccounts/default"
    await wait_for(lambda: admin.find(account), 20, "the ServiceAccount of int-a")
    body = attacks.pod()
    toleration = {"key": "securetenant.dev/tenant", "operator": "Equal", "value": "int"}
    body["metadata"]["name"] = "own"
    body["spec"] |= {
        "initContainers": [],
        "nodeSelector": {"securetenant.node-restriction.kubernetes.io/tenant": "int"},
        "tolerations": [toleration],
    }
    own = f"{PODS.format('int-a')}/own"
    await admin.create(PODS.format("int-a"), body)

    async def is_placed() -> bool:
        return bool((await admin.get(own))["spec"].get("nodeName") == name)

    await wait_for(is_placed, 20, "the tenant's own pod to be placed")
    await run(admin, "int-other", "static", name, annotations={"kubernetes.io/config.mirror": "0123"})
    agent = attacks.workload("DaemonSet", attacks.pod())
    agent["metadata"]["name"] = "int-agent"
    agent["spec"]["template"]["spec"] |= {
        "initContainers": [],
        "nodeSelector": {"pool": "int"},
        "tolerations": [{"operator": "Exists"}],
    }
    await admin.create(DAEMONSETS, agent)
    await run(admin, "int-other", "after", name)
    await exclusive(tenant, "Intruders", "2 pods of others", "int-other/after", "int-other/before")
    for gone in ("before", "after"):
        await admin.delete(f"{PODS.format('int-other')}/{gone}")
    await exclusive(tenant, "Exclusive", "allowed there: DaemonSet kube-system/int-agent, static pods")
    assert await stage.operator.metric("securetenant_node_intruders", tenant="int") == 0
    assert len(tenant.told("intruder found")) == 2
    await tenant.agrees("none of it to be drift")

    # Quiet again: nothing is asked, and only these nodes' pods ever were, and by the inspection the tenant's own.
    lists = await stage.operator.metric("securetenant_api_requests_total", verb="list", kind="Pod", code="200")
    assert lists == 2


async def test_pods_that_ended_are_none(stage: Stage) -> None:
    admin = stage.admin
    (name,) = await asyncio.to_thread(nodes.create, stage.plane, 1, {"pool": "int-end"}, prefix="int-end")
    await stage.namespace("int-ended")
    await run(admin, "int-ended", "job", name)
    spec = {"namespaces": [{"name": "int-end-a"}], "nodes": {"selector": {"matchLabels": {"pool": "int-end"}}}}
    tenant = await stage.tenant("int-end", spec)
    await exclusive(tenant, "Intruders", "int-ended/job")
    await admin.patch(f"{PODS.format('int-ended')}/job/status", {"status": {"phase": "Succeeded"}})
    await exclusive(tenant, "Exclusive")
    # The node is given back: what runs there is nobody's concern.
    await run(admin, "int-ended", "second", name)
    await exclusive(tenant, "Intruders", "int-ended/second")
    await admin.patch(f"{NODES}/{name}", {"metadata": {"labels": {"pool": None}}})

    async def is_over() -> bool:
        status = (await tenant.get())["status"]
        assert "intruders" not in status, status
        return not await tenant.condition("NodesExclusive")

    await wait_for(is_over, 20, "the condition to go with the node")


async def test_without_the_right_over_pods_a_condition_says_what_to_apply(stage: Stage) -> None:
    """As with the component of an older version."""
    admin = stage.admin
    role = await admin.get(ROLE)
    try:
        await admin.patch(ROLE, {"rules": [rule for rule in role["rules"] if "pods" not in rule["resources"]]})
        (name,) = await asyncio.to_thread(nodes.create, stage.plane, 1, {"pool": "int-bare"}, prefix="int-bare")
        spec = {"namespaces": [{"name": "int-bare-a"}], "nodes": {"selector": {"matchLabels": {"pool": "int-bare"}}}}
        tenant = await stage.tenant("int-bare", spec)
        await exclusive(tenant, "NotWatched", name, "manifests/components/nodes")
        assert (await tenant.get())["status"]["nodes"] == [name]
    finally:
        await admin.patch(ROLE, {"rules": role["rules"]})
    await exclusive(tenant, "Exclusive")
