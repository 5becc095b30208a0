"""The cache of SecureTenants, filled by kopf's events and kept small: compressed JSON, parsed on demand.

A spec that the models refuse (admitted by an older schema, or by CRD ratcheting) changes nothing: the last accepted
spec stays in force, for as long as this process knows it.
"""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec
from pydantic.alias_generators import to_camel

from securetenant.api.refused import Refusal, metadata_of, parse, status_of
from securetenant.api.tenant import (
    Metadata,
    SecureTenant,
)
from securetenant.cache.triggers import TokenIndex, read, tokens, tokens_of, tokens_of_change, tokens_of_told, told
from securetenant.controls.world import Lookup
from securetenant.model import names
from securetenant.model.kinds import Kind
from securetenant.model.objects import Json, Observed

# How many UIDs of deleted SecureTenants are remembered.
_GONE = 4096
# How many parsed models are kept: 50 KiB each, against 0.1 ms to parse one again.
_PARSED = 32
# The metadata fields that are kept: no managedFields.
_METADATA = frozenset(map(to_camel, Metadata.model_fields))


class _Status(msgspec.Struct):
    status: dict[str, Any] = {}


Applied = dict[str, list[str]]  # status.applied: namespace -> ["Kind/name", ...]


class _AppliedOf(msgspec.Struct):
    applied: Any = None


class _Applied(msgspec.Struct):
    status: _AppliedOf = msgspec.field(default_factory=_AppliedOf)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The last spec that the models accepted, packed as in `Entry`, and its generation."""

    packed: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One SecureTenant as last seen. `uid` and `generation` distinguish an edit from our own status write; `observed`
    is the status's observedGeneration. `packed`: its JSON, compressed by zlib (to a quarter, in 50 us). `accepted` is
    set only where the newest spec is refused (`problem`) and an earlier one was accepted. `parsed`: whether the models
    have parsed it; until then `problem` means nothing."""

    packed: bytes
    uid: str
    resource_version: int
    generation: int
    observed: int
    deleting: bool
    finalized: bool
    problem: str = ""
    accepted: Accepted | None = None
    parsed: bool = True


