"""Which of the hosts that a tenant declares it holds. Pure.

Two patterns overlap if one host is covered by both. Of two tenants whose patterns overlap the older one holds its own,
and the younger one's is left out whole, whether or not a third tenant takes the older one's from it: so a tenant's
hosts depend on the specs of those alone that it overlaps with.
"""

from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct, field

from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.world import Lookup, World

_HOST = "host:"
# A host without "*", by what follows its first label.
_UNDER = "under:"


def lost(tenant: SecureTenant, world: World) -> dict[str, SecureTenant]:
    """The patterns of the tenant that it does not hold, each with the oldest of the tenants that it overlaps with."""
    found = {}
    for pattern in tenant.spec.exposure.ingress.hosts:
        oldest = min((tenant, *rivals_of(tenant, pattern, world)), key=ownership.age)
        if oldest is not tenant:
            found[pattern] = oldest
    return found


def rivals_of(tenant: SecureTenant, pattern: str, world: World) -> list[SecureTenant]:
    """The other tenants with a pattern that overlaps with this one of the tenant's."""
    others = (one for one in world.having(_overlapping(pattern)) if one.name != tenant.name)
    return [one for one in others if any(overlap(pattern, its) for its in one.spec.exposure.ingress.hosts)]


def overlap(one: str, other: str) -> bool:
    """Whether one host is covered by both patterns. A "*" is one label."""
    return one == other or _wildcard(one) == other or one == _wildcard(other)


def _wildcard(pattern: str) -> str:
    """The wildcard that covers a host; "" where there is none. That of a wildcard is itself."""
    _, dot, parent = pattern.partition(".")
    return f"*.{parent}" if dot else ""


def _overlapping(pattern: str) -> Iterator[str]:
    """The tokens of tenants with a pattern that overlaps."""
    yield f"{_HOST}{pattern}"
    parent = pattern.partition(".")[2]
    if pattern.startswith("*."):
        yield f"{_UNDER}{parent}"
    elif parent:
        yield f"{_HOST}*.{parent}"


# --- which events concern whom


class _Ingress(Struct):
    hosts: list[str] = []


class Section(Struct):
    """The part of `spec.exposure` that is read."""

    ingress: _Ingress | None = field(default_factory=_Ingress)


def listens(namespaces: Sequence[str], section: Section) -> Iterator[str]:
    """A tenant's tokens."""
    for pattern in section.ingress.hosts if section.ingress is not None else ():
        yield f"{_HOST}{pattern}"
        parent = pattern.partition(".")[2]
        if parent and not pattern.startswith("*."):
            yield f"{_UNDER}{parent}"


def rivals(tenant: str, tokens: Collection[str], lookup: Lookup) -> Iterator[str]:
    """The tokens of tenants that declare what this tenant declares or did declare."""
    for token in tokens:
        if token.startswith(_HOST):
            yield from _overlapping(token.removeprefix(_HOST))
