"""The cluster as the controls see it. `cache/world.py` implements it over the informers' caches."""

from collections.abc import Collection, Iterable
from typing import Protocol

from securetenant.api.tenant import SecureTenant
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform


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
        """The ClusterRoleBindings that name one of these subjects (`subject_key` in controls/access/control.py)."""
