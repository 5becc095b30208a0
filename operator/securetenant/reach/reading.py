"""Objects of a cluster, or of files, as what decides who reaches whom. Pure.

Whatever may select pods and is not understood here makes its namespaces unclear.
"""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

import msgspec

from securetenant.controls.network.foreign import found as foreign
from securetenant.controls.network.foreign import reading as understood
from securetenant.controls.subnets.ranges import OF_SUBNET
from securetenant.model import names
from securetenant.model.kinds import (
    CALICO_IP_POOL,
    CILIUM_POD_IP_POOL,
    KUBE_OVN_SUBNET,
    NAMESPACE,
    NETWORK_POLICY,
    Kind,
)
from securetenant.model.objects import Json, JsonValue, Observed, Ref
from securetenant.reach.tiers import KINDS as TIERS
from securetenant.reach.tiers import parsed
from securetenant.reach.values import Cluster, Pod, Standing, Tiered
from securetenant.sets import kube_ovn, policy, space
from securetenant.sets.blocks import Address, Network

SUBNETS: Final = (KUBE_OVN_SUBNET, CALICO_IP_POOL, CILIUM_POD_IP_POOL)
_CIDR: Final = "ovn.kubernetes.io/cidr"
# Annotations by which Kube-OVN leaves a NetworkPolicy out, or a part of it.
_SWITCHES: Final = frozenset(
    {"ovn.kubernetes.io/network_policy_for", "ovn.kubernetes.io/network_policy_enforcement"},
)
# Where the pod stands in each kind that has one, by apiVersion and kind.
PODS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("v1", "Pod"): (),
    ("v1", "ReplicationController"): ("spec", "template"),
    **{("apps/v1", kind): ("spec", "template") for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")},
    ("batch/v1", "Job"): ("spec", "template"),
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
# What Kubernetes does not restart: its addresses may be another pod's by now.
_ENDED: Final = ("Succeeded", "Failed")
#: The kinds that are read, but for those of PODS.
KINDS: Final = (NAMESPACE, NETWORK_POLICY, *foreign.KINDS, *SUBNETS)
_KINDS: Final = {(kind.api_version, kind.name): kind for kind in KINDS}


class _Owner(msgspec.Struct):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None
    creation_timestamp: str | None = None


class _Port(msgspec.Struct, rename="camel"):
    container_port: int = 0
    name: str | None = None
    protocol: str | None = None


class _Container(msgspec.Struct, rename="camel"):
    ports: list[_Port] | None = None
    restart_policy: str | None = None


class _PodSpec(msgspec.Struct, rename="camel"):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    host_network: bool | None = None


class _Address(msgspec.Struct):
    ip: str = ""


class _Status(msgspec.Struct, rename="camel"):
    phase: str | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[_Address] | None = msgspec.field(name="podIPs", default=None)


class _Template(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _Status | None = None


class Malformed(ValueError):
    """An object that no API server would have; the message says which and why."""


class Read(NamedTuple):
    """`cluster`: without pods. `pods`: those that are known, with those of workloads' templates, by namespace."""

    cluster: Cluster
    pods: Mapping[str, Sequence[Pod]]


def read(objects: Iterable[Json], ranges: Iterable[Network] = ()) -> Read:
    """Of the objects, those that matter here; of two of the same name the last one counts. A namespace that no object
    declares, but one is in, is there too. Raises Malformed."""
    listed: dict[Kind | None, dict[tuple[str, str, str], tuple[_Meta, Json]]] = {}
    for body in objects:
        key = str(body.get("apiVersion") or ""), str(body.get("kind") or "")
        if key in PODS or key in _KINDS:
            meta = _meta(body)
            listed.setdefault(_KINDS.get(key), {})[key[1], meta.namespace or "", meta.name] = meta, body
    policies: dict[str, list[Standing]] = {}
    unclear: dict[str, list[str]] = {}
    for meta, body in listed.get(NETWORK_POLICY, {}).values():
        where = _namespace(meta)
        policies.setdefault(where, []).append(standing(where, meta.name, body.get("spec")))
        if found := sorted(_SWITCHES & {*(meta.annotations or ())}):
            unclear.setdefault(where, []).append(f"NetworkPolicy {meta.name} may be switched off by {', '.join(found)}")
    pods: dict[str, list[Pod]] = {}
    for meta, body in listed.get(None, {}).values():
        if (pod := _pod(meta, body)) is not None:
            pods.setdefault(pod.namespace, []).append(pod)
    spaces = {meta.name: labels(meta.name, meta.labels) for meta, _ in listed.get(NAMESPACE, {}).values()}
    local = [meta for kind in foreign.KINDS if kind.namespaced for meta, _ in listed.get(kind, {}).values()]
    for name in dict.fromkeys([*policies, *pods, *map(_namespace, local)]):
        spaces.setdefault(name, labels(name))
    for kind in (kind for kind in foreign.KINDS if kind not in TIERS):
        for meta, body in listed.get(kind, {}).values():
            for name, why in _unclear(kind, meta, body, spaces):
                unclear.setdefault(name, []).append(why)
    subnets = {meta.name: told for meta, _ in listed.get(NAMESPACE, {}).values() if (told := _annotated(meta))}
    for kind in (CALICO_IP_POOL, CILIUM_POD_IP_POOL):
        for meta, body in listed.get(kind, {}).values():
            for name, given in _of_subnet(kind, meta, body):
                subnets.setdefault(name, given)
    switches = tuple(
        kube_ovn.parsed(meta.name, body.get("spec")) for meta, body in listed.get(KUBE_OVN_SUBNET, {}).values()
    )
    cluster = Cluster(
        spaces,
        policies,
        subnets=subnets,
        ranges=tuple(ranges),
        unclear=unclear,
        tiers=[
            tiered(kind, meta.name, body.get("spec"), meta.creation_timestamp or "")
            for kind in TIERS
            for meta, body in listed.get(kind, {}).values()
        ],
        are_tiers_enforced=not switches,
        plugin="KubeOVN" if switches else "None",
        switches=switches,
    )
    return Read(cluster, pods)


def labels(name: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The labels of a namespace, with the one that the API server sets."""
    return {**(given or {}), names.LABEL_NAMESPACE_NAME: name}


def standing(namespace: str, name: str, spec: JsonValue) -> Standing:
    return Standing(Ref(NETWORK_POLICY, namespace, name), policy.parsed(spec))


def tiered(kind: Kind, name: str, spec: JsonValue, created: str = "") -> Tiered:
    return Tiered(Ref(kind, "", name), parsed(kind, spec), created)


def _meta(body: Json) -> _Meta:
    try:
        return msgspec.convert(body.get("metadata") or {}, _Meta)
    except msgspec.ValidationError as error:
        raise Malformed(f"{body.get('kind')}: metadata: {error}") from error


def _namespace(meta: _Meta) -> str:
    """Where kubectl would create it."""
    return meta.namespace or "default"


# --- pods


def _pod(meta: _Meta, body: Json) -> Pod | None:
    """None for one that has ended, and for what a workload that is there too makes."""
    kind = str(body["kind"])
    value: JsonValue = body
    for step in PODS[str(body["apiVersion"]), kind]:
        value = value.get(step) if isinstance(value, dict) else None
    try:
        given = msgspec.convert(value or {}, _Template)
    except msgspec.ValidationError as error:
        raise Malformed(f"{kind} {_namespace(meta)}/{meta.name}: {error}") from error
    status = (given.status if kind == "Pod" else None) or _Status()
    if status.phase in _ENDED:
        return None
    owner = next((one for one in meta.owner_references or () if one.controller), None)
    if owner is not None and kind != "Pod":
        return None
    spec, ports = given.spec, dict[str, tuple[str, int]]()
    sidecars = [one for one in spec.init_containers or () if one.restart_policy == "Always"]
    for container in (*(spec.containers or ()), *sidecars):
        for port in container.ports or ():
            if port.name:
                ports.setdefault(port.name, (port.protocol or "TCP", port.container_port))
    return Pod(
        _namespace(meta),
        f"{kind}/{meta.name}",
        given.metadata.labels or {},
        ports,
        _addresses(status),
        bool(spec.host_network),
    )


def _addresses(status: _Status) -> tuple[Address, ...]:
    texts = dict.fromkeys([status.pod_ip or "", *(one.ip for one in status.pod_ips or ())])
    return tuple(ip_address(text) for text in texts if text)


# --- what is not NetworkPolicy


def _unclear(kind: Kind, meta: _Meta, body: Json, spaces: Mapping[str, Mapping[str, str]]) -> Iterable[tuple[str, str]]:
    """The namespaces that a policy of another kind selects, or may, each with what it does there."""
    where = _namespace(meta) if kind.namespaced else ""
    fields: dict[str, msgspec.Raw] = {
        name: msgspec.Raw(msgspec.json.encode(body[name])) for name in ("spec", "specs") if name in body
    }
    ref = Ref(kind, where, meta.name)
    found = foreign.read(Observed(ref, "", "", "", False, {}, {}, (), (), fields))
    # The kind's key tells Calico's NetworkPolicy from Kubernetes'.
    called = "/".join(part for part in (kind.key, where, meta.name) if part)
    for name in [where] if where else spaces:
        if parts := found.concerning(name, spaces.get(name, {})):
            yield name, f"{called} is not counted: it {understood.told(parts)}"


def _annotated(meta: _Meta) -> list[Network]:
    """The blocks that Kube-OVN tells of a namespace."""
    told = (meta.annotations or {}).get(_CIDR, "")
    # Of several subnets it is a list, joined by semicolons; of dual stack, by commas.
    return list(space.parsed(told.replace(";", ",").split(",")))


def _of_subnet(kind: Kind, meta: _Meta, body: Json) -> Iterable[tuple[str, list[Network]]]:
    """The namespaces whose pods have their addresses from this subnet, as far as its object tells."""
    fields = {"spec": msgspec.Raw(msgspec.json.encode(body.get("spec") or {}))}
    observed = Observed(Ref(kind, "", meta.name), "", "", "", False, {}, {}, (), (), fields)
    blocks = OF_SUBNET[kind](observed)
    if meta.name.startswith(kind.prefix):
        yield observed.ref.place, blocks
