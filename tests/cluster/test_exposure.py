"""What is exposed, as the API server and Kubernetes' own controllers handle it, and whose a host is with the operator
running. The attacks one by one: tests/corpus/admission/exposure.yaml."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import nodes
from tests.support import enforced, exposed, life, pods
from tests.support.enforced import DRY, Enforced
from tests.support.life import NAMESPACES
from tests.support.locked import BREAK_GLASS, MASTERS
from tests.support.sandbox import JSON_PATCH, Admin, Plane, wait_for
from tests.support.tenants import Stage, Tenant

pytestmark = pytest.mark.cluster

OPEN: Final = {"exposure": {"loadBalancers": True, "nodePorts": True}}
_NUMBERS: Final = itertools.count()


@pytest_asyncio.fixture
async def place(plane: Plane, admin: Admin, policies: None) -> AsyncIterator[Enforced]:
    """A namespace of the test's own, not marked yet."""
    async with enforced.namespace(plane, admin, f"exposure-{next(_NUMBERS)}") as made:
        yield made


@pytest_asyncio.fixture
async def node(plane: Plane, admin: Admin) -> AsyncIterator[str]:
    """A node that runs pods, by its name and the value of its label `pool`."""
    (name,) = await asyncio.to_thread(nodes.create, plane, 1, {"pool": "exposure-0"}, prefix="exposure")
    yield name
    await admin.delete(f"/api/v1/nodes/{name}")


def at(place: Enforced, kind: str, name: str = "") -> str:
    return exposed.COLLECTIONS[kind].format(place.name) + (f"/{name}" if name else "")


async def test_kubernetes_own_controllers_write_endpoints(place: Enforced, admin: Admin, node: str) -> None:
    """Of a Service with a selector, as Endpoints and as an EndpointSlice, and again when a pod goes."""
    await place.mark()
    await admin.create(at(place, "Service"), exposed.service())
    pod = enforced.pod("web", {**pods.spec(), "nodeSelector": {"pool": node}}, labels={"app": "web"})
    await admin.create(place.pods, pod)

    async def forwarded() -> int:
        slices = (await admin.get(at(place, "EndpointSlice")))["items"]
        return sum(len(one.get("endpoints") or ()) for one in slices)

    await wait_for(forwarded, 30, "the EndpointSlice to have the pod")
    assert await admin.find(at(place, "Endpoints", "object")) is not None
    await admin.delete(f"{place.pods}/web", {"gracePeriodSeconds": "0"})

    async def is_gone() -> bool:
        return await forwarded() == 0

    await wait_for(is_gone, 30, "the EndpointSlice to have lost the pod")


