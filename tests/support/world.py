"""The operator's World over plain objects, and the objects to fill it with, for tests of the pure core.

    world = StaticWorld(tenants=[tenant("payments", namespaces=["payments-prod"])], objects=[namespace("kube-system")])

Nothing here is a stand-in for behaviour that is under test: indexes and look-ups are the operator's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from securetenant.api.tenant import SecureTenant
from securetenant.cache.addresses import SEEN, Addresses
from securetenant.cache.tenants import Tenants
from securetenant.cache.triggers import IMPLYING
from securetenant.cache.world import World, indexes
from securetenant.controls import commitment
from securetenant.controls.lookup import CACHED, KINDS, NAMED
from securetenant.controls.world import Pods
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NODE, Kind
from securetenant.model.objects import Desired, Json, Observed, Ref, marks
from securetenant.model.platform import Platform
from securetenant.model.record import annotation

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
CREATED = "2026-01-01T00:00:00Z"


class Kept:
    """One kind's objects, in a cache that the test changes."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Observed] = {}
        self._by_namespace: dict[str, dict[Ref, Observed]] = {}

    def get(self, ref: Ref) -> Observed | None:
        return self.objects.get(ref)

    def in_namespace(self, namespace: str) -> Iterable[Observed]:
        return list(self._by_namespace.get(namespace, {}).values())

    def change(self, ref: Ref, new: Observed | None) -> Observed | None:
        """Puts it last; returns what it was."""
        here, old = self._by_namespace.setdefault(ref.namespace, {}), self.objects.pop(ref, None)
        here.pop(ref, None)
        if new is not None:
            self.objects[ref] = here[ref] = new
        return old


class StaticWorld(World):
    """The operator's own World, over tenants and objects that `put` and `drop` change between two looks. `absent`: the
    kinds that the API server does not serve. The admission policies stand as shipped."""

    def __init__(
        self,
        tenants: Iterable[SecureTenant] = (),
        objects: Iterable[Observed] = (),
        platform: Platform | None = None,
        absent: Collection[Kind] = (),
    ) -> None:
        self.kept = {kind: Kept() for kind in CACHED}
        self.by_key, self.known = indexes(), Tenants()
        self.pods: dict[str, Pods] = {}  # by node; none where nothing is given
        platform = platform or Platform()
        super().__init__(
            *(self.kept, self.by_key, self.known, platform, lambda kind: kind not in absent),
            lambda node: self.pods.get(node, Pods()),
            Addresses(platform.cluster_cidrs),
        )
        self.known.recall = self.addresses.recall
        self._version = 0
        self.put(*tenants, *NAMED["admission"].shipped(), *objects)

    def put(self, *items: SecureTenant | Observed) -> None:
        """Adds or replaces tenants and objects."""
        for item in items:
            if isinstance(item, SecureTenant):
                self._version += 1
                self.known.observe("ADDED", body_of(item, self._version))
            else:
                self._change(item.ref, item)

    def drop(self, key: str | Ref) -> None:
        """Takes out a tenant (by name) or an object (by Ref); no error if it is not there."""
        if isinstance(key, Ref):
            self._change(key, None)
        else:
            self.known.remove(key)

    def objects(self) -> list[Observed]:
        return [observed for kept in self.kept.values() for observed in kept.objects.values()]

    def _change(self, ref: Ref, new: Observed | None) -> None:
        old = self.kept[ref.kind].change(ref, new)
        if ref.kind in self.by_key:
            self.by_key[ref.kind].change(old, new)
        if ref.kind in SEEN:
            self.addresses.change(old, new)
        if ref.kind in IMPLYING:
            self.known.index.change(old, new)


def body_of(tenant: SecureTenant, version: int) -> dict[str, Any]:
    """The tenant as an event has it."""
    body: dict[str, Any] = tenant.model_dump(mode="json", by_alias=True, exclude_none=True)
    body["metadata"] |= {"resourceVersion": str(version), "generation": version}
    return body


