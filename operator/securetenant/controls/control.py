"""What a control is, and what it says of a tenant. No I/O, no clock: time is an argument."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from securetenant.api.load import Problem
from securetenant.api.status import Condition, QuotaUse, WhitelistStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.world import World
from securetenant.model.objects import Desired, Ref, Superseded
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


def _nothing(*_: object) -> tuple[()]:
    return ()


@dataclass(frozen=True, slots=True)
class Control:
    """One control: its name (the same in spec, file, metric label, docs) and its pure plan.

    `claims`, `references` and `review` are what files can tell of a spec, for `securetenant validate`. `review` is
    given a world of nothing but tenants, and says what the others make of this one's spec.
    """

    name: str
    plan: Callable[[SecureTenant, World, datetime], Plan]
    kinds: tuple[str, ...]  # what it writes, and so where its stale objects are looked for
    claims: Callable[[SecureTenant], Iterable[Claim]] = _nothing
    references: Callable[[SecureTenant, datetime], Iterable[Reference]] = _nothing
    review: Callable[[SecureTenant, World, datetime], Iterable[Problem]] = _nothing
