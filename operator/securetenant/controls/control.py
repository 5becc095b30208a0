"""What a control is, and what it plans for a tenant. No I/O, no clock: the time is an argument."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from msgspec import Struct
from pydantic import BaseModel

from securetenant.api.load import Problem
from securetenant.api.status import Condition, DriftReason, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.checks.check import Check, CheckSet
from securetenant.controls.notice import Notice, Rollout, Written
from securetenant.controls.world import Lookup, World
from securetenant.model.kinds import Kind
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Desired, Json, Observed, Ref, Superseded
from securetenant.model.objects import Foreign as Foreign
from securetenant.model.probe import Trial
from securetenant.sets.space import Network

# The reason of a condition that is Unknown because the plan was made without a cluster (`validate`, `render`).
NO_CLUSTER: Final = "NoCluster"


class Within(NamedTuple):
    """The blocks that the addresses of a namespace's pods must lie in. `remedy`: why one does not, and what to do."""

    blocks: tuple[str, ...]
    remedy: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one control wants in the cluster for one tenant, and what it reports.

    `blocking`: messages that keep the tenant from being Ready.
    `wake_at`: when the plan changes by itself (an expiry), if ever.
    `reserved`: the blocks of addresses that it gives to the tenant's namespaces, by name: they count as used from now
    on, before their objects are written. `addresses`: by namespace, where its pods' addresses must lie (the inspection
    compares them).
    `status`: the control's part of the tenant's status, by field name.
    `samples`: those of its metrics that no part of the status holds (see `Control.figures`).
    """

    desired: Sequence[Desired] = ()
    foreign: Sequence[Foreign] = ()
    superseded: Mapping[Ref, Superseded] = field(default_factory=dict)  # existing, no longer desired
    conditions: Sequence[Condition] = ()
    blocking: Sequence[str] = ()  # why the tenant is not Ready, one sentence each
    passing: bool = False  # whatever blocks is temporary
    wake_at: datetime | None = None
    reserved: Mapping[str, Sequence[Network]] = field(default_factory=dict)
    addresses: Mapping[str, Within] = field(default_factory=dict)
    status: Mapping[str, BaseModel | Sequence[str] | Sequence[BaseModel] | int] = field(default_factory=dict)
    samples: Samples = field(default_factory=dict)


Tokens: TypeAlias = Iterable[str]


def _none(*_: object) -> tuple[()]:
    return ()


class Selection(NamedTuple):
    """Which namespaces an object selects. `named`: only ones with these names; None: any. `may`: whether it selects
    this one, or may."""

    named: frozenset[str] | None
    may: Callable[[Observed], bool]


@dataclass(frozen=True, slots=True)
class Triggers:
    """Which events concern which tenant, by tokens ("role:edit"): the tokens of an event are looked up in an index, so
    that no event walks all tenants.

    In addition to the tokens of the controls, each tenant has `tenant:<its name>` and `ns:<name>` for each namespace
    that it declares; each object in a namespace, and each with a tenant's mark, has the matching ones.

    `section`, `reads`: the section of the spec that decides, and the part of it that is read from JSON, as a
    msgspec.Struct whose fields have defaults: thousands of tenants are indexed before any is parsed.
    `tenant`: the tokens of a tenant with these namespaces and that section.
    `objects`: by kind, the tokens of an object that was added, changed or deleted (given as it is and as it was). For a
    change that Kubernetes itself makes in a mirrored status (`Kind.mirror`), these are the only tokens.
    `entry`: the fields that are read of each entry of spec.namespaces, beside its name, by their types; `entries`: the
    tokens of a tenant with these entries.
    `implies`: for kinds of ours that specs refer to, the token of whoever refers to an object, and the tokens that it
    has by that: a change of the object concerns these tenants, and who reads what they declare.
    `selects`: for kinds whose objects select namespaces by their labels, which ones; the tenants that declare these are
    concerned.
    `spreads`: the tokens of other tenants that a change of a tenant concerns, from its name, its tokens before and
    after, and the indexes. `tells`: the fields of the status that other tenants' plans read: a change of one spreads as
    well.
    """

    section: str = ""
    reads: type[Struct] = Struct
    tenant: Callable[[Sequence[str], Any], Tokens] = _none  # Any: a value of `reads`
    objects: Mapping[Kind, Callable[[Observed, Observed | None], Tokens]] = field(default_factory=dict)
    spreads: Callable[[str, Collection[str], Lookup], Tokens] = _none
    tells: tuple[str, ...] = ()
    entry: Mapping[str, Any] = field(default_factory=dict)  # Any: a type as msgspec takes it
    entries: Callable[[Sequence[Any]], Tokens] = _none  # Any: values with `name` and the fields of `entry`
    selects: Mapping[Kind, Callable[[Observed], Selection]] = field(default_factory=dict)
    implies: Mapping[Kind, Callable[[Observed], tuple[str, frozenset[str]]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deviation:
    """One object that is not as it must be and that belongs to the cluster, not to a tenant. `widens`: it grants more
    than is declared anywhere. `details`: what it grants, so that two deviations are equal only if nothing differs.
    """

    ref: Ref
    uid: str
    reason: DriftReason
    message: str
    path: str = ""
    widens: bool = False
    details: Hashable = ()


@dataclass(frozen=True, slots=True)
class ClusterWide:
    """How a control judges the cluster as a whole: all deviations, in a fixed order; whether a change of an object may
    change them; and the possible reasons."""

    deviations: Callable[[World], Sequence[Deviation]]
    concerns: Callable[[Observed], bool]
    reasons: tuple[DriftReason, ...]


class Chore(NamedTuple):
    """A write that belongs to no tenant: the status of another resource of ours (`value`: all of it), annotations, or
    the deletion of exactly what was seen. `cause`: for the log; "" where it is nothing to tell."""

    what: Literal["Status", "Annotate", "Delete"]
    have: Observed
    value: Json = {}  # noqa: RUF012  never changed
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Chores:
    """What a control keeps in order beside the tenants: the writes that are due now, and when the next one will be;
    and whether a change of an object (as it is and as it was) may make some due."""

    due: Callable[[World, datetime], tuple[Sequence[Chore], datetime | None]]
    concerns: Callable[[Observed, Observed | None], bool]


@dataclass(frozen=True, slots=True)
class Probe:
    """What a control has to try in the cluster (`World.probed` has the answers).

    `trials`: what is tried now. `concerns`: whether a change of an object (as it is and as it was; None if it was added
    or deleted) may change the answers: then all is tried again, and every tenant judged. `settled`: whether nothing
    more is to be found out; until then it is tried again, at growing intervals.
    """

    trials: Callable[[World], Sequence[Trial]]
    concerns: Callable[[Observed, Observed | None], bool]
    settled: Callable[[World], bool]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a spec claims for its tenant alone. Two tenants with an equal `key` conflict. In words: `taken` ("namespace
    a is declared") by another tenant as well, and the `remedy`."""

    path: str
    key: object
    taken: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A namespace that a spec refers to and that is no tenant's; `lost`: the consequence while it does not exist ("the
    rule a stays closed")."""

    path: str
    namespace: str
    lost: str


