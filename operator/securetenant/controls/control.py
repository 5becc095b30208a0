"""What a control is, and what it says of a tenant. No I/O, no clock: time is an argument."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from msgspec import Struct

from securetenant.api.load import Problem
from securetenant.api.status import Condition, QuotaUse, WhitelistStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.world import Lookup, World
from securetenant.model.kinds import Kind
from securetenant.model.objects import Desired, Observed, Ref, Superseded
from securetenant.model.objects import Foreign as Foreign

# The reason of a condition (Unknown) of which only a cluster can tell, in a plan without one.
NO_CLUSTER: Final = "NoCluster"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one control wants of the cluster for one tenant, and what it has to say.

    `conditions` with status False and a reason in `blocking` keep the tenant from being Ready.
    `wake_at` is when the plan changes by itself (an expiry), if ever.
    """

    desired: Sequence[Desired] = ()
    foreign: Sequence[Foreign] = ()
    superseded: Mapping[Ref, Superseded] = field(default_factory=dict)  # of what stands and is not desired (any more)
    conditions: Sequence[Condition] = ()
    blocking: Sequence[str] = ()  # why the tenant is not Ready, one sentence each
    wake_at: datetime | None = None
    whitelist: WhitelistStatus | None = None
    quota: dict[str, QuotaUse] = field(default_factory=dict)
    nodes: Sequence[str] = ()  # nodes that the tenant holds


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
    in words). `rereads`: its conditions are read off what it writes.

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
    claims: Callable[[SecureTenant], Iterable[Claim]] = _none
    references: Callable[[SecureTenant, datetime], Iterable[Reference]] = _none
    review: Callable[[SecureTenant, World, datetime], Iterable[Problem]] = _none
