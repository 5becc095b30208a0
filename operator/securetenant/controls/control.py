"""What a control is, and what it says of a tenant. No I/O, no clock: time is an argument."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from securetenant.api.status import Condition, QuotaUse, WhitelistStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.world import World
from securetenant.model.objects import Desired, Ref, Superseded
from securetenant.model.objects import Foreign as Foreign


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
class Control:
    """One control: its name (the same in spec, file, metric label, docs) and its pure plan."""

    name: str
    plan: Callable[[SecureTenant, World, datetime], Plan]
    kinds: tuple[str, ...]  # what it writes, and so where its stale objects are looked for
