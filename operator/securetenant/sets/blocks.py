"""CIDR blocks as values: an IPv4 or IPv6 CIDR, with exceptions.

Their text is canonical (no host bits, IPv6 as in RFC 5952), so that it equals what the API server returns, and the API
server does not warn about it.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_network,
    summarize_address_range,
)
from typing import Final, NamedTuple, TypeAlias

from securetenant.model.objects import Json

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


class Block(NamedTuple):
    """The addresses of `cidr` without those of `excepts`, in canonical text.

    An exception applies to its own block only: another block may still open these addresses.
    """

    cidr: str
    excepts: tuple[str, ...] = ()


EVERYWHERE: Final = frozenset((Block("0.0.0.0/0"), Block("::/0")))  # all addresses of each family


@lru_cache(maxsize=4096)
def canonical_cidr(text: str) -> str:
    """The canonical text of a CIDR: no host bits, IPv6 in its short form. Raises ValueError if it is not a CIDR."""
    return str(ip_network(text, strict=False))


def declared(cidr: str, excepts: Iterable[str] = ()) -> Block:
    """The block for a CIDR that the models accepted; exceptions are sorted, so that equal blocks are equal values."""
    return Block(canonical_cidr(cidr), tuple(sorted({canonical_cidr(text) for text in excepts})))


def host(address: Address) -> Block:
    """The block of a single address."""
    return Block(canonical_cidr(str(address)))


def parsed(cidr: str, excepts: Iterable[str] = ()) -> Block:
    """The block of a policy from the API server, its exceptions in the given order. Host bits, which older API servers
    accept, are ignored.

    Raises ValueError for what no API server accepts, and for what Kubernetes components interpret differently: leading
    zeros, IPv4-mapped IPv6 addresses (::ffff:10.0.0.0/104).
    """
    return Block(_parsed(cidr), tuple(map(_parsed, excepts)))


def _parsed(text: str) -> str:
    address, _, length = text.partition("/")
    if "%" in address or not (length.isascii() and length.isdigit()):
        raise ValueError(f"{text!r} is not an address and a prefix length")
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{text!r} is an IPv4-mapped IPv6 address")
    return str(network)


@lru_cache(maxsize=1024)
def without(block: Block, holes: tuple[Network, ...]) -> Block | None:
    """The block with these networks excepted, as far as they overlap it; None if nothing is left.

    The block is never its own exception: the API server requires that each is strictly smaller. No exception lies in
    another, unless the block was declared so and nothing is added.
    """
    taken = within(block, holes)
    if not taken:
        return block
    whole = ip_network(block.cidr)
    excepts = _outermost([*map(ip_network, block.excepts), *taken])
    if list(collapse_addresses(excepts)) == [whole]:  # type: ignore[type-var]
        return None
    return Block(block.cidr, tuple(sorted(map(str, excepts))))


def within(block: Block, networks: Iterable[Network]) -> list[Network]:
    """What a block has of these networks: those that lie in it, but for those that its exceptions contain, in order;
    the block itself where one is as large."""
    whole, excepted = ip_network(block.cidr), [ip_network(text) for text in block.excepts]
    found = [one for one in networks if one.version == whole.version and one.overlaps(whole)]
    if any(one.prefixlen <= whole.prefixlen for one in found):
        return [whole]
    return _outermost([one for one in found if not any(_contains(part, one) for part in excepted)])


def _outermost(networks: Iterable[Network]) -> list[Network]:
    """Without those that lie in another, in order. All of one family."""
    found: list[Network] = []
    for one in sorted(networks):
        if not (found and _contains(found[-1], one)):
            found.append(one)
    return found


def _contains(whole: Network, part: Network) -> bool:
    return whole.prefixlen <= part.prefixlen and whole.overlaps(part)


def rendered(block: Block) -> Json:
    """The `ipBlock` of a NetworkPolicy peer, as the API server returns it: without empty fields."""
    return {"cidr": block.cidr, "except": list(block.excepts)} if block.excepts else {"cidr": block.cidr}


def described(block: Block) -> str:
    """As text: "10.8.0.0/16 except 10.8.9.0/24"."""
    return f"{block.cidr} except {', '.join(block.excepts)}" if block.excepts else block.cidr


@lru_cache(maxsize=256)
def parts(block: Block) -> tuple[Network, ...]:
    """The block as networks without exceptions, in order."""
    whole = ip_network(block.cidr)
    start, last, found = whole.network_address, int(whole.broadcast_address), list[Network]()
    for hole in _outermost([one for text in block.excepts if (one := ip_network(text)).overlaps(whole)]):
        if int(hole.network_address) > int(start):
            found += summarize_address_range(start, hole.network_address - 1)
        if int(hole.broadcast_address) >= last:
            return tuple(found)
        start = hole.broadcast_address + 1
    return (*found, *summarize_address_range(start, whole.broadcast_address))
