"""The SecureTenants as kopf's events gave them, kept small: JSON, compressed, parsed on demand."""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from securetenant.api.objects import Json
from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import DeletionPolicy, Metadata, NamespaceSpec, SecureTenant, SecureTenantSpec
from securetenant.engine import interests
from securetenant.engine.interests import Interests
from securetenant.engine.triage import Applied

# Parsed models kept at once: 50 KiB each, against 0.1 ms to parse one anew.
_PARSED = 32
# What is kept of the metadata: no managedFields, and not kubectl's copy of the whole spec in an annotation.
_METADATA = frozenset(map(to_camel, Metadata.model_fields))


class _Status(msgspec.Struct):
    status: dict[str, Any] = {}


class _AppliedOf(msgspec.Struct):
    applied: Any = None


class _Applied(msgspec.Struct):
    status: _AppliedOf = msgspec.field(default_factory=_AppliedOf)


@dataclass(frozen=True, slots=True)
class Entry:
    """One SecureTenant as it was last seen. `uid` and `generation` tell an edit from our own status; `observed` is the
    generation that the status speaks of. `packed`: its JSON, by zlib (a quarter of it, for 50 us)."""

    packed: bytes
    uid: str
    resource_version: int
    generation: int
    observed: int
    deleting: bool
    finalized: bool
    problem: str = ""


class Tenants:
    """The cache of SecureTenants and the index of what concerns them."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._parsed: OrderedDict[str, SecureTenant] = OrderedDict()
        self.interests = Interests()
        # Who selects a node that is also selected by one with these tokens; the world knows the nodes.
        self.node_rivals: Callable[[Iterable[str]], set[str]] = _none_known

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> Collection[str]:
        return self._entries.keys()

    def uids(self) -> dict[str, str]:
        """Which tenants are known: name -> UID."""
        return {name: entry.uid for name, entry in self._entries.items()}

    def observe(self, event_type: str | None, body: Mapping[str, Any]) -> set[str]:
        """Take in an event; the tenants that have to be judged anew because of it.

        An event that is no news (our own status coming back, an older version) concerns nobody.
        """
        metadata = body["metadata"]
        name = metadata["name"]
        before = self._entries.get(name)
        version = int(metadata["resourceVersion"])
        if event_type == "DELETED":
            is_older = before is not None and before.uid != metadata["uid"] and version <= before.resource_version
            return set() if is_older else self.remove(name)
        if before is not None and before.uid == metadata["uid"] and version <= before.resource_version:
            return set()
        entry = self._store(body)
        if before is not None and _same_intent(before, entry):
            # Only the status or labels changed, and not by us: judge this one anew, nobody else.
            return {name}
        return self._rewire(name, entry)

    def store(self, raw: bytes) -> set[str]:
        """Take in the answer to our own write, so that the event of it is no news.

        The answer holds the whole object: an edit that came in between is in it, and its event will be older than
        what is stored. So it is taken as the news that it is: the tenants to judge anew, none as a rule.
        """
        body = msgspec.json.decode(raw)
        name = body["metadata"]["name"]
        before = self._entries.get(name)
        if before is None or int(body["metadata"]["resourceVersion"]) <= before.resource_version:
            return set()
        entry = self._store(body)
        if not _same_intent(before, entry):
            return self._rewire(name, entry)
        # Somebody took our finalizer off before our write: it has to be put back while there is time.
        return {name} if before.finalized and not entry.finalized and not entry.deleting else set()

    def remove(self, name: str) -> set[str]:
        """Forget a tenant; those that it concerned, itself included."""
        if self._entries.pop(name, None) is None:
            return set()
        self._parsed.pop(name, None)
        tokens = self.interests.tokens(name)
        self.interests.replace(name, frozenset())
        touched = interests.touched_by_change(name, tokens, frozenset())
        return {name} | self.interests.tenants(touched) | interests.named_peers(tokens) | self.node_rivals(tokens)

    def get(self, name: str) -> SecureTenant | None:
        """The parsed tenant; None if unknown. One whose spec the models refuse comes back with a bare spec."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        parsed = self._parsed.get(name)
        if parsed is None:
            parsed, _ = parse(msgspec.json.decode(zlib.decompress(entry.packed)))
            self._parsed[name] = parsed
            if len(self._parsed) > _PARSED:
                self._parsed.popitem(last=False)
        else:
            self._parsed.move_to_end(name)
        return parsed

    def status(self, name: str) -> Json:
        """The status as it stands in the cluster, undigested; {} if there is none."""
        entry = self._entries.get(name)
        return msgspec.json.decode(zlib.decompress(entry.packed), type=_Status).status if entry is not None else {}

    def applied(self, name: str) -> tuple[str, Applied]:
        """The tenant's UID, and what its status says it applied; cheaper by far than to parse it all."""
        entry = self._entries[name]
        found = msgspec.json.decode(zlib.decompress(entry.packed), type=_Applied).status.applied
        try:
            return entry.uid, msgspec.convert(found or {}, type=Applied)
        except msgspec.ValidationError:
            return entry.uid, {}  # nothing that we could have written

    def generation_lag(self, name: str) -> int:
        """How many edits no status tells of yet."""
        entry = self._entries.get(name)
        return max(0, entry.generation - entry.observed) if entry is not None else 0

    def problem(self, name: str) -> str:
        """Why the models refuse the tenant's spec; "" if they do not."""
        entry = self._entries.get(name)
        return entry.problem if entry is not None else ""

    def _store(self, body: Mapping[str, Any]) -> Entry:
        metadata = {key: value for key, value in body["metadata"].items() if key in _METADATA}
        before = self._entries.get(metadata["name"])
        known = self._parsed.get(metadata["name"])
        if before is not None and known is not None and _same_spec(before, metadata):
            # Parsing the spec is the dearest part of an event, and our own writes change none.
            parsed, problem = _with_news(known, metadata, body.get("status")), before.problem
        else:
            parsed, problem = parse({**body, "metadata": metadata})
        entry = Entry(
            packed=_packed(msgspec.json.encode({**body, "metadata": metadata})),
            uid=metadata["uid"],
            resource_version=int(metadata["resourceVersion"]),
            generation=int(metadata["generation"]),
            observed=parsed.status.observed_generation or 0,
            deleting="deletionTimestamp" in metadata,
            finalized=bool(metadata.get("finalizers")),
            problem=problem,
        )
        self._entries[parsed.name] = entry
        self._parsed[parsed.name] = parsed
        self._parsed.move_to_end(parsed.name)
        if len(self._parsed) > _PARSED:
            self._parsed.popitem(last=False)
        return entry

    def _rewire(self, name: str, entry: Entry) -> set[str]:
        before = self.interests.tokens(name)
        tenant = self._parsed[name]
        # A tenant that is going declares nothing to its peers any more, but keeps what it holds until it is gone.
        after = interests.of_tenant(tenant)
        self.interests.replace(name, after)
        touched = self.interests.tenants(interests.touched_by_change(name, before, after))
        peers = {peer for peer in interests.named_peers(before | after) if peer in self._entries}
        return {name} | touched | peers | self.node_rivals(before | after)


