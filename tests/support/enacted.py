"""A cluster in memory that obeys the operator's own writes, request by request, with a network plug-in that answers.

Pure: the plans, the findings, the order of the writes and their requests are the operator's; here is only what the API
server does with them (create, replace, merge, delete), and what Kube-OVN's controller adds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any, Final, TypeAlias

import msgspec

from securetenant.api.status import NamespaceStatus, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls import namespaces
from securetenant.controls.control import Control
from securetenant.controls.network import control as network
from securetenant.controls.subnets import control as subnets
from securetenant.drift import writes
from securetenant.drift.applied import grouped
from securetenant.drift.assess import Assessment, assess
from securetenant.drift.writes import Request
from securetenant.engine import deletion
from securetenant.engine.writer import _steps
from securetenant.kube.wire import decode
from securetenant.model.kinds import (
    CALICO_IP_POOL,
    CILIUM_POD_IP_POOL,
    CLUSTER_NETWORK_POLICY,
    KUBE_OVN_SUBNET,
    NAMESPACE,
    NETWORK_POLICY,
    Kind,
)
from securetenant.model.objects import Json, Observed, Ref
from securetenant.model.platform import Platform
from tests.support.cni import addresses, reading
from tests.support.cni.values import Cluster, ClusterPolicy, Plugin, Policy, Subnet
from tests.support.world import CREATED, NOW, StaticWorld, value

CONTROLS: Final[tuple[Control, ...]] = (namespaces.CONTROL, subnets.CONTROL, network.CONTROL)
KINDS: Final[Mapping[Plugin, Kind]] = {
    "KubeOVN": KUBE_OVN_SUBNET,
    "Calico": CALICO_IP_POOL,
    "Cilium": CILIUM_POD_IP_POOL,
}
_ROUNDS: Final = 6  # passes over all tenants until nothing is left to write

Watch: TypeAlias = Callable[["Enacted", str], None]


def _unwatched(cluster: "Enacted", step: str) -> None:
    pass


class Enacted(StaticWorld):
    """The operator's World over what was written. `plugin`: the network plug-in that is installed. `watch` is called
    after every single write, with what was written."""

    def __init__(
        self,
        plugin: Plugin,
        tenants: Sequence[SecureTenant],
        objects: Sequence[Observed],
        platform: Platform,
        order: Random,
        now: datetime = NOW,
    ) -> None:
        self.plugin, self.order, self.now = plugin, order, now
        self.bodies: dict[Ref, Json] = {}
        self.watch: Watch = _unwatched
        self._version = 0
        absent = {kind for name, kind in KINDS.items() if name != plugin}
        super().__init__(tenants, (), platform, absent)
        self.put_objects(*objects)

    def put_objects(self, *objects: Observed) -> None:
        """Objects that others make."""
        for one in objects:
            self._keep(one.ref, _body(one))

    def settle(self, watch: Watch = _unwatched) -> None:
        """Passes over all tenants, in any order, until nothing is left to write."""
        self.watch = watch
        for _ in range(_ROUNDS):
            if not sum(self.reconcile(name) for name in self._names()):
                return
        raise AssertionError({name: self.assessed(name).findings for name in self._names()})

    def _names(self) -> list[str]:
        names = sorted(self.known.names())
        self.order.shuffle(names)
        return names

    def assessed(self, name: str) -> Assessment:
        tenant = self.tenant(name)
        assert tenant is not None
        return assess(tenant, self, self.now, controls=CONTROLS)

    def reconcile(self, name: str) -> bool:
        """One pass over a tenant, its writes one by one in the writer's order. Whether anything was left to do."""
        tenant = self.tenant(name)
        assert tenant is not None
        if tenant.metadata.deletion_timestamp is not None:
            return self._depart(tenant)
        if tenant.spec.mode != "Enforce":
            return False
        found = self.assessed(name)
        self.addresses.reserve(name, found.reserved)
        todo = [finding for finding in found.findings if finding.action != "Keep"]
        for step in _steps(todo):
            self.order.shuffle(step)
            for finding in step:
                for request in writes.of(finding, name, tenant.metadata.uid, value(finding.ref.name)):
                    self._send(request)
        return self._report(tenant, found) or bool(todo)

    def _depart(self, tenant: SecureTenant) -> bool:
        """What the deletion of a SecureTenant does: the namespaces go, or everything is released."""
        doomed = deletion.doomed(tenant, self) if tenant.spec.deletion_policy == "Delete" else []
        for request in deletion.deletions(doomed):
            self._send(request)
        for step in _steps(deletion.releases(tenant, self)):
            self.order.shuffle(step)
            for finding in step:
                for request in writes.of(finding, tenant.name, tenant.metadata.uid):
                    self._send(request)
        self.drop(tenant.name)
        return True

    def _report(self, tenant: SecureTenant, found: Assessment) -> bool:
        """What the pass leaves in the tenant's status, as far as plans read it. Whether it changed."""
        parts = {key: part for plan in found.plans.values() for key, part in plan.status.items()}
        held = {name: self.get(Ref(NAMESPACE, "", name)) for name in found.held}
        standing = [NamespaceStatus(name=name, uid=have.uid) for name, have in held.items() if have is not None]
        applied = grouped(want.ref for want in found.desired if self.get(want.ref) is not None)
        after: SecureTenantStatus = tenant.status.model_copy(
            update={**parts, "namespaces": standing, "applied": applied},
        )
        if after == tenant.status:
            return False
        self.put(tenant.model_copy(update={"status": after}))
        return True

    # --- what the API server does

    def _send(self, request: Request) -> None:
        ref = request.ref
        body: Any = request.body
        match request.verb:
            case "create":
                assert ref not in self.bodies, f"{ref} exists"
                metadata = {**body["metadata"], "uid": f"uid-{ref}", "creationTimestamp": CREATED}
                self._keep(ref, {**body, "metadata": metadata})
            case "replace":
                kept: Any = self.bodies[ref]["metadata"]
                metadata = {**body["metadata"], "uid": kept["uid"], "creationTimestamp": kept["creationTimestamp"]}
                self._keep(ref, {**body, "metadata": metadata})
            case "merge":
                merged: Any = _merged(self.bodies[ref], body)
                self._keep(ref, merged)
            case "delete":
                self._forget(ref)
            case _:
                raise AssertionError(request)
        self.watch(self, f"{request.verb} {ref}")

    def _keep(self, ref: Ref, body: Json) -> None:
        self._version += 1
        metadata: Any = body["metadata"]
        self.bodies[ref] = {**body, "metadata": {**metadata, "resourceVersion": str(self._version)}}
        if ref.kind is KUBE_OVN_SUBNET:
            ready: Any = [{"type": kind, "status": "True"} for kind in ("Validated", "Ready")]
            self.bodies[ref]["status"] = {"conditions": ready}
        self._change(ref, decode(ref.kind, msgspec.json.encode(self.bodies[ref])))
        if self.plugin == "KubeOVN" and ref.kind in (NAMESPACE, KUBE_OVN_SUBNET):
            self._bind()

    def _forget(self, ref: Ref) -> None:
        del self.bodies[ref]
        self._change(ref, None)
        if ref.kind is NAMESPACE:
            for inside in [one for one in self.bodies if one.namespace == ref.name]:
                self._forget(inside)

    def _bind(self) -> None:
        """Kube-OVN says on every namespace, where nothing is said, which Subnets it is in."""
        found = self.subnets()
        for ref in [one for one in self.bodies if one.kind is NAMESPACE]:
            metadata: Any = self.bodies[ref]["metadata"]
            annotations = {**metadata.get("annotations", {})}
            switch = addresses.bound(ref.name, found)
            if annotations.get(addresses.SWITCH) != switch:
                annotations[addresses.SWITCH] = switch
                self._keep(ref, {**self.bodies[ref], "metadata": {**metadata, "annotations": annotations}})

    # --- what the network plug-in makes of it

    def objects_of(self, kind: Kind) -> Iterator[tuple[Ref, Any]]:
        yield from sorted(((ref, body) for ref, body in self.bodies.items() if ref.kind is kind), key=lambda p: p[0])

    def subnets(self) -> tuple[Subnet, ...]:
        return tuple(reading.subnet(ref.name, body["spec"]) for ref, body in self.objects_of(KUBE_OVN_SUBNET))

    def pools(self) -> list[addresses.Pool]:
        """What gives out addresses; for no plug-in, nothing does."""
        match self.plugin:
            case "KubeOVN":
                return [addresses.Pool(one.name, one.blocks) for one in self.subnets()]
            case "Calico":
                return [reading.ip_pool(ref.name, body["spec"]) for ref, body in self.objects_of(CALICO_IP_POOL)]
            case "Cilium":
                found = self.objects_of(CILIUM_POD_IP_POOL)
                return [reading.cilium_pool(ref.name, body["spec"]) for ref, body in found]
        return []

    def annotations_of(self, namespace: str) -> dict[str, str]:
        """None for a namespace that does not exist."""
        body: Any = self.bodies[Ref(NAMESPACE, "", namespace)]
        return body["metadata"].get("annotations") or {}

    def enforced(self, *more: Policy, blocks_match_pods: bool = True) -> Cluster:
        """What the plug-in enforces now; `more`: NetworkPolicies that others made."""
        found = [
            reading.policy(ref.namespace, ref.name, body["spec"], body["metadata"].get("annotations") or {})
            for ref, body in self.objects_of(NETWORK_POLICY)
        ]
        return Cluster(
            self.plugin,
            (*found, *more),
            self.subnets(),
            tuple(
                ClusterPolicy(body["spec"], age)
                for age, (_, body) in enumerate(self.objects_of(CLUSTER_NETWORK_POLICY))
            ),
            blocks_match_pods=blocks_match_pods and self.plugin != "Cilium",
            has_cluster_policies=self.plugin != "Cilium",
        )


def _body(one: Observed) -> Json:
    """An object of the test's own as the API server has it."""
    metadata: Json = {
        "name": one.ref.name,
        "namespace": one.ref.namespace,
        "uid": one.uid,
        "creationTimestamp": one.created,
        "labels": dict(one.labels),
        "annotations": dict(one.annotations),
    }
    return {"metadata": metadata, **{key: msgspec.json.decode(raw) for key, raw in one.fields.items()}}


def _merged(have: Any, patch: Any) -> Any:
    """A merge patch, RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(have) if isinstance(have, dict) else {}
    for key, new in patch.items():
        if new is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), new)
    return found
