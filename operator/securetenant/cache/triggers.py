"""Which tenants an event concerns: each control derives tokens from tenants and from objects (`Triggers`).

A tenant's tokens are read from its JSON, because of starts with thousands of tenants: the models cost 0.3 ms per
tenant, this a tenth of that, so tampering is corrected before most tenants are parsed.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec

from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Selection
from securetenant.controls.registry import CONTROLS
from securetenant.controls.world import Lookup
from securetenant.model.objects import Observed

# Up to this many tenants of one token are kept as a tuple: for more, copying it for each new one costs more than a set.
FEW = 8

_TRIGGERS: Final = tuple(control.triggers for control in CONTROLS if control.triggers is not None)
_SECTIONS: Final = [each.section for each in _TRIGGERS if each.section]
if len(set(_SECTIONS)) < len(_SECTIONS) or "namespaces" in _SECTIONS:
    raise ValueError(f"each section of the spec is read by one control's triggers, and namespaces by none: {_SECTIONS}")


_Named: Final = msgspec.defstruct(
    "_Named", [("name", str), *((name, type_, None) for each in _TRIGGERS for name, type_ in each.entry.items())]
)


class _Held(msgspec.Struct):
    name: str
    uid: str = ""


class _Given(msgspec.Struct):
    namespace: str
    cidrs: list[str] = []


class _Status(msgspec.Struct, rename="camel"):
    observed_generation: int = 0
    namespaces: list[_Held] = []
    subnets: list[_Given] = []


_Spec: Final = msgspec.defstruct(
    "_Spec",
    [
        ("namespaces", list[_Named], msgspec.field(default_factory=list)),  # type: ignore[valid-type]
        *((t.section, t.reads | None, None) for t in _TRIGGERS if t.section),
    ],
)


class Sketch(msgspec.Struct):
    """The part of a SecureTenant that is read without the models. `spec`: its namespaces and the controls' sections."""

    spec: _Spec = msgspec.field(default_factory=_Spec)  # type: ignore[valid-type]
    status: _Status = msgspec.field(default_factory=_Status)


_decode: Final = msgspec.json.Decoder(Sketch).decode


_Told: Final = msgspec.defstruct(
    "_Told", [(name, msgspec.Raw, msgspec.Raw(b"")) for each in _TRIGGERS for name in each.tells], rename="camel"
)
_Telling: Final = msgspec.defstruct("_Telling", [("status", _Told, msgspec.field(default_factory=_Told))])
_decode_told: Final = msgspec.json.Decoder(_Telling).decode


def told(text: bytes) -> tuple[bytes, ...]:
    """What a SecureTenant's status tells other tenants' plans, from its JSON, to be compared (`Triggers.tells`)."""
    try:
        status: Any = _decode_told(text).status  # type: ignore[attr-defined]  # composed at runtime
    except msgspec.MsgspecError:
        return ()
    return tuple(bytes(getattr(status, name)) for name in status.__struct_fields__)


def read(text: bytes) -> Sketch | None:
    """A SecureTenant's JSON as a Sketch; None if it does not fit, so that the models have to parse it."""
    try:
        return _decode(text)
    except msgspec.MsgspecError:
        return None


def tokens(sketch: Sketch, *, recorded: bool = False) -> frozenset[str]:
    """The tokens of a tenant. `recorded`: also those of the namespaces that its status says it holds; a tenant whose
    spec the models refuse may have no others."""
    spec: Any = sketch.spec  # its type is composed at runtime from the controls' own
    namespaces = [entry.name for entry in spec.namespaces]
    found = {f"ns:{name}" for name in namespaces}
    for each in _TRIGGERS:
        section = getattr(spec, each.section) if each.section else None
        found.update(each.tenant(namespaces, section if section is not None else each.reads()))
        found.update(each.entries(spec.namespaces))
    if recorded:
        found |= {f"ns:{held.name}" for held in sketch.status.namespaces if held.uid}
    return frozenset(found)


def tokens_of(tenant: SecureTenant) -> frozenset[str]:
    """The same for a parsed tenant."""
    sketch = read(tenant.model_dump_json(by_alias=True, exclude_none=True, exclude={"status"}).encode())
    return tokens(sketch) if sketch is not None else frozenset()


def tokens_of_event(new: Observed, old: Observed | None, *, mirrored: bool) -> set[str]:
    """The tokens of an object that was added, changed or deleted. `mirrored`: only the part of the status that
    Kubernetes copies from the spec has changed (`Kind.mirror`)."""
    kind, found = new.ref.kind, set[str]()
    if not mirrored:
        found = {f"tenant:{each.tenant}" for each in (new, old) if each is not None and each.tenant}
        if new.ref.place:
            found.add(f"ns:{new.ref.place}")
    for each in _TRIGGERS:
        if kind in each.objects:
            found.update(each.objects[kind](new, old))
    return found


