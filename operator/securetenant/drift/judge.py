"""What differs between what is wanted and what stands in the cluster, and whose doing it is.

Better than a server-side-apply diff: objects that are wholly ours are compared exactly, so that an *addition*
to them counts (reference: an added `ingress: [{}]` on a default-deny policy is invisible to apply), and
objects that others put beside ours are judged as well.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from securetenant.api.status import DriftReason
from securetenant.drift.merge import control_at
from securetenant.model import names
from securetenant.model.objects import Desired, Foreign, JsonValue, Observed, Ref, Superseded
from securetenant.model.record import annotation, digest, entry, is_recorded, shared, shared_of, whole, whole_of

Action = Literal["Create", "Replace", "Recount", "Recreate", "Patch", "Delete", "Release", "Keep"]


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One difference: which object, what is to be done, and whether others did it.

    `rollout`: the difference is our own change of mind, and no drift. `action` Keep: it is only reported; Recount: the
    spec is as it must be, and what Kubernetes mirrors of it in the status is not. `path`: the first field that
    differs, dotted, e.g. "spec.ingress". `superseded`: of a deletion by rollout. `reserved`: keys of labels and
    annotations that are ours to take back although no spec could have set them.
    """

    ref: Ref
    control: str
    reason: DriftReason
    action: Action
    rollout: bool
    path: str = ""
    message: str = ""
    desired: Desired | None = None
    observed: Observed | None = None
    superseded: Superseded = ""
    reserved: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Owner:
    """For whom is judged: the tenant, the salt of its records (its UID), and its own record.

    `applied`: it wrote this object before. `settled`: it has finished a pass over this namespace before ("" is
    always settled); until then nothing that stands there can be drift from it. `last`: the record that was last
    written to this object ("": it was given up or deleted by ourselves), several where it is uncertain whether a
    write was carried out, none where nothing is known (any more). `believes`: an object that nobody recorded counts as
    written by us for its record alone, as a pass leaves it that broke off. Records can be computed by anybody, so it
    holds of what stood there when this process looked first, and of nothing that came later. `reserved`: the labels
    and annotations that no spec can set, and that its status says were written by us. The record on the object says so
    too, but that is anybody's word who may patch it.
    """

    tenant: str
    salt: str
    applied: Callable[[Ref], bool]
    settled: Callable[[str], bool]
    last: Callable[[Ref], Collection[str]] = lambda ref: ()
    believes: Callable[[Observed], bool] = lambda have: True
    reserved: Callable[[Ref], Collection[str]] = lambda ref: ()

    def wrote(self, have: Observed) -> bool:
        """Whether what stands is what we last wrote. An older state of ours that somebody put back (a copy kept from
        before a rule was tightened, a restored backup) has a good record too, and is still his doing."""
        last = self.last(have.ref)
        is_replayed = bool(last) and (have.record or "") not in last
        return not is_replayed and is_recorded(have, self.salt)

    def meets(self, have: Observed) -> bool:
        """Whether it stood there, without any record, before the tenant ever wrote it: adopted; or was given up by
        ourselves."""
        return have.record is None and (not self.applied(have.ref) or "" in self.last(have.ref))

    def deleted(self, ref: Ref) -> bool:
        """Whether what is missing may well be our own doing: never written, or a deletion of ours without an answer."""
        return not self.applied(ref) or "" in self.last(ref)


def wanted(owner: Owner, desired: Iterable[Desired], observed: Callable[[Ref], Observed | None]) -> Iterator[Finding]:
    """Missing and Changed objects."""
    for want in desired:
        have = observed(want.ref)
        if have is None:
            yield Finding(want.ref, want.control, "Missing", "Create", owner.deleted(want.ref), desired=want)
        elif want.is_shared:
            yield from _shared(owner, want, have)
        else:
            yield from _whole(owner, want, have)


def _whole(owner: Owner, want: Desired, have: Observed) -> Iterator[Finding]:
    path = difference(want, have, owner.tenant, owner.salt)
    if not path:
        yield from _in_force(want, have)
        return
    content, actual = whole(want, owner.tenant), whole_of(have)
    action: Action = (
        "Replace" if all(_at(content, p) == _at(actual, p) for p in want.ref.kind.immutable) else "Recreate"
    )
    rollout = owner.wrote(have) or not owner.settled(want.ref.namespace) or owner.meets(have)
    yield Finding(want.ref, want.control, "Changed", action, rollout, path=path, desired=want, observed=have)


def difference(want: Desired, have: Observed, tenant: str, salt: str) -> str:
    """The path of the first place where what stands (or what a write returned) is not what is wanted, "" if it is;
    of an object that others write too in our fields alone. The record counts."""
    if want.is_shared:
        content = shared(want, tenant)
        actual = shared_of(have, _keys(content["labels"]), _keys(content["annotations"]))
        record = annotation(want, tenant, salt)
    else:
        content, actual = whole(want, tenant), whole_of(have)
        record = digest(content, want.ref, salt)
    if content == actual and have.record == record:
        return ""
    return first_difference(content, actual) or f"annotations.{names.ANNOTATION_APPLIED}"


