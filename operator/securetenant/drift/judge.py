"""What differs between the desired objects and the cluster, and who caused it: a rollout of ours, or drift.

Better than a server-side-apply diff: objects that are wholly ours are compared exactly, so that an *addition* to them
counts (an `ingress: [{}]` added to a default-deny policy is invisible to apply), and foreign objects beside ours are
judged as well.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from types import MappingProxyType
from typing import Literal

from securetenant.api.status import DriftReason
from securetenant.drift.merge import control_at
from securetenant.model import names
from securetenant.model.difference import differences
from securetenant.model.objects import Desired, Foreign, Json, JsonValue, Observed, Ref, Superseded, at
from securetenant.model.record import (
    annotation,
    entry,
    fields_of,
    intruding,
    is_recorded,
    shared,
    shared_of,
    whole,
    whole_of,
)

Action = Literal["Create", "Replace", "Recount", "Recreate", "Patch", "Delete", "Release", "Keep"]


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One difference: which object, what is to be done, and whether others caused it.

    `rollout`: the desired state changed (an edit, a peer, an expiry, an upgrade); the difference is no drift. `action`
    Keep: it is only reported; Recount: the spec is as wanted, but the copy that Kubernetes keeps of it in the status is
    not. `path`: the first field that differs, dotted, e.g. "spec.ingress". `record`: the record of `desired`.
    `superseded`: only for a deletion by rollout. `reserved`: keys of labels and annotations that are ours to remove
    although no spec can set them. `leaves`: only for the release of a namespace, the labels that it gets. `manager`:
    the field manager that caused it, where known (engine/attribution.py).
    """

    ref: Ref
    control: str
    reason: DriftReason
    action: Action
    rollout: bool
    path: str = ""
    message: str = ""
    desired: Desired | None = None
    record: str = ""
    observed: Observed | None = None
    superseded: Superseded = ""
    reserved: Collection[str] = ()
    leaves: Mapping[str, str] = field(default_factory=dict)
    manager: str = ""

    @property
    def key(self) -> tuple[Ref, str]:
        """What it is recognized by in a later pass: the object and the reason."""
        return self.ref, self.reason


@dataclass(frozen=True, slots=True)
class Owner:
    """The tenant whose objects are judged: its name, the salt of its records (its UID), and what it wrote.

    `applied`: whether it wrote this object before. `reconciled`: whether it has completed a pass over this namespace
    before (over "": always); until then nothing found there can be drift. `last`: the record that was last written
    to this object ("": we released or deleted it); several where the outcome of a write is uncertain, none where
    nothing is known. `trusts`: whether an object that no status recorded counts as ours because of its record alone,
    which is how an aborted pass leaves it. Anybody can compute a record, so this holds only for objects that existed at
    this process's first pass. `reserved`: the labels and annotations that no spec can set and that the tenant's status
    says we wrote. The record on the object says so too, but anybody who may patch the object can change it.
    """

    tenant: str
    salt: str
    applied: Callable[[Ref], bool]
    reconciled: Callable[[str], bool]
    last: Callable[[Ref], Collection[str]] = lambda ref: ()
    trusts: Callable[[Observed], bool] = lambda have: True
    reserved: Callable[[Ref], Collection[str]] = lambda ref: ()

    def wrote(self, have: Observed) -> bool:
        """Whether the object is as we last wrote it. An older state of ours that somebody restored (a copy from before
        a rule was tightened, a backup) has a valid record too, but is that person's change."""
        last = self.last(have.ref)
        is_replayed = bool(last) and (have.record or "") not in last
        return not is_replayed and is_recorded(have, self.salt)

    def is_unrecorded(self, have: Observed) -> bool:
        """Whether the object has no record because the tenant never wrote it (it is adopted) or released it."""
        return have.record is None and (not self.applied(have.ref) or "" in self.last(have.ref))

    def deleted(self, ref: Ref) -> bool:
        """Whether we may have caused that the object is missing: never written, or deleted by us (perhaps without an
        answer)."""
        return not self.applied(ref) or "" in self.last(ref)