def selections(new: Observed, old: Observed | None) -> list[Selection]:
    """Which namespaces an object selects that was added, changed or deleted, as it is and as it was."""
    selects = [each.selects[new.ref.kind] for each in _TRIGGERS if new.ref.kind in each.selects]
    objects = [each for each in (new, old if old is not new else None) if each is not None]
    return [select(each) for select in selects for each in objects]


def implications(new: Observed, old: Observed | None) -> list[tuple[str, frozenset[str]]]:
    """The token of whoever refers to an object that was added, changed or deleted, and the tokens that it has, or had,
    by that."""
    found = []
    for each in _TRIGGERS:
        if (implies := each.implies.get(new.ref.kind)) is not None:
            token, now = implies(new)
            found.append((token, now | (implies(old)[1] if old is not None else frozenset())))
    return found


def tokens_of_change(tenant: str, tokens: Collection[str], lookup: Lookup) -> set[str]:
    """The tokens of the tenants that a change of this tenant concerns. `tokens`: its own, before and after."""
    return {token for token in tokens if token.startswith("ns:")} | tokens_of_told(tenant, tokens, lookup)


def tokens_of_told(tenant: str, tokens: Collection[str], lookup: Lookup) -> set[str]:
    """The same without the tenants that declare the same namespace (itself among them)."""
    return {token for each in _TRIGGERS for token in each.spreads(tenant, tokens, lookup)}


#: The kinds whose changes a `TokenIndex` has to see.
IMPLYING: Final = tuple(kind for each in _TRIGGERS for kind in each.implies)


class TokenIndex:
    """An index from token to tenants, updated as tenants are added, changed and removed. `change` is to be called for
    every change of the caches of the kinds in `IMPLYING`.

    It holds tuples, since most tokens belong to a single tenant and sets would take 2 KB more per tenant, but sets for
    tokens with many tenants (a role's are all tenants).
    """

    def __init__(self) -> None:
        self._by_token: dict[str, tuple[str, ...] | set[str]] = {}
        self._by_tenant: dict[str, tuple[str, ...]] = {}
        # What a token implies; and, the other way round, the tokens that imply one.
        self._implied: dict[str, frozenset[str]] = {}
        self._implying: dict[str, set[str]] = {}
        self._watcher: Callable[[str, bool], None] = lambda token, is_there: None

    def watch(self, watcher: Callable[[str, bool], None]) -> None:
        """Call it for each token that any tenant has (True), and from now on whenever the first one gets it (True), or
        the last one loses it (False)."""
        self._watcher = watcher
        for token in self._by_token:
            watcher(token, True)

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """An object that specs may refer to was added (no old), changed, or deleted (no new)."""
        for observed in (one for one in (old, new) if one is not None):
            for token, implied in implications(observed, None):
                self._imply(token, implied if observed is new else frozenset())

    def _imply(self, token: str, implied: frozenset[str]) -> None:
        before = self._implied.pop(token, frozenset())
        if implied:
            self._implied[token] = implied
        for other in before - implied:
            self._implying[other].discard(token)
            if not self._implying[other]:
                del self._implying[other]
        for other in implied - before:
            self._implying.setdefault(other, set()).add(token)

    def replace(self, tenant: str, tokens: frozenset[str]) -> None:
        """Set the tenant's tokens."""
        before = frozenset(self._by_tenant.get(tenant, ()))
        for token in before - tokens:
            self._leave(token, tenant)
        for token in tokens - before:
            self._join(token, tenant)
        self._by_tenant[tenant] = tuple(tokens)

    def remove(self, tenant: str) -> None:
        """Forget a tenant."""
        self.replace(tenant, frozenset())
        del self._by_tenant[tenant]

    def _join(self, token: str, tenant: str) -> None:
        members = self._by_token.get(token, ())
        if not members:
            self._watcher(token, True)
        if isinstance(members, set):
            members.add(tenant)
        else:
            self._by_token[token] = {*members, tenant} if len(members) >= FEW else (*members, tenant)

    def _leave(self, token: str, tenant: str) -> None:
        members = self._by_token[token]
        if isinstance(members, set):
            members.discard(tenant)
        else:
            members = self._by_token[token] = tuple(other for other in members if other != tenant)
        if not members:
            del self._by_token[token]
            self._watcher(token, False)

    def tokens(self, tenant: str) -> frozenset[str]:
        """Its own, and what they imply."""
        own = frozenset(self._by_tenant.get(tenant, ()))
        if not self._implied:
            return own
        return own.union(*(self._implied[token] for token in own if token in self._implied))

    def tenants(self, tokens: Iterable[str]) -> set[str]:
        """Every tenant that has one of these tokens, or that one of them names ("tenant:<name>")."""
        found = set[str]()
        for token in tokens:
            for having in (token, *self._implying.get(token, ())):
                found.update(self._by_token.get(having, ()))
            if token.startswith("tenant:") and (name := token.removeprefix("tenant:")) in self._by_tenant:
                found.add(name)
        return found
