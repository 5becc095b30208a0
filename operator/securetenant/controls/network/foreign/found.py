"""The policies of other kinds that concern a tenant, and which events concern whom."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final, NamedTuple

import msgspec

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Foreign, Selection
from securetenant.controls.network.foreign import calico, cilium, reading, upstream
from securetenant.controls.network.foreign.reading import Part, Reading
from securetenant.controls.world import World
from securetenant.model.kinds import (
    ADMIN_NETWORK_POLICY,
    BASELINE_ADMIN_NETWORK_POLICY,
    CALICO_GLOBAL_NETWORK_POLICY,
    CALICO_NETWORK_POLICY,
    CILIUM_CLUSTERWIDE_NETWORK_POLICY,
    CILIUM_NETWORK_POLICY,
    CLUSTER_NETWORK_POLICY,
    NAMESPACE,
    NETWORK_POLICY,
    Kind,
)
from securetenant.model.objects import JsonValue, Observed, Ref

# The index key of a policy that can select any namespace.
_ANY: Final = "selects:"


class _Form(NamedTuple):
    """`plugin`: stands before the message where the kind's name does not tell it. `read`: from `spec` and `specs`."""

    plugin: str
    read: Callable[[JsonValue, JsonValue], Reading]


_FORMS: Final[Mapping[Kind, _Form]] = {
    CALICO_NETWORK_POLICY: _Form("Calico", lambda spec, _: calico.read(spec, everywhere=False)),
    CALICO_GLOBAL_NETWORK_POLICY: _Form("Calico", lambda spec, _: calico.read(spec, everywhere=True)),
    CILIUM_NETWORK_POLICY: _Form("", partial(cilium.read, everywhere=False)),
    CILIUM_CLUSTERWIDE_NETWORK_POLICY: _Form("", partial(cilium.read, everywhere=True)),
    ADMIN_NETWORK_POLICY: _Form("", lambda spec, _: upstream.read(spec)),
    BASELINE_ADMIN_NETWORK_POLICY: _Form("", lambda spec, _: upstream.read(spec, baseline=True)),
    CLUSTER_NETWORK_POLICY: _Form("", lambda spec, _: upstream.read(spec)),
}
KINDS: Final = tuple(_FORMS)
_LOCAL: Final = tuple(kind for kind in KINDS if kind.namespaced)
_WIDE: Final = tuple(kind for kind in KINDS if not kind.namespaced)


def read(policy: Observed) -> Reading:
    """What is understood of a policy."""
    parts = (bytes(policy.fields.get(name, b"null")) for name in ("spec", "specs"))
    return _read(policy.ref.kind, *parts)


# A pass over each tenant that a policy selects asks for it, and each pass for those in the tenant's namespaces.
@lru_cache(maxsize=4096)
def _read(kind: Kind, spec: bytes, specs: bytes) -> Reading:
    return _FORMS[kind].read(msgspec.json.decode(spec), msgspec.json.decode(specs))


def foreign(
    tenant: SecureTenant, held: Sequence[str], closed: str, ours: Container[Ref], world: World
) -> list[Foreign]:
    """Those in the tenant's namespaces, and those that select pods of them, or may. `closed`: the name of the
    NetworkPolicy that selects all pods: where it stands, what decides after NetworkPolicies never does. `ours`: what
    this tenant's plan or status names: a mark proves nothing.

    None is removed: what is cluster-scoped is not the tenant's alone, and the rest may be all that a network plug-in
    was told.
    """
    wanted = tenant.spec.network.foreign
    if wanted == "Ignore":
        return []
    suffix = "; foreign: Remove does not delete this kind: delete it yourself" if wanted == "Remove" else ""
    return [Foreign(one.policy, "network", f"{_told(*one)}{suffix}") for one in concerning(held, closed, world, ours)]


class Concerning(NamedTuple):
    """A policy with the parts of it that select pods of some namespaces, or may. `places`: these namespaces, as text;
    "" for a policy of a namespace."""

    policy: Observed
    parts: Sequence[Part]
    places: str = ""


def concerning(
    namespaces: Sequence[str], closed: str, world: World, ours: Container[Ref] = frozenset()
) -> list[Concerning]:
    """Those in these namespaces, and those that select pods of them, or may. `closed`, `ours`: as in `foreign`."""
    found = [
        Concerning(policy, read(policy).parts)
        for kind in _LOCAL
        if world.serves(kind)
        for namespace in namespaces
        for policy in world.in_namespace(kind, namespace)
        if read(policy).parts
    ]
    spaces = [have for name in namespaces if (have := world.get(Ref(NAMESPACE, "", name))) is not None]
    keys = [_ANY, *(f"{_ANY}{have.ref.name}" for have in spaces)]
    for kind in _WIDE:
        if not world.serves(kind):
            continue
        for policy in world.indexed(kind, keys):
            if policy.ref in ours:
                continue
            if chosen := list(_concerned(policy, spaces, closed, world)):
                places = reading.listed([name for name, _ in chosen])
                parts = list({id(part): part for _, listed in chosen for part in listed}.values())
                found.append(Concerning(policy, parts, places))
    return sorted(found, key=lambda one: one.policy.ref)


def _concerned(
    policy: Observed, spaces: Iterable[Observed], closed: str, world: World
) -> Iterator[tuple[str, list[Part]]]:
    """The namespaces that a policy selects, or may, each with the parts that do."""
    understood = read(policy)
    for have in spaces:
        name = have.ref.name
        if understood.last and world.get(Ref(NETWORK_POLICY, name, closed)) is not None:
            continue
        if parts := understood.concerning(name, have.labels):
            yield name, parts


def _told(policy: Observed, parts: Sequence[Part], places: str = "") -> str:
    about = ", ".join(text for text in (_FORMS[policy.ref.kind].plugin, read(policy).about) if text)
    pods = reading.listed(list(dict.fromkeys(part.pods for part in parts))) or "no pods"
    where = f" of {places}" if places else ""
    return f"{f'{about}: ' if about else ''}selects {pods}{where}: {reading.told(parts)}"


# --- which events concern whom


def selection(policy: Observed) -> Selection:
    """Which namespaces a cluster-scoped policy selects, or may."""
    understood = read(policy)
    parts = [part.selects for part in understood.parts]
    return Selection(
        understood.named,
        lambda have: any(selects(have.ref.name, have.labels) is not False for selects in parts),
    )


def keys(policy: Observed) -> list[str]:
    """By which a tenant looks for cluster-scoped policies."""
    named = read(policy).named
    found = [_ANY] if named is None else [f"{_ANY}{name}" for name in named]
    return found + ([at_priority(policy)] if policy.ref.kind is CLUSTER_NETWORK_POLICY else [])


def at_priority(policy: Observed) -> str:
    """By which the policies of one tier and priority are looked up."""
    return f"{policy.at(('spec', 'tier'))}:{policy.at(('spec', 'priority'))}"


INDEXES: Final = dict.fromkeys(_WIDE, keys)
SELECTS: Final = dict.fromkeys(_WIDE, selection)
