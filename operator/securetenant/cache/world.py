"""The cluster as the caches hold it: what the controls look at, and which tenants an event concerns."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from securetenant.api.tenant import SecureTenant
from securetenant.cache import triggers
from securetenant.cache.index import Index
from securetenant.cache.triggers import Interests
from securetenant.controls.access import control as access
from securetenant.controls.quota import control as quota
from securetenant.model import kinds, names
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from securetenant.model.record import node_taint


class Cache(Protocol):
    """One kind's objects: an informer, or a plain listing."""

    def get(self, ref: Ref) -> Observed | None: ...

    def in_namespace(self, namespace: str) -> Iterable[Observed]: ...


class Tenants(Protocol):
    """The SecureTenants: kept up by events, or given once."""

    interests: Interests

    def __contains__(self, name: object) -> bool: ...

    def get(self, name: str) -> SecureTenant | None: ...


def indexes() -> dict[str, Index]:
    """The indexes that a World needs, by kind; they have to hear of every change of their kind's cache."""
    return {kind: Index(keys) for kind, keys in _INDEX.items()}


def _mark_keys(observed: Observed) -> Iterable[str]:
    return (f"mark:{observed.tenant}",) if observed.tenant else ()


def _node_keys(observed: Observed) -> Iterator[str]:
    for label in observed.labels.items():
        yield triggers.node(label)
    taint = node_taint(observed)
    if isinstance(taint, dict):
        yield f"taint:{taint.get('value', '')}"


_INDEX: Mapping[str, Callable[[Observed], Iterable[str]]] = {
    kinds.NAMESPACE.name: _mark_keys,
    kinds.NODE.name: _node_keys,
    kinds.CLUSTER_ROLE_BINDING.name: access.subject_keys_of_binding,
}