def _packed(text: bytes) -> bytes:
    """By zlib, with a window for texts of a few KB: the usual one takes 256 KB of memory at each call."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 12, 5)
    return packer.compress(text) + packer.flush()


def _none_known(tokens: Iterable[str]) -> set[str]:
    return set()


def _same_spec(before: Entry, metadata: Mapping[str, Any]) -> bool:
    return (before.uid, before.generation) == (metadata["uid"], metadata["generation"])


def _with_news(known: SecureTenant, metadata: Mapping[str, Any], status: object) -> SecureTenant:
    return known.model_copy(update={"metadata": Metadata.model_validate(metadata), "status": _status(status)})


def _status(raw: object) -> SecureTenantStatus:
    """The status; empty if it is not one that we could have written. The next pass writes it anew."""
    try:
        return SecureTenantStatus.model_validate(raw or {})
    except ValidationError:
        return SecureTenantStatus()


def _same_intent(before: Entry, after: Entry) -> bool:
    return (before.uid, before.generation, before.deleting) == (after.uid, after.generation, after.deleting)


def parse(body: Mapping[str, Any]) -> tuple[SecureTenant, str]:
    """The tenant, and why the models refuse it ("" if they do not).

    A refused spec (let through by an older schema, or by ratcheting) still holds its namespaces, so that no
    other tenant can take them: it comes back Paused with the names and the deletion policy alone, and nothing is
    written for it.
    """
    judged = {**body, "status": _status(body.get("status"))}
    try:
        return SecureTenant.model_validate(judged), ""
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"{where}: {first['msg']}" + (
            f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        )
    spec = body.get("spec")
    entries = spec.get("namespaces") if isinstance(spec, dict) else None
    held: list[NamespaceSpec] = []
    for item in entries if isinstance(entries, list) else []:
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            held.append(NamespaceSpec.model_construct(name=item["name"], labels={}, annotations={}))
    policy = spec.get("deletionPolicy") if isinstance(spec, dict) else None
    kept: DeletionPolicy = "Delete" if policy == "Delete" else "Retain"
    bare = SecureTenantSpec.model_construct(mode="Paused", namespaces=held, deletion_policy=kept)
    known = SecureTenant.model_validate({**{k: v for k, v in judged.items() if k != "spec"}, "spec": {}})
    return known.model_copy(update={"spec": bare}), problem
