"""What a control is, and what it says of a tenant. No I/O, no clock: time is an argument."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from securetenant.api.objects import Desired, Observed, Ref, Superseded
from securetenant.api.objects import Foreign as Foreign
from securetenant.api.status import Condition, QuotaUse, WhitelistStatus
from securetenant.api.tenant import SecureTenant


@dataclass(frozen=True, slots=True)
class Platform:
    """What the platform team told the operator about the cluster (settings, not a tenant's spec)."""

    dns_namespace: str = "kube-system"
    dns_pod_labels: tuple[tuple[str, str], ...] = (("k8s-app", "kube-dns"),)
    dns_cidrs: tuple[str, ...] = ()  # NodeLocal DNSCache or hostNetwork DNS, which pod selectors do not match
    dns_port: int = 53
    operator_namespace: str = "securetenant-system"
    # There is no cluster to look at: what only it knows (which namespaces exist, where its API server is) is no matter.
    offline: bool = False
    expires_soon: tuple[int, ...] = (14 * 86400, 86400)  # seconds before a rule ends: when its owners are warned


class World(Protocol):
    """The cluster as the caches hold it. Every look-up is by index; nothing walks all tenants."""

    @property
    def platform(self) -> Platform: ...

    def tenant(self, name: str) -> SecureTenant | None:
        """The SecureTenant of that name, deleting ones included."""

    def declaring(self, namespace: str) -> Collection[SecureTenant]:
        """The tenants whose spec names this namespace, in no order."""

    def selecting(self, node_labels: dict[str, str]) -> Collection[SecureTenant]:
        """The tenants whose `nodes.selector` matches these labels, in no order."""

    def get(self, ref: Ref) -> Observed | None:
        """One object, or None."""

    def in_namespace(self, kind: str, namespace: str) -> Iterable[Observed]:
        """The objects of a kind in a namespace."""

    def marked(self, kind: str, tenant: str) -> Iterable[Observed]:
        """The objects of a kind that carry this tenant's ownership mark, wherever they are."""

    def nodes(self, match_labels: dict[str, str]) -> Iterable[Observed]:
        """The nodes that carry all these labels."""

    def tainted(self, tenant: str) -> Iterable[Observed]:
        """The nodes that carry our taint with this tenant's name, whatever their labels."""

    def cluster_role_bindings(self, subjects: Iterable[str]) -> Iterable[Observed]:
        """The ClusterRoleBindings that name one of these subjects (`subject_key` in controls/access.py)."""


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
