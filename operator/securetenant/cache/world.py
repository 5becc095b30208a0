"""The cluster as the caches hold it: what the controls read, and which tenants an event concerns."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from securetenant.api.tenant import SecureTenant
from securetenant.cache.addresses import Addresses
from securetenant.cache.index import Index
from securetenant.cache.triggers import (
    TokenIndex,
    implications,
    selections,
    tokens_of_change,
    tokens_of_event,
    tokens_of_told,
)
from securetenant.controls import ownership
from securetenant.controls.control import Selection
from securetenant.controls.lookup import CACHED
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import Pods
from securetenant.model.kinds import NAMESPACE, NODE, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from securetenant.model.probe import Probed


class Cache(Protocol):
    """One kind's objects: an informer or a snapshot."""

    def get(self, ref: Ref) -> Observed | None: ...

    def in_namespace(self, namespace: str) -> Iterable[Observed]: ...


class Tenants(Protocol):
    """The SecureTenants: updated by events, or given once."""

    index: TokenIndex
    resolve: Callable[[SecureTenant], SecureTenant]

    def get(self, name: str) -> SecureTenant | None: ...


_RESOLVE: Final = tuple(control.resolve for control in CONTROLS if control.resolve is not None)


def indexes() -> dict[Kind, Index]:
    """The indexes that a World needs, by kind; call `Index.change` for every change of the kind's cache."""
    keys: dict[Kind, list[Callable[[Observed], Iterable[str]]]] = {}
    for kind in CACHED:
        if not kind.namespaced:
            keys[kind] = [_mark]
    for control in CONTROLS:
        for kind, more in control.indexes.items():
            keys.setdefault(kind, []).append(more)
    return {kind: Index(_joined(functions)) for kind, functions in keys.items()}


def _joined(functions: Sequence[Callable[[Observed], Iterable[str]]]) -> Callable[[Observed], Iterable[str]]:
    return lambda observed: {key for keys in functions for key in keys(observed)}


def _mark(observed: Observed) -> Iterable[str]:
    return (f"mark:{observed.tenant}",) if observed.tenant else ()