def closes(finding: Finding) -> bool:
    """Whether undoing the finding closes something that stands open: such a correction may not wait. Only of what
    plainly opens (an object that grants something is missing) or changes nothing in force (labels and the like of
    an object of ours, a namespace or a node) is it not so."""
    want, have = finding.desired, finding.observed
    if want is None or finding.action == "Recount":
        return True
    kind = want.ref.kind
    if have is None:
        return want.closing or kind.restricts
    if not kind.is_shared:
        return any(want.body.get(field) != have.field(field) for field in kind.content)
    if kind.entry is not None and want.body[kind.entry.name] != entry(have):
        return True
    return any(have.labels.get(key) != value for key, value in want.labels.items() if key.startswith(kind.guards))


def _in_force(want: Desired, have: Observed) -> Iterator[Finding]:
    """An object of which is enforced what its status says (`Kind.mirror`), and that is not what its spec says.

    Whether Kubernetes' controller has yet to copy it, or somebody else wrote the status, the object does not tell:
    engine/following.py does.
    """
    mirror = want.ref.kind.mirror
    if mirror is None:
        return
    (field, name), path = mirror.status, ".".join(mirror.status)
    if path := first_difference(_at(want.body, mirror.spec), _at(have.field(field), (name,)) or {}, path):
        yield Finding(want.ref, want.control, "Changed", "Recount", False, path=path, desired=want, observed=have)


def _at(value: JsonValue, path: tuple[str, ...]) -> JsonValue:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _shared(owner: Owner, want: Desired, have: Observed) -> Iterator[Finding]:
    path = difference(want, have, owner.tenant, owner.salt)
    if not path:
        return
    rollout = owner.wrote(have) or not owner.applied(want.ref) or owner.meets(have)
    yield Finding(
        *(want.ref, control_at(want, path), "Changed", "Patch", rollout, path),
        desired=want,
        observed=have,
        reserved=owner.reserved(want.ref),
    )


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
    """Objects with our mark that nobody wants: left by our own change of mind, or put there by others (Stale).

    `marked`: each with the control whose kind it is; what its own label says is anybody's word. In a namespace that
    the tenant does not hold (any more) only what we wrote ourselves is touched, and only its mark, and only where it
    is the tenant's by UID (`owned`): a spec reaches its own namespaces alone, and a record is anybody's to make.
    Nodes are given back.
    """
    wanted_refs = {want.ref for want in desired}
    for control, have in marked:
        if have.ref in wanted_refs or _goes_by_itself(have):
            continue
        is_known = bool(owner.last(have.ref)) or owner.believes(have)
        ours = (is_known and owner.wrote(have)) or owner.applied(have.ref)
        message = "carries this tenant's mark, but is not part of its posture"
        if have.ref.kind.entry is not None:
            yield Finding(have.ref, control, "Stale", "Release", rollout=ours, message=message, observed=have)
        elif have.ref.namespace and held(have.ref.namespace):
            instead = superseded.get(have.ref, "") if ours else ""
            yield Finding(
                *(have.ref, control, "Stale", "Delete"),
                rollout=ours or not owner.settled(have.ref.namespace),
                message=message,
                observed=have,
                superseded=instead,
            )
        elif ours and owned(have.ref.place):
            yield Finding(have.ref, control, "Stale", "Release", rollout=True, observed=have)


def _goes_by_itself(have: Observed) -> bool:
    """Whether a deletion is under way that nothing of the object's own holds up. What a finalizer holds is in force
    for as long as that stands, and so is judged like all else."""
    return have.deleting and not (have.finalizers and have.ref.namespace)


def foreign(found: Iterable[Foreign]) -> Iterator[Finding]:
    """Objects of others that widen the posture: removed where the spec says so, else reported."""
    for item in found:
        action: Action = "Delete" if item.remove else "Keep"
        have = item.observed
        yield Finding(have.ref, item.control, "Foreign", action, rollout=False, message=item.message, observed=have)


def first_difference(left: JsonValue, right: JsonValue, path: str = "") -> str:
    """The dotted path of the first place where two JSON values differ; "" if they are equal."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted({*left, *right}):
            here = f"{path}.{key}" if path else key
            if key not in left or key not in right:
                return here
            if found := first_difference(left[key], right[key], here):
                return found
        return ""
    if isinstance(left, list) and isinstance(right, list):
        for index, (a, b) in enumerate(zip(left, right, strict=False)):
            if found := first_difference(a, b, f"{path}[{index}]"):
                return found
        return "" if len(left) == len(right) else f"{path}[{min(len(left), len(right))}]"
    return "" if left == right and type(left) is type(right) else path