def wanted(owner: Owner, desired: Iterable[Desired], observed: Callable[[Ref], Observed | None]) -> Iterator[Finding]:
    """Missing and Changed objects."""
    for want in desired:
        have, record = observed(want.ref), annotation(want, owner.tenant, owner.salt)
        if have is None:
            rollout = owner.deleted(want.ref)
            yield Finding(want.ref, want.control, "Missing", "Create", rollout, desired=want, record=record)
        elif path := difference(want, have, owner.tenant, record):
            yield from _changed(owner, want, have, path, record)
        elif path := _not_in_force(want, have):
            yield Finding(
                *(want.ref, want.control, "Changed", "Recount", False, path), desired=want, record=record, observed=have
            )


def _changed(owner: Owner, want: Desired, have: Observed, path: str, record: str) -> Iterator[Finding]:
    """One finding; a second one where a field differs that is only reported (`Kind.fixed`): the others are put right
    all the same."""
    kind = want.ref.kind
    if fixed := [p for p in kind.fixed if at(want.body, p) != have.at(p)]:
        yield replace(_alone(owner, want, have, ".".join(fixed[0]), record), action="Keep")
        want = reduce(lambda want, p: replace(want, body=_put(want.body, p, have.at(p))), fixed, want)
        path = difference(want, have, owner.tenant, record)
    if path:
        yield _alone(owner, want, have, path, record)


def _put(body: Json, path: Sequence[str], value: JsonValue) -> Json:
    """The body with another value at this path; None: with none."""
    inner = body.get(path[0])
    if len(path) > 1:
        value = _put(inner if isinstance(inner, dict) else {}, path[1:], value)
    return {key: found for key, found in {**body, path[0]: value}.items() if key != path[0] or value is not None}


def _alone(owner: Owner, want: Desired, have: Observed, path: str, record: str) -> Finding:
    kind = want.ref.kind
    action: Action = "Replace" if all(at(want.body, p) == have.at(p) for p in kind.immutable) else "Recreate"
    is_new = not (owner.applied(want.ref) if kind.is_shared else owner.reconciled(want.ref.namespace))
    if kind.is_shared:
        action = "Patch"
    return Finding(
        want.ref,
        control_at(want, path),
        "Changed",
        action,
        rollout=owner.wrote(have) or is_new or owner.is_unrecorded(have),
        path=path,
        desired=want,
        record=record,
        observed=have,
        reserved=owner.reserved(want.ref),
    )


def difference(want: Desired, have: Observed, tenant: str, record: str) -> str:
    """The path of the first field in which an object (as observed, or as a write returned it) differs from what is
    wanted; "" if none does. In an object that others write too only our fields count. The record counts as a field."""
    if want.is_shared:
        content = shared(want, tenant)
        own = _keys(content["labels"]), _keys(content["annotations"])
        actual = shared_of(have, *own, fields_of(want), want.absent)
    else:
        content, actual = whole(want, tenant), whole_of(have)
    if content == actual and have.record == record:
        return ""
    return next((field.path for field in differences(content, actual)), f"annotations.{names.ANNOTATION_APPLIED}")


def closes(finding: Finding) -> bool:
    """Whether correcting the finding takes access away, so that it must not wait. True unless the correction plainly
    opens (an object that grants something is missing) or changes nothing that is enforced (labels and annotations of an
    object of ours, a namespace or a node)."""
    want, have = finding.desired, finding.observed
    if want is None or finding.action == "Recount":
        return True
    kind = want.ref.kind
    if have is None:
        return want.closing or kind.restricts or bool(kind.prefix)
    if not kind.is_shared:
        return any(want.body.get(field) != have.field(field) for field in kind.content)
    if kind.entry is not None and want.body[kind.entry.name] != entry(have):
        return True
    if kind.owned or intruding(have, want.absent):
        return True
    return any(
        found.get(key) != value
        for found, wanted in ((have.labels, want.labels), (have.annotations, want.annotations))
        for key, value in wanted.items()
        if key.startswith(kind.guards)
    )


