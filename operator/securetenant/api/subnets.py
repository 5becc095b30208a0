"""Subnets: what a namespace asks for, and the pools that the platform team gives them out of."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from securetenant.api.constraints import Rule, SpecModel, Unique
from securetenant.api.status import Condition, StatusModel
from securetenant.api.types import Cidr, PoolName, network

Provider = Literal["Auto", "KubeOVN", "Calico", "Cilium", "None"]

# The network plug-ins' own limits: Calico's smallest block of IPv6 is a /122, and larger nets than these are no subnet
# of one namespace.
PrefixV4 = Annotated[int, Field(ge=8, le=30)]
PrefixV6 = Annotated[int, Field(ge=32, le=122)]
PREFIX_V4: Final = 24
PREFIX_V6: Final = 64


def _is_v6(cidr: str) -> bool:
    return network(cidr).version == 6


_SIZES: Final = (
    "a subnet has from a /30 up to a /8 of IPv4, from a /122 up to a /32 of IPv6: write another prefix length"
)


def _has_size(cidr: str | None) -> bool:
    if cidr is None:
        return True
    block = network(cidr)
    return 8 <= block.prefixlen <= 30 if block.version == 4 else 32 <= block.prefixlen <= 122


def _size(field: str) -> str:
    return f"""!has(self.{field}) || !isCIDR(self.{field}) || (cidr(self.{field}).ip().family() == 4
    ? cidr(self.{field}).prefixLength() >= 8 && cidr(self.{field}).prefixLength() <= 30
    : cidr(self.{field}).prefixLength() >= 32 && cidr(self.{field}).prefixLength() <= 122)"""


_SUBNET_RULES: Final = (
    Rule(
        "has(self.cidr) != has(self.pool)",
        "a subnet has either cidr or pool: write one of them",
        lambda s: (s.cidr is None) != (s.pool is None),
        inputs=("cidr", "pool"),
    ),
    Rule(
        "!(has(self.prefixLength) || has(self.prefixLengthV6)) || has(self.pool)",
        "prefixLength is for a subnet out of a pool: remove it, or write pool instead of cidr",
        lambda s: (s.prefix_length is None and s.prefix_length_v6 is None) or s.pool is not None,
        field="prefixLength",
        inputs=("pool", "prefixLength", "prefixLengthV6"),
    ),
    Rule(
        """!has(self.cidrV6) || (has(self.cidr) && isCIDR(self.cidr) && cidr(self.cidr).ip().family() == 4 &&
        isCIDR(self.cidrV6) && cidr(self.cidrV6).ip().family() == 6)""",
        "cidrV6 is the IPv6 part of a dual-stack subnet: write the IPv4 part in cidr, or IPv6 alone in cidr",
        lambda s: s.cidr_v6 is None or (s.cidr is not None and not _is_v6(s.cidr) and _is_v6(s.cidr_v6)),
        field="cidrV6",
        inputs=("cidr", "cidrV6"),
    ),
    Rule(_size("cidr"), _SIZES, lambda s: _has_size(s.cidr), field="cidr", inputs=("cidr",)),
    Rule(_size("cidrV6"), _SIZES, lambda s: _has_size(s.cidr_v6), field="cidrV6", inputs=("cidrV6",)),
)


class Subnet(SpecModel):
    """The addresses of one namespace's pods: `cidr`, or a block out of a pool."""

    cidr: Cidr | None = Field(None, description="The addresses, e.g. 10.60.0.0/24.")
    cidr_v6: Cidr | None = Field(None, description="The IPv6 addresses of a dual-stack subnet, e.g. 2001:db8:60::/64.")
    pool: PoolName | None = Field(None, description="A SubnetPool that a free block is taken from, and kept.")
    prefix_length: PrefixV4 | None = Field(
        None, description="Size of the IPv4 block. Default: the pool's prefixLength."
    )
    prefix_length_v6: PrefixV6 | None = Field(
        None, description="Size of the IPv6 block. Default: the pool's prefixLengthV6."
    )

    RULES: ClassVar[tuple[Rule, ...]] = _SUBNET_RULES

    @property
    def cidrs(self) -> tuple[str, ...]:
        """The declared blocks, canonical, IPv4 first; () for one out of a pool."""
        return tuple(str(network(cidr)) for cidr in (self.cidr, self.cidr_v6) if cidr is not None)


class Subnets(SpecModel):
    """How the subnets of namespaces are made."""

    provider: Provider = Field(
        "Auto",
        description="Which network plug-in gives the addresses: KubeOVN, Calico or Cilium. Auto: the one whose "
        "CustomResourceDefinitions are installed. None: nobody does, a cidr is only compared with pods' addresses.",
    )