class World:
    """Implements `controls.world.World` over the caches. `probes`: the answers to the controls' trials, by control."""

    def __init__(
        self,
        caches: Mapping[Kind, Cache],
        indexes: Mapping[Kind, Index],
        tenants: Tenants,
        platform: Platform,
        serves: Callable[[Kind], bool] = lambda kind: True,
        pods_on: Callable[[str], Pods] = lambda node: Pods(is_known=False),
        addresses: Addresses | None = None,
    ) -> None:
        self._caches = caches
        self._indexes = indexes
        self._tenants = tenants
        self._platform = platform
        self._serves = serves
        self.probes: dict[str, Probed] = {}
        self._pods_on = pods_on
        self._addresses = addresses if addresses is not None else Addresses(platform.cluster_cidrs)
        tenants.index.watch(self._addresses.owned.declared)
        tenants.resolve = self._resolved

    @property
    def platform(self) -> Platform:
        return self._platform

    @property
    def addresses(self) -> Addresses:
        return self._addresses

    def serves(self, kind: Kind) -> bool:
        return self._serves(kind)

    def probed(self, control: str) -> Probed | None:
        return self.probes.get(control)

    def tenant(self, name: str) -> SecureTenant | None:
        return self._tenants.get(name)

    def _resolved(self, tenant: SecureTenant) -> SecureTenant:
        for resolve in _RESOLVE:
            tenant = resolve(tenant, self)
        return tenant

    def count(self, token: str) -> int:
        return len(self._tenants.index.tenants((token,)))

    def declaring(self, namespace: str) -> Collection[SecureTenant]:
        return self._parsed(f"ns:{namespace}")

    def having(self, tokens: Iterable[str]) -> Collection[SecureTenant]:
        found = [tenant for token in dict.fromkeys(tokens) for tenant in self._parsed(token)]
        return list({tenant.name: tenant for tenant in found}.values())

    def _parsed(self, token: str) -> list[SecureTenant]:
        index = self._tenants.index
        found = [(name, self._tenants.get(name)) for name in index.tenants((token,))]
        # A tenant that is parsed only now may turn out not to have the token.
        return [tenant for name, tenant in found if tenant is not None and token in index.tokens(name)]

    def get(self, ref: Ref) -> Observed | None:
        return self._caches[ref.kind].get(ref)

    def in_namespace(self, kind: Kind, namespace: str) -> Iterable[Observed]:
        return self._caches[kind].in_namespace(namespace)

    def marked(self, kind: Kind, tenant: str) -> Iterable[Observed]:
        """The objects with the tenant's mark. Namespaced ones are looked for only in namespaces that the tenant has, or
        had according to its status: elsewhere its mark means nothing."""
        if not kind.namespaced:
            return self._indexes[kind].get(f"mark:{tenant}")
        known = self._tenants.get(tenant)
        if known is None:
            return ()
        places = {entry.name for entry in known.spec.namespaces} | set(known.status.applied)
        # A namespace that is being released keeps its mark until its contents have lost theirs.
        places |= {o.ref.name for o in self._indexes[NAMESPACE].get(f"mark:{tenant}")}
        return [o for place in sorted(places) if place for o in self.in_namespace(kind, place) if o.tenant == tenant]

    def indexed(self, kind: Kind, keys: Iterable[str]) -> Iterable[Observed]:
        index = self._indexes[kind]
        return {observed.ref: observed for key in keys for observed in index.get(key)}.values()

    def pods_on(self, node: str) -> Pods:
        return self._pods_on(node)

    def concerned_by_ranges(self) -> set[str]:
        """The tenants to reconcile because the cluster's own addresses changed in a block that their plans ask for."""
        index, owned = self._tenants.index, self._addresses.owned
        found: set[str] = set()
        for block in owned.changed():
            tenants = index.tenants((f"cidr:{block}",))
            found |= tenants
            if not tenants:
                owned.forget(block)
        return found

    def concerned_on(self, node: str, pod: Observed | None = None) -> set[str]:
        """The tenant that has the node, by its label, unless the pod is the tenant's own."""
        labelled = self.get(Ref(NODE, "", node))
        if labelled is None or not labelled.tenant:
            return set()
        holder = ownership.holder(pod.ref.namespace, self) if pod is not None else None
        is_own = holder is not None and holder.name == labelled.tenant
        return set() if is_own else self._tenants.index.tenants({f"tenant:{labelled.tenant}"})

    def _selected(self, selected: Sequence[Selection]) -> Iterator[str]:
        """The names of the namespaces that are selected. Where no names are given all are looked at, 2 us each."""
        for one in selected:
            if one.named is not None:
                yield from one.named
        wide = [one for one in selected if one.named is None]
        for namespace in self.in_namespace(NAMESPACE, "") if wide else ():
            if any(one.may(namespace) for one in wide):
                yield namespace.ref.name

    def concerned(self, new: Observed, old: Observed | None) -> set[str]:
        """The tenants to reconcile because an object was added, changed or deleted."""
        mirrored = False
        if old is not None and new is not old:
            if _same(old, new):
                return set()
            mirror = new.ref.kind.mirror
            mirrored = mirror is not None and _same(old, new, but=mirror.status[0])
        index = self._tenants.index
        found = index.tenants(tokens_of_event(new, old, mirrored=mirrored))
        for token, implied in implications(new, old):
            users = index.tenants((token,))
            found |= users | index.tenants(
                {other for user in users for other in tokens_of_told(user, index.tokens(user) | implied, self.indexed)}
            )
        # Where a kind comes to be served, every tenant is judged once it is listed.
        if self.serves(new.ref.kind) and (selected := selections(new, old)):
            found |= index.tenants(f"ns:{name}" for name in self._selected(selected))
        if new.ref.kind is NAMESPACE:
            # Whether a namespace's tenant may write there decides what its peers' flows resolve to.
            held = f"ns:{new.ref.name}"
            owners = index.tenants({held, *(f"tenant:{each.tenant}" for each in (new, old) if each is not None)})
            found |= index.tenants(
                {token for owner in owners for token in tokens_of_change(owner, (held,), self.indexed)}
            )
        return found


def _same(old: Observed, new: Observed, but: str = "") -> bool:
    """Whether nothing changed that the operator reads (as with a node's heartbeat), the field `but` aside."""
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