@dataclass(frozen=True, slots=True)
class Need:
    """Another resource of ours that a spec refers to: without it a part of the spec means nothing."""

    path: str
    ref: Ref


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """One control: its name (the same in spec, file, metric label, docs) and its pure plan.

    `kinds`: what it writes, and so where its stale objects are looked for; `looks_at`: what else it reads, and `only`:
    for some kinds, the names of the only objects it reads. `indexes`: the keys by which it looks up objects of a kind.
    `ranges`: by kind, the blocks of addresses that an object uses (`World.addresses`). `own`: by kind, further blocks
    that are the cluster's own, used or not; so are the blocks of which a tenant has the token `own:<block>`.
    `resolve`: a tenant with what its spec refers to in place of the reference (`World.tenant`); None if it refers to
    nothing.
    `stale`: finds the tenant's stale objects where the mark does not show them. `replaced`: whether an object was
    replaced by one that we must not leave behind. `tampered`: its plan where others changed a status that Kubernetes
    mirrors (one text for each change). `rereads`: its conditions depend on the objects it writes. `cluster`: what it
    judges that belongs to no single tenant. `probe`: what it has to try in the cluster. `chores`: what it keeps
    in order beside the tenants. `shipped`: the objects it needs that ship with the operator, for a world without a
    cluster.
    `figures`: the metric samples derived from its part of the status, so that they are exposed even while a tenant is
    not planned (Paused).
    `warnings`: the warnings that follow from a status, by a key that identifies each: each is reported once.
    `rollout`: its report on the objects written, from the SecureTenant before the pass and the status of the pass.
    `temporary`: names of what it ends at a set time, which no longer happens for a deleted tenant's released objects.
    `ending`: names of what it enforced or allowed, and what ends where a deleted tenant's namespaces are released.
    `leaves`: the labels that it gives a namespace when it is released, where they differ from what stands.
    `cause`: why this control writes where no spec changed.
    `claims`, `references`, `needs` and `review`: what `securetenant validate` can check in files. `review` gets a world
    of nothing but tenants and other resources of ours, and reports how these affect this tenant.
    `checks`: what it forbids workloads, at admission and in `securetenant validate`. `address`: the check that pods
    have the addresses of `Plan.addresses`, which the inspection alone makes, and not in CEL (posture/addresses.py).
    """

    name: str
    plan: Callable[[SecureTenant, World, datetime], Plan]
    kinds: tuple[Kind, ...]
    looks_at: tuple[Kind, ...] = ()
    only: Mapping[Kind, Collection[str]] = field(default_factory=dict)
    triggers: Triggers | None = None
    indexes: Mapping[Kind, Callable[[Observed], Tokens]] = field(default_factory=dict)
    ranges: Mapping[Kind, Callable[[Observed], Iterable[Network]]] = field(default_factory=dict)
    own: Mapping[Kind, Callable[[Observed], Iterable[Network]]] = field(default_factory=dict)
    resolve: Callable[[SecureTenant, World], SecureTenant] | None = None
    stale: Callable[[SecureTenant, World], Iterable[Observed]] | None = None
    replaced: Callable[[Observed], bool] | None = None
    tampered: Callable[[Plan, Sequence[str]], Plan] | None = None
    rereads: bool = False
    cluster: ClusterWide | None = None
    probe: Probe | None = None
    chores: Chores | None = None
    shipped: Callable[[], Iterable[Observed]] = _none
    families: tuple[Family, ...] = ()
    figures: Callable[[SecureTenantStatus], Samples] = lambda status: {}
    warnings: Callable[[SecureTenant, SecureTenantStatus], Mapping[Hashable, Notice]] = lambda tenant, status: {}
    rollout: Callable[[SecureTenant, Sequence[Written], SecureTenantStatus, datetime], Rollout] = (
        lambda tenant, written, status, now: Rollout()
    )
    temporary: Callable[[SecureTenant], Sequence[str]] = lambda tenant: ()
    ending: Callable[[SecureTenant, datetime], Sequence[str]] = lambda tenant, now: ()
    leaves: Callable[[SecureTenant, Observed], Mapping[str, str]] = lambda tenant, have: {}
    cause: str = ""
    claims: Callable[[SecureTenant], Iterable[Claim]] = _none
    references: Callable[[SecureTenant, datetime], Iterable[Reference]] = _none
    needs: Callable[[SecureTenant], Iterable[Need]] = _none
    review: Callable[[SecureTenant, World, datetime], Iterable[Problem]] = _none
    checks: CheckSet | None = None
    address: Check | None = None