def _not_in_force(want: Desired, have: Observed) -> str:
    """For an object whose status is what Kubernetes enforces (`Kind.mirror`): the path at which the status differs from
    the spec; "" if it does not.

    The object itself does not show whether the Kubernetes controller has yet to copy the spec or somebody else wrote
    the status: engine/following.py decides that.
    """
    mirror = want.ref.kind.mirror
    if mirror is None:
        return ""
    found = differences(at(want.body, mirror.spec), have.at(mirror.status) or {}, ".".join(mirror.status))
    return next((field.path for field in found), "")


def _keys(value: JsonValue) -> Iterable[str]:
    return value.keys() if isinstance(value, dict) else ()


def unwanted(
    owner: Owner,
    marked: Iterable[tuple[str, Observed]],
    desired: Iterable[Desired],
    held: Callable[[str], bool],
    owned: Callable[[str], bool],
    superseded: Mapping[Ref, Superseded] = MappingProxyType({}),
) -> Iterator[Finding]:
    """Objects with our mark that are not desired (Stale): left from an earlier desired state, or created by others.

    `marked`: each with the control that writes its kind; the object's own label may be forged. In a namespace that the
    tenant does not hold (any more), only our mark is removed, only from objects that we wrote, and only where the
    namespace is the tenant's by UID (`owned`): a spec reaches only its own namespaces, and anybody can make a record.
    Nodes are given back. What is wholly ours and in no namespace is deleted, if it is ours by more than its mark.
    """
    wanted_refs = {want.ref for want in desired}
    for control, have in marked:
        if have.ref in wanted_refs or _goes_by_itself(have):
            continue
        is_known = bool(owner.last(have.ref)) or owner.trusts(have)
        ours = (is_known and owner.wrote(have)) or owner.applied(have.ref)
        message = "carries this tenant's mark, but is not part of its posture"
        if have.ref.kind.entry is not None:
            yield Finding(have.ref, control, "Stale", "Release", rollout=ours, message=message, observed=have)
        elif have.ref.kind.prefix and held(have.ref.place):
            # Its pods have their addresses from it: it is left to somebody who knows them.
            yield Finding(have.ref, control, "Stale", "Keep", rollout=False, message=message, observed=have)
        elif have.ref.namespace and held(have.ref.namespace):
            instead = superseded.get(have.ref, "") if ours else ""
            yield Finding(
                *(have.ref, control, "Stale", "Delete"),
                rollout=ours or not owner.reconciled(have.ref.namespace),
                message=message,
                observed=have,
                superseded=instead,
            )
        elif ours and not (have.ref.kind.namespaced or have.ref.kind.is_shared):
            # After what closes in its place was written, and whatever became of that.
            yield Finding(
                *(have.ref, control, "Stale", "Delete"),
                rollout=True,
                message=message,
                observed=have,
                superseded="Partly",
            )
        elif ours and owned(have.ref.place):
            yield Finding(have.ref, control, "Stale", "Release", rollout=True, observed=have)


def _goes_by_itself(have: Observed) -> bool:
    """Whether the object is being deleted and no finalizer of its own holds it. An object held by a finalizer stays in
    force for as long as that, and so is judged like any other."""
    return have.deleting and not (have.finalizers and have.ref.namespace)


def foreign(found: Iterable[Foreign]) -> Iterator[Finding]:
    """Foreign objects that widen access: removed where the spec says so, otherwise reported."""
    for item in found:
        action: Action = "Delete" if item.remove else "Keep"
        have = item.observed
        yield Finding(have.ref, item.control, "Foreign", action, rollout=False, message=item.message, observed=have)
