"""The transport on a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from securetenant.kube import transport as kube
from securetenant.kube.transport import Transport
from securetenant.model.kinds import LIMIT_RANGE, NAMESPACE
from securetenant.model.objects import Json, JsonValue, Ref
from tests.support.kube import transport_to
from tests.support.proxy import Proxy
from tests.support.sandbox import Plane

pytestmark = pytest.mark.cluster

SPACE = "transport"
REF = Ref(LIMIT_RANGE, SPACE, "l")
BODY: Json = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "l"},
    "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]},
}


@pytest_asyncio.fixture(scope="module")
async def transport(plane: Plane) -> AsyncIterator[Transport]:
    async with transport_to(plane.kubeconfig) as transport:
        await transport.create(NAMESPACE, "", {"metadata": {"name": SPACE}})
        yield transport
        await transport.delete(NAMESPACE, Ref(NAMESPACE, "", SPACE))


async def test_life_of_an_object(transport: Transport) -> None:
    created = json.loads(await transport.create(LIMIT_RANGE, SPACE, BODY))
    assert [each["manager"] for each in created["metadata"]["managedFields"]] == ["securetenant"]
    with pytest.raises(kube.AlreadyExists):
        await transport.create(LIMIT_RANGE, SPACE, BODY)

    changed = json.loads(await transport.merge_patch(LIMIT_RANGE, REF, {"metadata": {"labels": {"a": "b"}}}))
    with pytest.raises(kube.Conflict):
        await transport.replace(LIMIT_RANGE, REF, created)  # its resourceVersion is old
    await transport.replace(LIMIT_RANGE, REF, {**changed, "spec": {"limits": []}})
    other: JsonValue = [{"op": "test", "path": "/metadata/labels/a", "value": "other"}]
    with pytest.raises(kube.Invalid):
        await transport.patch(LIMIT_RANGE, REF, other, kube.JSON_PATCH)
    await transport.merge_patch(LIMIT_RANGE, REF, {"metadata": {"labels": {"c": "d"}}})
    seen = json.loads(await transport.get(LIMIT_RANGE, REF))
    assert seen["metadata"]["labels"] == {"a": "b", "c": "d"}

    with pytest.raises(kube.Conflict):
        await transport.delete(LIMIT_RANGE, REF, uid="another")
    version = created["metadata"]["resourceVersion"]
    with pytest.raises(kube.Conflict):
        await transport.delete(LIMIT_RANGE, REF, uid=seen["metadata"]["uid"], resource_version=version)
    await transport.delete(LIMIT_RANGE, REF, uid=seen["metadata"]["uid"])
    with pytest.raises(kube.NotFound):
        await transport.get(LIMIT_RANGE, REF)


async def test_refusals(transport: Transport) -> None:
    with pytest.raises(kube.Invalid) as caught:
        await transport.create(NAMESPACE, "", {"metadata": {"name": "Not A Name"}})
    assert caught.value.reason == "Invalid"
    assert "Not A Name" in caught.value.message
    with pytest.raises(kube.NotFound):
        await transport.create(LIMIT_RANGE, "absent", BODY)


async def test_terminating_namespace_says_so(transport: Transport) -> None:
    name = "transport-ending"
    ref = Ref(NAMESPACE, "", name)
    await transport.create(NAMESPACE, "", {"metadata": {"name": name}})
    await transport.create(LIMIT_RANGE, name, {**BODY, "metadata": {"name": "l", "finalizers": ["test.local/hold"]}})
    await transport.delete(NAMESPACE, ref)
    with pytest.raises(kube.Forbidden) as caught:
        await transport.create(LIMIT_RANGE, name, {**BODY, "metadata": {"name": "m"}})
    assert caught.value.is_namespace_terminating
    await transport.merge_patch(LIMIT_RANGE, Ref(LIMIT_RANGE, name, "l"), {"metadata": {"finalizers": None}})


async def test_wrong_token(plane: Plane, transport: Transport) -> None:
    async with transport_to(plane.kubeconfig) as other:
        other.config._authorization = "Bearer wrong"
        other.config._loaded += 60
        with pytest.raises(kube.Unauthorized):
            await other.get(LIMIT_RANGE, REF)


async def test_untrusted_server_is_refused(plane: Plane, transport: Transport) -> None:
    async with transport_to(plane.kubeconfig) as other:
        assert other.config.tls is not None
        other.config.tls_server_name = "another.name"
        with pytest.raises(kube.Unreachable) as caught:
            await other.get(LIMIT_RANGE, REF)
    assert "certificate" in caught.value.message.lower()


async def test_hanging_and_returning_server(plane: Plane, transport: Transport) -> None:
    async with Proxy(plane.url) as proxy, transport_to(plane.kubeconfig, server=proxy.url, timeout=2.0) as through:
        await through.get(NAMESPACE, Ref(NAMESPACE, "", SPACE))
        proxy.hang()
        with pytest.raises(kube.Unreachable) as caught:
            await through.get(NAMESPACE, Ref(NAMESPACE, "", SPACE))
        assert caught.value.reason == "Timeout"
        proxy.resume()
        await through.get(NAMESPACE, Ref(NAMESPACE, "", SPACE))
        proxy.cut(refuse=True)
        with pytest.raises(kube.Unreachable):
            await through.get(NAMESPACE, Ref(NAMESPACE, "", SPACE))
        proxy.resume()
        await asyncio.gather(*[through.get(NAMESPACE, Ref(NAMESPACE, "", SPACE)) for _ in range(40)])
        assert proxy.connections <= 36