Block = IPv4Network | IPv6Network


def _apart(cidrs: Iterable[str]) -> bool:
    """Whether no two overlap. What is no CIDR has its own error."""
    found: list[Block] = []
    for text in cidrs:
        one = network(text)
        if any(one.version == other.version and one.overlaps(other) for other in found):
            return False
        found.append(one)
    return True


def _inside(pool: "SubnetPoolSpec") -> bool:
    return all(any(_contains(network(whole), network(part)) for whole in pool.cidrs) for part in pool.reserved)


def _contains(whole: Block, part: Block) -> bool:
    return whole.version == part.version and whole.prefixlen <= part.prefixlen and part.network_address in whole


def _fits(pool: "SubnetPoolSpec") -> bool:
    lengths = {4: pool.prefix_length, 6: pool.prefix_length_v6}
    return all(network(cidr).prefixlen <= lengths[network(cidr).version] for cidr in pool.cidrs)


_POOL_RULES: Final = (
    Rule(
        """!has(self.cidrs) || self.cidrs.all(a, !isCIDR(a) || self.cidrs.exists_one(b, isCIDR(b) &&
        (cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a))))""",
        "two cidrs of the pool overlap: write each address once",
        lambda p: _apart(p.cidrs),
        field="cidrs",
        inputs=("cidrs",),
    ),
    Rule(
        """!has(self.reserved) || !has(self.cidrs) || self.reserved.all(r, !isCIDR(r) ||
        self.cidrs.exists(c, isCIDR(c) && cidr(c).containsCIDR(r)))""",
        "a reserved range is in none of the cidrs: correct it, or remove it",
        _inside,
        field="reserved",
        inputs=("cidrs", "reserved"),
    ),
    Rule(
        f"""!has(self.cidrs) || self.cidrs.all(c, !isCIDR(c) || cidr(c).prefixLength() <=
        (cidr(c).ip().family() == 4 ? (has(self.prefixLength) ? self.prefixLength : {PREFIX_V4})
        : (has(self.prefixLengthV6) ? self.prefixLengthV6 : {PREFIX_V6})))""",
        "a cidr is smaller than one subnet: write a larger cidr or a larger prefixLength (prefixLengthV6)",
        _fits,
        field="cidrs",
        inputs=("cidrs", "prefixLength", "prefixLengthV6"),
    ),
)


class SubnetPoolSpec(SpecModel):
    """Addresses that the platform team gives out to tenants' namespaces, each a block of its own."""

    cidrs: Annotated[list[Cidr], Field(min_length=1, max_length=16), Unique()] = Field(
        description="The addresses, IPv4 and IPv6; no other network may use them."
    )
    reserved: Annotated[list[Cidr], Field(max_length=64), Unique()] = Field(
        default_factory=list, description="Ranges in them that are never given out."
    )
    prefix_length: PrefixV4 = Field(PREFIX_V4, description="Size of an IPv4 block where a namespace names none.")
    prefix_length_v6: PrefixV6 = Field(PREFIX_V6, description="Size of an IPv6 block where a namespace names none.")

    RULES: ClassVar[tuple[Rule, ...]] = _POOL_RULES


class FamilyStatus(StatusModel):
    """The addresses of one family in a pool. Numbers of IPv6 addresses do not fit into an integer: they are text."""

    total: str = ""
    reserved: str = Field("", description="Never given out, or in use by others.")
    allocated: str = ""
    free: str = ""
    largest_free: str = Field("", description="The largest block that can be given out, as a prefix length: /22.")
    fragmentation: int = Field(
        0, description="Percent of the free addresses that are outside of the largest free block."
    )


class SubnetPoolStatus(StatusModel):
    """What is given out of a pool, and what is left."""

    conditions: list[Condition] = Field(default_factory=list)
    subnets: int = Field(0, description="How many blocks are given out.")
    ipv4: FamilyStatus | None = None
    ipv6: FamilyStatus | None = None


class PoolMetadata(BaseModel):
    """The part of ObjectMeta that is read."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: PoolName
    uid: str = ""
    generation: int = 0


class SubnetPool(BaseModel):
    """A pool of addresses: the resource as the API server holds it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    api_version: Literal["securetenant.dev/v1alpha1"] = "securetenant.dev/v1alpha1"
    kind: Literal["SubnetPool"] = "SubnetPool"
    metadata: PoolMetadata
    spec: SubnetPoolSpec
    status: SubnetPoolStatus = SubnetPoolStatus()

    @property
    def name(self) -> str:
        return self.metadata.name