def tenant(
    name: str,
    *,
    uid: str = "",
    created: str = CREATED,
    deleting: bool = False,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> SecureTenant:
    """A SecureTenant from its spec's sections as YAML would have them (camelCase inside).

    `namespaces` may be plain names. The UID is `uid-<name>` unless given. It is committed to the creation of its
    namespaces with the values that `mine` gives them.
    """
    spec["namespaces"] = [{"name": n} if isinstance(n, str) else n for n in spec.get("namespaces", [])]
    metadata: dict[str, Any] = {
        "name": name,
        "uid": uid or f"uid-{name}",
        "generation": 1,
        "creationTimestamp": created,
    }
    if deleting:
        metadata |= {"deletionTimestamp": "2026-10-31T00:00:00Z", "finalizers": [names.FINALIZER]}
    made = SecureTenant.model_validate({"metadata": metadata, "spec": spec, "status": dict(status or {})})
    return committed(made, *(entry.name for entry in made.spec.namespaces))


def committed(tenant: SecureTenant, *names_: str) -> SecureTenant:
    """The tenant with commitments to create these namespaces."""
    text = commitment.committed(tenant, {name: commitment.digest(tenant, name, value(name)) for name in names_})
    metadata = tenant.metadata.model_copy(update={"annotations": {names.ANNOTATION_CREATING: text}})
    return tenant.model_copy(update={"metadata": metadata})


def value(namespace: str) -> str:
    """What `mine` creates a namespace with."""
    return f"value-of-{namespace}"


def observed(
    kind: Kind | str,
    name: str,
    namespace: str = "",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    uid: str = "",
    created: str = CREATED,
    deleting: bool = False,
    finalizers: Sequence[str] = (),
    owners: Sequence[str] = (),
    **fields: Any,
) -> Observed:
    """An object as the caches hold it; `fields` are its top-level fields (`spec={...}`, `subjects=[...]`)."""
    ref = Ref(kind if isinstance(kind, Kind) else KINDS[kind], namespace, name)
    others = dict(annotations or {})
    record = others.pop(names.ANNOTATION_APPLIED, None)
    return Observed(
        ref=ref,
        uid=uid or f"uid-{ref}",
        resource_version="1",
        created=created,
        deleting=deleting,
        labels=dict(labels or {}),
        annotations=others,
        finalizers=tuple(finalizers),
        owners=tuple(owners),
        fields={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in fields.items()},
        record=record,
    )


def namespace(name: str, **more: Any) -> Observed:
    """A namespace with the label that the API server itself keeps on it."""
    labels = {names.LABEL_NAMESPACE_NAME: name, **more.pop("labels", {})}
    return observed("Namespace", name, labels=labels, **{"status": {"phase": "Active"}, **more})


def observe(desired: Desired, tenant: SecureTenant, **more: Any) -> Observed:
    """What the cluster holds right after `desired` was written for `tenant`: marks, record and all.

    `more` goes to `observed` (`uid`, `created`, `deleting`; `labels` and `annotations` are added to ours).
    """
    ours = {} if desired.ref.kind is NODE else marks(tenant.name, desired.control)
    record = {names.ANNOTATION_APPLIED: annotation(desired, tenant.name, tenant.metadata.uid)}
    body: Json = dict(desired.body)
    if desired.ref.kind is NODE:
        taint = body.pop("taint", None)
        body["spec"] = {"taints": [taint]} if taint is not None else {}
    extra = {names.LABEL_NAMESPACE_NAME: desired.ref.name} if desired.ref.kind is NAMESPACE else {}
    return observed(
        *(desired.ref.kind, desired.ref.name, desired.ref.namespace),
        labels={**extra, **desired.labels, **ours, **more.pop("labels", {})},
        annotations={**desired.annotations, **record, **more.pop("annotations", {})},
        **{**body, **more},
    )


def cluster_role(name: str, *rights: str, **more: Any) -> Observed:
    """A ClusterRole with a rule for each of "verb,verb group resource,resource [name]" (the group "" as "core")."""
    rules: list[dict[str, Any]] = []
    for verbs, group, resources, *named in (right.split() for right in rights):
        rule = {"verbs": verbs.split(","), "apiGroups": ["" if group == "core" else group]}
        rules.append(rule | {"resources": resources.split(",")} | ({"resourceNames": named} if named else {}))
    return observed("ClusterRole", name, rules=rules, **more)


def mine(tenant: SecureTenant, *names_: str) -> list[Observed]:
    """The namespaces of a tenant (all that its spec names unless told) as we created them: held."""
    wanted = names_ or [entry.name for entry in tenant.spec.namespaces]
    return [
        observe(
            Desired(Ref(NAMESPACE, "", name), "namespaces"),
            tenant,
            annotations={names.ANNOTATION_CREATION: value(name)},
        )
        for name in wanted
    ]