class Tenants:
    """The cache of SecureTenants, with the index of the events that concern them."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        # The UIDs of deleted SecureTenants, the oldest first: a list that began before the deletion, or an event that
        # was held back, may still contain them.
        self._gone: dict[str, None] = {}
        self._parsed: OrderedDict[str, SecureTenant] = OrderedDict()
        self.index = TokenIndex()
        # How the triggers look objects up; set to the world's look-up.
        self.lookup: Lookup = _none_known
        # Puts what a spec refers to in place of the reference; set by the world.
        self.resolve: Callable[[SecureTenant], SecureTenant] = lambda tenant: tenant
        # Told of the subnets in each status, by namespace: set to the world's `addresses.recall`.
        self.recall: Callable[[str, Mapping[str, Iterable[str]]], None] = lambda name, cidrs: None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> Collection[str]:
        return self._entries.keys()

    def uids(self) -> dict[str, str]:
        """The known tenants: name -> UID."""
        return {name: entry.uid for name, entry in self._entries.items()}

    def load(self, body: Mapping[str, Any]) -> None:
        """Store a tenant from a list made before any reconcile. It is parsed on first use."""
        metadata = _kept(body["metadata"])
        name = metadata["name"]
        if metadata["uid"] in self._gone:
            return
        text = msgspec.json.encode({**body, "metadata": metadata})
        sketch = read(text)
        if name in self._entries or sketch is None:
            self.observe("ADDED", body)
            return
        self._entries[name] = _entry(_packed(text), metadata, sketch.status.observed_generation, parsed=False)
        self.index.replace(name, tokens(sketch, recorded=True))
        self.recall(name, {one.namespace: one.cidrs for one in sketch.status.subnets})

    def _known(self, name: str) -> Entry | None:
        """A tenant's entry, parsed if it was not yet; None if unknown."""
        entry = self._entries.get(name)
        if entry is None or entry.parsed:
            return entry
        tenant, problem = parse(_unpacked(entry.packed))
        entry = self._entries[name] = replace(entry, problem=problem, parsed=True)
        self.index.replace(name, _tokens(entry, tenant))
        self._keep(name, tenant)
        return entry

    def observe(self, event_type: str | None, body: Mapping[str, Any]) -> set[str]:
        """Store an event; returns the tenants to reconcile because of it.

        An event without news (our own status write, an older version) concerns none.
        """
        metadata = body["metadata"]
        name = metadata["name"]
        before = self._entries.get(name)
        version = int(metadata["resourceVersion"])
        if event_type == "DELETED":
            self._gone[metadata["uid"]] = None
            while len(self._gone) > _GONE:
                del self._gone[next(iter(self._gone))]
            is_older = before is not None and before.uid != metadata["uid"] and version <= before.resource_version
            return set() if is_older else self.remove(name)
        if metadata["uid"] in self._gone:
            return set()
        if before is not None and before.uid == metadata["uid"] and version <= before.resource_version:
            return set()
        entry = self._store(body)
        if before is not None and _same_intent(before, entry):
            # Only the status or metadata changed, and not by us: reconcile this tenant, and who reads its status.
            return {name} | self._told(name, before, entry)
        return self._reindex(name, entry)

    def store(self, raw: bytes) -> set[str]:
        """Store the answer to our own write, so that the event of that write is no news. Returns the tenants to
        reconcile, usually none.

        The answer is the whole object and includes any edit made in between, whose own event will be older than what is
        stored then and be ignored: so the edit has to be noticed here.
        """
        body = msgspec.json.decode(raw)
        name = body["metadata"]["name"]
        before = self._entries.get(name)
        if before is None or int(body["metadata"]["resourceVersion"]) <= before.resource_version:
            return set()
        entry = self._store(body)
        if not _same_intent(before, entry):
            return self._reindex(name, entry)
        # Somebody removed our finalizer before our write: it has to be put back while there is time.
        lost = before.finalized and not entry.finalized and not entry.deleting
        return ({name} if lost else set()) | self._told(name, before, entry)

    def _told(self, name: str, before: Entry, after: Entry) -> set[str]:
        """The tenants whose plans read what changed in the status."""
        if told(zlib.decompress(before.packed)) == told(zlib.decompress(after.packed)):
            return set()
        return self.index.tenants(tokens_of_told(name, self.index.tokens(name), self.lookup))

    def remove(self, name: str) -> set[str]:
        """Forget a tenant; returns the tenants that this concerns, itself included."""
        if self._entries.pop(name, None) is None:
            return set()
        self._parsed.pop(name, None)
        self.recall(name, {})
        before = self.index.tokens(name)
        self.index.remove(name)
        return {name} | self.index.tenants(tokens_of_change(name, before, self.lookup))

    def get(self, name: str) -> SecureTenant | None:
        """The parsed tenant, resolved; None if unknown. If the models refuse its spec, it has the last accepted spec
        instead, or a bare one (see `parse`)."""
        entry = self._known(name)
        if entry is None:
            return None
        parsed = self._parsed.get(name)
        if parsed is None:
            parsed, _ = parse(_unpacked(entry.packed), _spec(entry.accepted))
        self._keep(name, parsed)
        return self.resolve(parsed)

    def _keep(self, name: str, parsed: SecureTenant) -> None:
        self._parsed[name] = parsed
        self._parsed.move_to_end(name)
        if len(self._parsed) > _PARSED:
            self._parsed.popitem(last=False)

    def status(self, name: str) -> Json:
        """The status as last seen, as plain JSON; {} if there is none."""
        entry = self._entries.get(name)
        return msgspec.json.decode(zlib.decompress(entry.packed), type=_Status).status if entry is not None else {}

    def applied(self, name: str) -> tuple[str, Applied]:
        """The tenant's UID and its `status.applied`; far cheaper than parsing all of it."""
        entry = self._entries[name]
        found = msgspec.json.decode(zlib.decompress(entry.packed), type=_Applied).status.applied
        try:
            return entry.uid, msgspec.convert(found or {}, type=Applied)
        except msgspec.ValidationError:
            return entry.uid, {}  # not written by us

    def generation_lag(self, name: str) -> int:
        """How many generations the status lags behind."""
        entry = self._entries.get(name)
        return max(0, entry.generation - entry.observed) if entry is not None else 0

    def problem(self, name: str) -> str:
        """Why the models refuse the tenant's spec; "" if they accept it."""
        entry = self._known(name)
        return entry.problem if entry is not None else ""

    def refusal(self, name: str) -> Refusal | None:
        """The same, with the generation whose spec is kept in its place (0: none); None if they accept it."""
        entry = self._known(name)
        if entry is None or not entry.problem:
            return None
        return Refusal(entry.problem, entry.accepted.generation if entry.accepted is not None else 0)

    def _store(self, body: Mapping[str, Any]) -> Entry:
        metadata = _kept(body["metadata"])
        before = self._known(metadata["name"])
        known = self._parsed.get(metadata["name"])
        accepted = None
        if before is not None and known is not None and _same_spec(before, metadata):
            # Parsing the spec is the most expensive part of an event, and our own writes do not change it.
            parsed, problem = _with_news(known, metadata, body.get("status")), before.problem
            accepted = before.accepted
        else:
            parsed, problem = parse({**body, "metadata": metadata})
            if problem and "deletionTimestamp" not in metadata and (accepted := _last_accepted(before, metadata)):
                parsed, _ = parse({**body, "metadata": metadata}, _spec(accepted))
        packed = _packed(msgspec.json.encode({**body, "metadata": metadata}))
        entry = _entry(packed, metadata, parsed.status.observed_generation or 0, problem=problem, accepted=accepted)
        self._entries[parsed.name] = entry
        self._keep(parsed.name, parsed)
        self.recall(parsed.name, {one.namespace: one.cidrs for one in parsed.status.subnets})
        return entry

    def _reindex(self, name: str, entry: Entry) -> set[str]:
        before = self.index.tokens(name)
        # A tenant that is being deleted declares nothing to its peers any more, but holds its namespaces until the end.
        after = _tokens(entry, self._parsed[name])
        self.index.replace(name, after)
        return {name} | self.index.tenants(tokens_of_change(name, before | after, self.lookup))