class World:
    """Implements `controls.world.World` over the caches."""

    def __init__(
        self, caches: Mapping[str, Cache], indexes: Mapping[str, Index], tenants: Tenants, platform: Platform
    ) -> None:
        self._caches = caches
        self._indexes = indexes
        self._tenants = tenants
        self._platform = platform

    @property
    def platform(self) -> Platform:
        return self._platform

    def tenant(self, name: str) -> SecureTenant | None:
        return self._tenants.get(name)

    def declaring(self, namespace: str) -> Collection[SecureTenant]:
        return self._parsed(f"ns:{namespace}")

    def selecting(self, node_labels: dict[str, str]) -> Collection[SecureTenant]:
        candidates = [tenant for label in node_labels.items() for tenant in self._parsed(triggers.node(label))]
        return [t for t in candidates if t.spec.nodes and _matches(node_labels, t.spec.nodes.selector.match_labels)]

    def _parsed(self, token: str) -> list[SecureTenant]:
        index = self._tenants.interests
        found = [(name, self._tenants.get(name)) for name in index.tenants((token,))]
        # One that was not parsed before may turn out not to have it.
        return [tenant for name, tenant in found if tenant is not None and token in index.tokens(name)]

    def get(self, ref: Ref) -> Observed | None:
        return self._caches[ref.kind].get(ref)

    def in_namespace(self, kind: str, namespace: str) -> Iterable[Observed]:
        return self._caches[kind].in_namespace(namespace)

    def marked(self, kind: str, tenant: str) -> Iterable[Observed]:
        """Namespaced objects are looked for where the tenant is, or by its own record was: elsewhere its mark
        means nothing."""
        if not kinds.KINDS[kind].namespaced:
            return self._indexes[kind].get(f"mark:{tenant}")
        known = self._tenants.get(tenant)
        if known is None:
            return ()
        places = {entry.name for entry in known.spec.namespaces} | set(known.status.applied)
        # A namespace that is being let go keeps its mark until its contents have lost theirs.
        places |= {o.ref.name for o in self._indexes[kinds.NAMESPACE.name].get(f"mark:{tenant}")}
        return [o for place in sorted(places) if place for o in self.in_namespace(kind, place) if o.tenant == tenant]

    def nodes(self, match_labels: dict[str, str]) -> Iterable[Observed]:
        candidates = self._indexes[kinds.NODE.name].get(triggers.node(min(match_labels.items())))
        return [node for node in candidates if _matches(node.labels, match_labels)]

    def tainted(self, tenant: str) -> Iterable[Observed]:
        """The nodes that carry our taint with this tenant's name."""
        return self._indexes[kinds.NODE.name].get(f"taint:{tenant}")

    def cluster_role_bindings(self, subjects: Iterable[str]) -> Iterable[Observed]:
        index = self._indexes[kinds.CLUSTER_ROLE_BINDING.name]
        return {o.ref: o for key in subjects for o in index.get(key)}.values()

    def node_rivals(self, tokens: Iterable[str]) -> set[str]:
        """The tenants that select, by whatever label, a node that one with these tokens may select."""
        index = self._indexes[kinds.NODE.name]
        shared = {node.ref: node for token in tokens if token.startswith("node:") for node in index.get(token)}
        return self._tenants.interests.tenants({key for node in shared.values() for key in _node_keys(node)})

    def concerned(self, new: Observed, old: Observed | None) -> set[str]:
        """The tenants that have to be judged anew because an object came, changed or went."""
        if old is not None and new is not old and _same(old, new):
            return set()
        kind, namespace = new.ref.kind, new.ref.namespace
        index = self._tenants.interests
        if kind == kinds.NAMESPACE.name:
            owners = index.tenants((f"ns:{new.ref.name}",)) | _marks(new, old)
            # What a namespace's owner may write there decides what its peers' flows mean.
            return owners | index.tenants({f"peer:{name}" for name in owners} | {f"platform:{new.ref.name}"})
        if kind == kinds.NODE.name:
            return index.tenants({k for o in (new, old) if o for k in _node_keys(o)}) | _node_marks(new, old)
        if kind == kinds.CLUSTER_ROLE_BINDING.name:
            keys = {key for o in (new, old) if o for key in access.subject_keys_of_binding(o)}
            return index.tenants(f"subject:{key}" for key in keys)
        if kind == kinds.CLUSTER_ROLE.name:
            return index.tenants((f"role:{new.ref.name}",))
        if kind == kinds.ENDPOINT_SLICE.name:
            return index.tenants((triggers.API_SERVER,))
        if old is not None and kind == kinds.RESOURCE_QUOTA.name and _same(old, new, but="status"):
            return index.tenants((f"usage:{namespace}",)) or self._unsettled(new, old)
        return index.tenants((f"ns:{namespace}",)) | {name for name in _marks(new, old) if name in self._tenants}

    def _unsettled(self, new: Observed, old: Observed) -> set[str]:
        """Who has caps there alone hears of use only where Kubernetes does not limit as the quota says (any more)."""
        if new.ref.name != names.CHILD_PREFIX or not quota.concerns_caps(old, new):
            return set()
        return self._tenants.interests.tenants((f"ns:{new.ref.namespace}",))


def _marks(new: Observed, old: Observed | None) -> set[str]:
    return {o.tenant for o in (new, old) if o is not None and o.tenant}


def _node_marks(new: Observed, old: Observed | None) -> set[str]:
    return {o.labels[names.NODE_LABEL_TENANT] for o in (new, old) if o and names.NODE_LABEL_TENANT in o.labels} | {
        key.removeprefix("taint:") for o in (new, old) if o for key in _node_keys(o) if key.startswith("taint:")
    }


def _matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _same(old: Observed, new: Observed, but: str = "") -> bool:
    """Whether nothing changed that anybody here reads (a node's heartbeat), the field `but` aside."""
    return (
        old.uid == new.uid
        and old.deleting == new.deleting
        and old.labels == new.labels
        and old.annotations == new.annotations
        and old.record == new.record
        and old.finalizers == new.finalizers
        and old.owners == new.owners
        and {k: bytes(v) for k, v in old.fields.items() if k != but}
        == {k: bytes(v) for k, v in new.fields.items() if k != but}
    )
