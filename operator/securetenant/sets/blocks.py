"""CIDR blocks as values: an IPv4 or IPv6 CIDR, with exceptions.

Their text is canonical (no host bits, IPv6 as in RFC 5952), so that it equals what the API server returns, and the API
server does not warn about it.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network
from typing import Final, NamedTuple, TypeAlias

from securetenant.model.objects import Json

Address: TypeAlias = IPv4Address | IPv6Address


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


def without(block: Block, addresses: frozenset[Address]) -> Block | None:
    """The block with these addresses excepted, as far as it contains them; None if nothing else is left.

    The block is never its own exception: the API server requires that each is strictly smaller.
    """
    whole, excepted = ip_network(block.cidr), [ip_network(text) for text in block.excepts]
    inside = [a for a in addresses if a in whole and not any(a in part for part in excepted)]
    if not inside:
        return block
    excepts = tuple(sorted((*block.excepts, *(host(address).cidr for address in inside))))
    return None if _cover(excepts, whole) else Block(block.cidr, excepts)


def _cover(parts: Iterable[str], whole: IPv4Network | IPv6Network) -> bool:
    """Whether these parts of a block together cover all of it."""
    if isinstance(whole, IPv4Network):
        return list(collapse_addresses(map(IPv4Network, parts))) == [whole]
    return list(collapse_addresses(map(IPv6Network, parts))) == [whole]


def rendered(block: Block) -> Json:
    """The `ipBlock` of a NetworkPolicy peer, as the API server returns it: without empty fields."""
    return {"cidr": block.cidr, "except": list(block.excepts)} if block.excepts else {"cidr": block.cidr}


def described(block: Block) -> str:
    """As text: "10.8.0.0/16 except 10.8.9.0/24"."""
    return f"{block.cidr} except {', '.join(block.excepts)}" if block.excepts else block.cidr


def parts(block: Block) -> list[IPv4Network | IPv6Network]:
    """The block as networks without exceptions, in order."""
    found = [ip_network(block.cidr)]
    for text in block.excepts:
        hole = ip_network(text)
        left: list[IPv4Network | IPv6Network] = []
        for one in found:
            if not one.overlaps(hole):
                left.append(one)
            elif one.prefixlen < hole.prefixlen:
                left.extend(one.address_exclude(hole))  # type: ignore[arg-type]
        found = left
    return sorted(found)
