"""The network plug-ins' kinds on the API server, without their rules: what admission makes of their objects."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from securetenant.model import names
from securetenant.model.kinds import CALICO_IP_POOL, CILIUM_POD_IP_POOL, KUBE_OVN_SUBNET, Kind
from tests.support.life import Json
from tests.support.locked import TENANT
from tests.support.sandbox import Admin, wait_for

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#: Where newer versions of Calico serve the same objects.
CALICO_V3: Final = Kind("IPPool", "projectcalico.org", "v3", "ippools", namespaced=False)
KINDS: Final[Mapping[str, Kind]] = {
    "subnet": KUBE_OVN_SUBNET,
    "pool": CALICO_IP_POOL,
    "pool-v3": CALICO_V3,
    "cilium": CILIUM_POD_IP_POOL,
}
#: As the operator writes one for a namespace; `{}`: the namespace, `{0}` to `{2}` of an address are the test's.
SPECS: Final[Mapping[str, Json]] = {
    "subnet": {
        "cidrBlock": "10.77.0.0/24",
        "private": True,
        "allowSubnets": ["10.78.0.0/24"],
        "acls": [{"direction": "to-lport", "priority": 2500, "match": "ip4", "action": "drop"}],
    },
    "pool": {"cidr": "10.77.0.0/24", "blockSize": 26, "nodeSelector": "!all()"},
    "pool-v3": {"cidr": "10.77.0.0/24", "blockSize": 26, "nodeSelector": "!all()"},
    "cilium": {
        "ipv4": {"cidrs": ["10.77.0.0/24"], "maskSize": 28},
        "ipv6": {"cidrs": ["fd77::/112"], "maskSize": 120},
    },
}
#: Other addresses, by kind and field.
MOVED: Final[Mapping[str, Mapping[str, Json]]] = {
    "subnet": {"spec.cidrBlock": {"cidrBlock": "10.79.0.0/24"}},
    "pool": {"spec.cidr": {"cidr": "10.79.0.0/24"}, "spec.blockSize": {"blockSize": 28}},
    "pool-v3": {"spec.cidr": {"cidr": "10.79.0.0/24"}, "spec.blockSize": {"blockSize": 28}},
    "cilium": {
        "spec.ipv4": {"ipv4": {"cidrs": ["10.77.0.0/24", "10.79.0.0/24"]}},
        "spec.ipv6": {"ipv6": {"maskSize": 124}},
    },
}
#: What opens one, or draws in others' pods.
OPENED: Final[Mapping[str, Json]] = {
    "subnet": {"private": False, "allowSubnets": ["0.0.0.0/0"], "acls": [], "namespaces": ["other"]},
    "pool": {"nodeSelector": "all()"},
    "pool-v3": {"nodeSelector": "all()"},
    "cilium": {"namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": {}},
}
#: What a plug-in fills in.
FILLED: Final[Mapping[str, Json]] = {
    "subnet": {"gateway": "10.77.0.1", "excludeIps": ["10.77.0.1"], "protocol": "IPv4", "default": False},
    "pool": {"ipipMode": "Never", "natOutgoing": True},
    "pool-v3": {"ipipMode": "Never", "natOutgoing": True},
    "cilium": {"allowFirstIP": False},
}


def collection(kind: str) -> str:
    return KINDS[kind].path()


def name(namespace: str) -> str:
    return f"{KUBE_OVN_SUBNET.prefix}{namespace}"


def marks(tenant: str) -> dict[str, str]:
    return {names.LABEL_MANAGED_BY: names.MANAGED_BY, TENANT: tenant, names.LABEL_CONTROL: "subnets"}


def body(kind: str, namespace: str, tenant: str = "", locks: str = "v1", **spec: Any) -> Json:
    """The object of a namespace's subnet, with the marks of a tenant, if any."""
    metadata: Json = {"name": name(namespace)}
    if tenant:
        metadata |= {"labels": marks(tenant), "annotations": {"securetenant.dev/locks": locks}}
    bound = {"namespaces": [namespace]} if kind == "subnet" else {}
    one = KINDS[kind]
    return {
        "apiVersion": one.api_version,
        "kind": one.name,
        "metadata": metadata,
        "spec": {**SPECS[kind], **bound, **spec},
    }


@contextlib.asynccontextmanager
async def served(admin: Admin, *kinds: str) -> AsyncIterator[None]:
    """The API server serves these kinds, or all; afterwards none, with all objects gone."""
    chosen = [KINDS[kind] for kind in kinds or KINDS]

    async def are_served() -> bool:
        return all([(await admin.request("GET", kind.path()))[0] == 200 for kind in chosen])

    async def are_gone() -> bool:
        return all([await admin.find(f"{CRDS}/{kind.plural}.{kind.group}") is None for kind in chosen])

    try:
        for kind in chosen:
            await admin.create(CRDS, definition(kind))
        await wait_for(are_served, 20, "the network plug-ins' kinds to be served")
        yield
    finally:
        for kind in chosen:
            await admin.delete(f"{CRDS}/{kind.plural}.{kind.group}")
        await wait_for(are_gone, 20, "the network plug-ins' kinds to be gone")


def definition(kind: Kind) -> Json:
    """A CustomResourceDefinition that takes any spec and status."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}} if kind is KUBE_OVN_SUBNET else {},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
            },
            "scope": "Cluster",
            "versions": [version],
        },
    }