async def test_endpoints_that_stood_before_are_mirrored(place: Enforced, admin: Admin) -> None:
    """By Kubernetes' own controller, which is not the author."""
    body = {**exposed.endpoints(), "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}
    service = exposed.service()
    del service["spec"]["selector"]
    await admin.create(at(place, "Endpoints"), body)
    await place.mark(exposure={"manualEndpoints": True})
    await admin.create(at(place, "Service"), service)

    async def is_mirrored() -> bool:
        return any(one.get("endpoints") for one in (await admin.get(at(place, "EndpointSlice")))["items"])

    await wait_for(is_mirrored, 30, "the Endpoints to be mirrored")


async def test_an_address_in_the_status_is_for_load_balancers_alone(place: Enforced, admin: Admin) -> None:
    """CVE-2020-8554 by `status`: the API server refuses it itself, and a load balancer gets one from its controller."""
    await place.mark(**OPEN)
    hijack = [{"op": "add", "path": "/status/loadBalancer", "value": {"ingress": [{"ip": "192.0.2.1"}]}}]
    for kind, expected in (("ClusterIP", 422), ("NodePort", 422), ("LoadBalancer", 200)):
        body = exposed.service()
        body["metadata"]["name"] = kind.lower()
        body["spec"]["type"] = kind
        await admin.create(at(place, "Service"), body)
        path = f"{at(place, 'Service', kind.lower())}/status"
        status, answer = await admin.request("PATCH", path, hijack, content_type=JSON_PATCH)
        assert status == expected, answer


async def test_what_stood_before_can_be_written_in_its_status_and_deleted(place: Enforced, admin: Admin) -> None:
    body = exposed.service()
    body["spec"]["type"] = "LoadBalancer"
    body["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
    await admin.create(at(place, "Service"), body)
    ingress = exposed.ingress()
    ingress["spec"]["rules"][0]["host"] = "portal.bank.example"
    await admin.create(at(place, "Ingress"), ingress)
    await place.mark()
    address = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    for kind in ("Service", "Ingress"):
        await admin.patch(f"{at(place, kind, 'object')}/status", address)
        await admin.patch(at(place, kind, "object"), {"metadata": {"labels": {"tier": "web"}}})
        status, _ = await admin.request("PATCH", at(place, kind, "object"), {"spec": {"type": "x"}}, params=DRY)
        assert status != 200
        await admin.delete(at(place, kind, "object"))
    await admin.patch(at(place, "Service", "object"), {"metadata": {"finalizers": None}})
    for kind in ("Service", "Ingress"):
        await life.gone(admin, at(place, kind, "object"))


async def test_the_default_class_is_judged_as_if_it_were_written(place: Enforced, admin: Admin) -> None:
    classes = "/apis/networking.k8s.io/v1/ingressclasses"
    default = {"ingressclass.kubernetes.io/is-default-class": "true"}
    body = exposed.ingress()
    del body["spec"]["ingressClassName"]
    await place.mark(exposure=exposed.SPEC)
    await admin.create(
        classes, {"metadata": {"name": "internal", "annotations": default}, "spec": {"controller": "bank.example/x"}}
    )

    async def is_taken() -> bool:
        status, answer = await admin.request("POST", at(place, "Ingress"), body, params=DRY)
        return status == 201 and answer["spec"]["ingressClassName"] == "internal"

    try:
        await wait_for(is_taken, 20, "the API server to know the default class")
    finally:
        await admin.delete(f"{classes}/internal")


async def test_without_the_gateway_api_nothing_is_missing(place: Enforced, admin: Admin) -> None:
    """And once it is served, its routes are judged."""
    await place.mark(exposure=exposed.SPEC)
    status, _ = await admin.request("POST", at(place, "HTTPRoute"), exposed.route("HTTPRoute"))
    assert status == 404
    assert (await admin.request("POST", at(place, "Ingress"), exposed.ingress(), params=DRY))[0] == 201
    body = exposed.route("HTTPRoute")
    body["spec"]["hostnames"] = ["portal.bank.example"]
    async with exposed.served(admin):

        async def is_refused() -> bool:
            status, answer = await admin.request("POST", at(place, "HTTPRoute"), body, params=DRY)
            return status == 403 and "exposure/hosts at host portal.bank.example" in answer["message"]

        await wait_for(is_refused, 20, "routes to be judged")
        assert (await admin.request("POST", at(place, "HTTPRoute"), exposed.route("HTTPRoute"), params=DRY))[0] == 201


def spec(namespace: str, *hosts: str) -> dict[str, Any]:
    return life.spec(namespace, exposure={"ingress": {"hosts": list(hosts), "classes": ["internal"]}})


async def held(tenant: Tenant, status: str) -> dict[str, Any]:
    async def is_so() -> dict[str, Any] | None:
        condition = await tenant.condition("HostsHeld")
        return condition if condition.get("status") == status else None

    return await wait_for(is_so, 20, f"HostsHeld {status}")


async def test_a_host_is_the_older_tenants(stage: Stage) -> None:
    """Until that gives it up or is deleted; then it is the other's at once."""
    admin = stage.admin
    older = await stage.create("expo-older", spec("expo-older", "*.apps.bank.example"))
    await held(older, "True")

    async def later() -> bool:
        """Creation times are in whole seconds."""
        made = await admin.create(NAMESPACES, {"metadata": {"generateName": "clock-"}})
        await admin.delete(f"{NAMESPACES}/{made['metadata']['name']}")
        return bool(made["metadata"]["creationTimestamp"] > (await older.get())["metadata"]["creationTimestamp"])

    await wait_for(later, 10, "the next second")
    younger = await stage.create("expo-younger", spec("expo-younger", "shop.apps.bank.example"))
    condition = await held(younger, "False")
    assert "shop.apps.bank.example (SecureTenant expo-older)" in condition["message"]
    body = exposed.ingress()
    host = "shop.apps.bank.example"
    body["spec"] |= {"rules": [{"host": host, "http": body["spec"]["rules"][0]["http"]}], "tls": [{"hosts": [host]}]}

    async def answers(namespace: str) -> int:
        path = exposed.COLLECTIONS["Ingress"].format(namespace)
        return (await admin.request("POST", path, body, params=DRY))[0]

    assert await answers("expo-older") == 201
    assert await answers("expo-younger") == 403
    await older.edit({"exposure": {"ingress": {"hosts": ["own.bank.example"]}}})
    await held(younger, "True")

    async def is_the_youngers() -> bool:
        return await answers("expo-younger") == 201 and await answers("expo-older") == 403

    await wait_for(is_the_youngers, 20, "the host to be the younger's")
    await older.edit({"exposure": {"ingress": {"hosts": ["*.apps.bank.example"]}}})
    await held(younger, "False")
    await older.delete()
    await held(younger, "True")


async def test_the_parameters_are_put_back(stage: Stage) -> None:
    tenant = await stage.create("expo-shop", spec("expo-shop", "shop.bank.example"))
    await held(tenant, "True")
    path, key = f"{NAMESPACES}/expo-shop", "securetenant.dev/exposure"
    wanted = "v1;hosts=shop.bank.example;classes=internal"
    assert (await stage.admin.get(path))["metadata"]["annotations"][key] == wanted
    async with Admin(stage.plane, user="breaker", groups=[MASTERS, BREAK_GLASS]) as breaker:
        await breaker.patch(path, {"metadata": {"annotations": {key: "v1;nodePorts=allowed"}}})
    await tenant.healed(("exposure", "Changed"))
    assert (await stage.admin.get(path))["metadata"]["annotations"][key] == wanted