def _tokens(entry: Entry, tenant: SecureTenant) -> frozenset[str]:
    """The tokens of the spec that is in force; where the newest one is refused, that is the one in `tenant`."""
    sketch = read(zlib.decompress(entry.packed)) if not entry.problem else None
    return tokens(sketch) if sketch is not None else tokens_of(tenant)


def _entry(packed: bytes, metadata: Mapping[str, Any], observed: int, **other: Any) -> Entry:
    return Entry(
        packed=packed,
        uid=metadata["uid"],
        resource_version=int(metadata["resourceVersion"]),
        generation=int(metadata["generation"]),
        observed=observed,
        deleting="deletionTimestamp" in metadata,
        finalized=bool(metadata.get("finalizers")),
        **other,
    )


def _kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that is used, with one annotation only: in another one kubectl keeps a copy of the whole spec."""
    kept = {key: value for key, value in metadata.items() if key in _METADATA}
    annotations = kept.pop("annotations", None) or {}
    if names.ANNOTATION_CREATING in annotations:
        kept["annotations"] = {names.ANNOTATION_CREATING: annotations[names.ANNOTATION_CREATING]}
    return kept


def _packed(text: bytes) -> bytes:
    """Compressed by zlib, with a window for texts of a few KB: the default one takes 256 KB of memory per call."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 12, 5)
    return packer.compress(text) + packer.flush()


def _unpacked(packed: bytes) -> Json:
    return cast(Json, msgspec.json.decode(zlib.decompress(packed)))


def _spec(accepted: Accepted | None) -> Json | None:
    return _unpacked(accepted.packed) if accepted is not None else None


def _last_accepted(before: Entry | None, metadata: Mapping[str, Any]) -> Accepted | None:
    """What was in force before this refused spec; None if it belonged to another SecureTenant of the same name."""
    if before is None or before.uid != metadata["uid"]:
        return None
    if before.problem:
        return before.accepted
    return Accepted(_packed(msgspec.json.encode(_unpacked(before.packed)["spec"])), before.generation)


def _none_known(kind: Kind, keys: Iterable[str]) -> Iterable[Observed]:
    return ()


def _same_spec(before: Entry, metadata: Mapping[str, Any]) -> bool:
    return (before.uid, before.generation) == (metadata["uid"], metadata["generation"])


def _with_news(known: SecureTenant, metadata: Mapping[str, Any], status: object) -> SecureTenant:
    return known.model_copy(update={"metadata": metadata_of(metadata), "status": status_of(status)})


def _same_intent(before: Entry, after: Entry) -> bool:
    return (before.uid, before.generation, before.deleting) == (after.uid, after.generation, after.deleting)
