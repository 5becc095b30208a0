"""Objects that expose a tenant's workloads and break no rule, and the CRDs of the Gateway API."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from securetenant.checks import gateway_api
from tests.support.sandbox import Admin, wait_for

Document = dict[str, Any]

#: What a tenant declares so that the objects below break no rule.
SPEC: Final = {
    "ingress": {
        "hosts": ["*.payments.bank.example", "pay.bank.example"],
        "classes": ["internal"],
        "gateways": ["infra/internal", "corpus/own"],
    }
}
HOST: Final = "shop.payments.bank.example"


def _object(version: str, kind: str, **content: Any) -> Document:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "object", "labels": {"app": "web"}},
        **content,
    }


def service() -> Document:
    return _object("v1", "Service", spec={"selector": {"app": "web"}, "ports": [{"port": 443, "targetPort": 8443}]})


def endpoints() -> Document:
    """Without an address it forwards nothing."""
    return _object("v1", "Endpoints")


def slice_() -> Document:
    return _object("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[])


def ingress() -> Document:
    backend = {"service": {"name": "web", "port": {"number": 443}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return _object(
        "networking.k8s.io/v1",
        "Ingress",
        spec={
            "ingressClassName": "internal",
            "rules": [{"host": HOST, "http": {"paths": paths}}],
            "tls": [{"hosts": [HOST], "secretName": "web"}],
        },
    )


def route(kind: str) -> Document:
    spec: Document = {"parentRefs": [{"name": "internal", "namespace": "infra"}]}
    if kind in gateway_api.WITH_HOSTS:
        spec["hostnames"] = [HOST]
    return _object(f"{gateway_api.GROUP}/v1", kind, spec=spec)


def parent(kind: str) -> Document:
    """A Gateway or ListenerSet that the tenant may make."""
    made = _object(
        f"{gateway_api.EXPERIMENTAL}/v1alpha1" if kind == "XListenerSet" else f"{gateway_api.GROUP}/v1", kind, spec={}
    )
    made["metadata"]["name"] = "own"
    return made


OBJECTS: Final[Mapping[str, Callable[[], Document]]] = {
    "Service": service,
    "Endpoints": endpoints,
    "EndpointSlice": slice_,
    "Ingress": ingress,
    **{kind: lambda kind=kind: route(kind) for kind in gateway_api.ROUTES},  # type: ignore[misc]
    **{kind: lambda kind=kind: parent(kind) for kind in gateway_api.PARENTS},  # type: ignore[misc]
}
COLLECTIONS: Final[Mapping[str, str]] = {
    "Service": "/api/v1/namespaces/{}/services",
    "Endpoints": "/api/v1/namespaces/{}/endpoints",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    **{
        kind: f"/apis/{OBJECTS[kind]()['apiVersion']}/namespaces/{{}}/{kind.lower()}s"
        for kind in (*gateway_api.ROUTES, *gateway_api.PARENTS)
    },
}


CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@contextlib.asynccontextmanager
async def served(admin: Admin) -> AsyncIterator[None]:
    """The API server serves the Gateway API."""
    names = [crd["metadata"]["name"] for crd in crds()]

    async def are_gone() -> bool:
        return all([await admin.find(f"{CRDS}/{name}") is None for name in names])

    async def are_served() -> bool:
        paths = [path.format("default") for path in COLLECTIONS.values()]
        return all([(await admin.request("GET", path))[0] == 200 for path in paths])

    for crd in crds():
        await admin.create(CRDS, crd)
    await wait_for(are_served, 20, "the Gateway API to be served")
    try:
        yield
    finally:
        for name in names:
            await admin.delete(f"{CRDS}/{name}")
        await wait_for(are_gone, 20, "the Gateway API to be gone")


def crds() -> list[Document]:
    """The CustomResourceDefinitions of the Gateway API with the fields that checks read, and as defaulted there: those
    that ship are 1 MB long."""
    text = {"type": "string"}
    reference = {
        "type": "object",
        "properties": {
            "group": {**text, "default": gateway_api.GROUP},
            "kind": {**text, "default": "Gateway"},
            "namespace": text,
            "name": text,
            "sectionName": text,
        },
        "required": ["name"],
    }
    hostnames = {"type": "array", "maxItems": 16, "items": {**text, "minLength": 1, "pattern": _HOSTNAME}}
    properties = {"parentRefs": {"type": "array", "items": reference}, "hostnames": hostnames}
    return [_crd(kind, properties) for kind in (*gateway_api.ROUTES, *gateway_api.PARENTS)]


_HOSTNAME: Final = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


def _crd(kind: str, properties: Mapping[str, Any]) -> Document:
    group = gateway_api.EXPERIMENTAL if kind == "XListenerSet" else gateway_api.GROUP
    plural = f"{kind.lower()}s"
    spec = {"type": "object", "properties": properties, "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    names = ["v1alpha1"] if kind == "XListenerSet" else ["v1", "v1beta1", "v1alpha2"]
    versions = [{"name": name, "served": True, "storage": name == names[0], "schema": schema} for name in names]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # The group is one that only approved CRDs may use.
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": versions,
        },
    }
