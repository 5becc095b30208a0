"""The cluster as the controls see it. `cache/world.py` implements it on the informers' caches."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from securetenant.api.tenant import SecureTenant
from securetenant.model.kinds import Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from securetenant.model.probe import Probed
from securetenant.sets.space import Gap, Network, Summary

# The objects of a kind that have one of these keys.
Lookup: TypeAlias = Callable[[Kind, Iterable[str]], Iterable[Observed]]


class Pods(NamedTuple):
    """The pods that are bound to a node and have not ended. `is_known`: whether they are all of them; `failure`: why
    they cannot be known, "" if they are not known yet."""

    found: Iterable[Observed] = ()
    is_known: bool = True
    failure: str = ""


class Use(NamedTuple):
    """What uses a block of addresses. `ref`: the object that says so; None for a block that was given in this process
    and whose object is not seen yet. `tenant`, `namespace`: whose subnet it is, "" if it is no tenant's."""

    ref: Ref | None
    tenant: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        return f"the subnet of {self.namespace}, tenant {self.tenant}" if self.tenant else str(self.ref)


class Addresses(Protocol):
    """The address blocks in use, by all objects that say so (`Control.ranges`)."""

    def own(self, block: Network) -> Summary:
        """The addresses in a block that belong to the cluster itself, used or not (`Control.own`), in few blocks. A
        tenant whose plan asks has the token `cidr:<block>`: it is planned again when the answer changes."""

    def overlapping(self, block: Network) -> Iterable[tuple[Use, Network]]:
        """The used blocks that overlap this one, with what uses them."""

    def free(self, within: Network, length: int, but: Iterable[Network]) -> Network | None:
        """The lowest block of this prefix length that nothing uses, apart from these; None if there is none."""

    def given(self, tenant: str, namespace: str) -> Sequence[Network]:
        """What a plan of this process gave to a tenant's namespace and its status has not shown yet, IPv4 first."""

    def gaps(self, within: Network) -> Iterable[Gap]:
        """What nothing uses, in order."""


class World(Protocol):
    """The cluster as the caches hold it. Every look-up is by index; nothing walks all tenants."""

    @property
    def platform(self) -> Platform: ...

    def serves(self, kind: Kind) -> bool:
        """Whether the API server serves the kind. A kind that is not served (`Kind.optional`) has no objects, and
        desired objects of it are not written: a control that desires some reports that in a condition."""

    @property
    def addresses(self) -> Addresses:
        """Which addresses are in use."""

    def probed(self, control: str) -> Probed | None:
        """The answers to the control's trials (`Control.probe`). None where nothing is tried: in `plan`, or without a
        cluster."""

    def tenant(self, name: str) -> SecureTenant | None:
        """The SecureTenant of that name, deleting ones included; with what its spec refers to in place of the
        reference (`Control.resolve`)."""

    def declaring(self, namespace: str) -> Collection[SecureTenant]:
        """The tenants whose spec names this namespace, in no particular order."""

    def having(self, tokens: Iterable[str]) -> Collection[SecureTenant]:
        """The tenants that have one of these tokens (`controls.control.Triggers`), in no particular order."""

    def count(self, token: str) -> int:
        """How many tenants have this token, without parsing any."""

    def get(self, ref: Ref) -> Observed | None:
        """One object, or None."""

    def in_namespace(self, kind: Kind, namespace: str) -> Iterable[Observed]:
        """The objects of a kind in a namespace."""

    def marked(self, kind: Kind, tenant: str) -> Iterable[Observed]:
        """The objects of a kind that carry this tenant's ownership mark, wherever they are."""

    def indexed(self, kind: Kind, keys: Iterable[str]) -> Iterable[Observed]:
        """The objects of a kind that have one of these keys (`Control.indexes`), each once."""

    def pods_on(self, node: str) -> Pods:
        """The pods on a node that carries a tenant's label."""
