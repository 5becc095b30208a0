"""What a control is, and what it says of a tenant. No I/O, no clock: time is an argument."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from msgspec import Struct
from pydantic import BaseModel

from securetenant.api.load import Problem
from securetenant.api.status import Condition, DriftReason, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.notice import Notice, Rollout, Written
from securetenant.controls.world import Lookup, World
from securetenant.model.kinds import Kind
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Desired, Observed, Ref, Superseded
from securetenant.model.objects import Foreign as Foreign

# The reason of a condition (Unknown) of which only a cluster can tell, in a plan without one.
NO_CLUSTER: Final = "NoCluster"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one control wants of the cluster for one tenant, and what it has to say.

    `conditions` with status False and a reason in `blocking` keep the tenant from being Ready.
    `wake_at` is when the plan changes by itself (an expiry), if ever.
    `status` is the control's part of the tenant's status, by the name of the field.
    `samples` are those of its metric families that no part of the status holds (see `Control.figures`).
    """

    desired: Sequence[Desired] = ()
    foreign: Sequence[Foreign] = ()
    superseded: Mapping[Ref, Superseded] = field(default_factory=dict)  # of what stands and is not desired (any more)
    conditions: Sequence[Condition] = ()
    blocking: Sequence[str] = ()  # why the tenant is not Ready, one sentence each
    passing: bool = False  # what blocks ends without anybody's help
    wake_at: datetime | None = None
    status: Mapping[str, BaseModel | Sequence[str]] = field(default_factory=dict)
    samples: Samples = field(default_factory=dict)


Tokens: TypeAlias = Iterable[str]


def _none(*_: object) -> tuple[()]:
    return ()


@dataclass(frozen=True, slots=True)
class Triggers:
    """Which events concern which tenant, as tokens ("role:edit"): an event looks its tokens up, and walks no tenants.

    Beside those that a control names, each tenant has `tenant:<its name>`, and `ns:<name>` for each namespace that it
    declares; and each object in a namespace, and each with a tenant's mark, has those.

    `section`, `reads`: the section of the spec that decides, and the part of it that is read off its JSON, as a
    msgspec.Struct whose fields have defaults: thousands of tenants are indexed before any is parsed.
    `tenant`: the tokens of a tenant with these namespaces and that section.
    `objects`: by kind, the tokens of an object that came, changed or went (as it is, and as it was). Of a change that
    Kubernetes itself makes in a mirrored status there are no others.
    `spreads`: whom else a change of a tenant concerns, by its name, its tokens before and after, and the indexes.
    """

    section: str = ""
    reads: type[Struct] = Struct
    tenant: Callable[[Sequence[str], Any], Tokens] = _none  # Any: a value of `reads`
    objects: Mapping[Kind, Callable[[Observed, Observed | None], Tokens]] = field(default_factory=dict)
    spreads: Callable[[str, Collection[str], Lookup], Tokens] = _none


@dataclass(frozen=True, slots=True)
class Deviation:
    """One object that is not as it must be, and is the cluster's and no one tenant's. `widens`: it gives more than is
    declared anywhere. `details`: what, for a comparison: two are equal if nothing about them differs.
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
    """What a control judges of the cluster as a whole: all that deviates, in a fixed order; whether a change of an
    object may change that; and the reasons that there can be."""

    deviations: Callable[[World], Sequence[Deviation]]
    concerns: Callable[[Observed], bool]
    reasons: tuple[DriftReason, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a spec takes for its tenant alone. Two tenants with an equal `key` contend for it. In words: `taken` ("the
    namespace a is declared") by another tenant as well, and the `remedy`."""

    path: str
    key: object
    taken: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A namespace that a spec names and that is no tenant's; `lost` is what becomes of it while there is none ("the
    rule a stays closed")."""

    path: str
    namespace: str
    lost: str


@dataclass(frozen=True, slots=True)
class Control:
    """One control: its name (the same in spec, file, metric label, docs) and its pure plan.

    `kinds`: what it writes, and so where its stale objects are looked for; `looks_at`: what else it needs to see, and
    `only`: of a kind the objects of these names alone. `indexes`: the keys under which it looks objects of a kind up.
    `stale`: where it looks for objects of the tenant, if the mark does not tell. `replaced`: whether such an object is
    not ours to leave behind. `tampered`: its plan, where others changed the status that Kubernetes mirrors (each told
    in words). `rereads`: its conditions are read off what it writes. `cluster`: what it judges that is no one tenant's.
    `figures`: the samples of its metric families that its part of the status comes to; so they are shown, too, while a
    tenant is not planned for (Paused) and its status says what it said.
    `warnings`: what there is to warn of as long as a status says so, by what tells one from another: each is told once.
    `rollout`: what its written objects come to, by the SecureTenant as it stood before and the status of the same pass.
    `temporary`: what it ends when its time has come; once a deleted tenant's objects are released, nobody does.
    `cause`: why it alone writes where no spec changed.
    `claims`, `references` and `review` are what files can tell of a spec, for `securetenant validate`. `review` is
    given a world of nothing but tenants, and says what the others make of this one's spec.
    """

    name: str
    plan: Callable[[SecureTenant, World, datetime], Plan]
    kinds: tuple[Kind, ...]
    looks_at: tuple[Kind, ...] = ()
    only: Mapping[Kind, Collection[str]] = field(default_factory=dict)
    triggers: Triggers = Triggers()
    indexes: Mapping[Kind, Callable[[Observed], Tokens]] = field(default_factory=dict)
    stale: Callable[[SecureTenant, World], Iterable[Observed]] | None = None
    replaced: Callable[[Observed], bool] | None = None
    tampered: Callable[[Plan, Sequence[str]], Plan] | None = None
    rereads: bool = False
    cluster: ClusterWide | None = None
    families: tuple[Family, ...] = ()
    figures: Callable[[SecureTenantStatus], Samples] = lambda status: {}
    warnings: Callable[[SecureTenant, SecureTenantStatus], Mapping[Hashable, Notice]] = lambda tenant, status: {}
    rollout: Callable[[SecureTenant, Sequence[Written], SecureTenantStatus, datetime], Rollout] = (
        lambda tenant, written, status, now: Rollout()
    )
    temporary: Callable[[SecureTenant], Sequence[str]] = lambda tenant: ()
    cause: str = ""
    claims: Callable[[SecureTenant], Iterable[Claim]] = _none
    references: Callable[[SecureTenant, datetime], Iterable[Reference]] = _none
    review: Callable[[SecureTenant, World, datetime], Iterable[Problem]] = _none
