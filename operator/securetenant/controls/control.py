"""What a control is, and what it says of a tenant. No I/O, no clock: time is an argument."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel

from securetenant.api.status import Condition, SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.notice import Notice, Rollout, Written
from securetenant.controls.world import World
from securetenant.model.metrics import Family, Samples
from securetenant.model.objects import Desired, Ref, Superseded
from securetenant.model.objects import Foreign as Foreign


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


@dataclass(frozen=True, slots=True)
class Control:
    """One control: its name (the same in spec, file, metric label, docs) and its pure plan.

    `figures`: the samples of its metric families that its part of the status comes to; so they are shown, too, while a
    tenant is not planned for (Paused) and its status says what it said.
    `warnings`: what there is to warn of as long as a status says so, by what tells one from another: each is told once.
    `rollout`: what its written objects come to, by the SecureTenant as it stood before and the status of the same pass.
    `temporary`: what it ends when its time has come; once a deleted tenant's objects are released, nobody does.
    `cause`: why it alone writes where no spec changed.
    """

    name: str
    plan: Callable[[SecureTenant, World, datetime], Plan]
    kinds: tuple[str, ...]  # what it writes, and so where its stale objects are looked for
    families: tuple[Family, ...] = ()
    figures: Callable[[SecureTenantStatus], Samples] = lambda status: {}
    warnings: Callable[[SecureTenant, SecureTenantStatus], Mapping[Hashable, Notice]] = lambda tenant, status: {}
    rollout: Callable[[SecureTenant, Sequence[Written], SecureTenantStatus, datetime], Rollout] = (
        lambda tenant, written, status, now: Rollout()
    )
    temporary: Callable[[SecureTenant], Sequence[str]] = lambda tenant: ()
    cause: str = ""
