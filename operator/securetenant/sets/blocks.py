"""Blocks of addresses as values: a CIDR of either family, less some parts of it.

Their text is canonical (no host bits, IPv6 as RFC 5952 writes it), so that what is written equals what is read back,
and the API server has no warning for it.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network
from typing import Final, NamedTuple, TypeAlias

from securetenant.model.objects import Json

Address: TypeAlias = IPv4Address | IPv6Address


class Block(NamedTuple):
    """The addresses of `cidr` but for those of `excepts`, in canonical text.

    An exception holds within its block only: another block may open the same addresses again.
    """

    cidr: str
    excepts: tuple[str, ...] = ()


EVERYWHERE: Final = frozenset((Block("0.0.0.0/0"), Block("::/0")))  # each is all addresses of its family


@lru_cache(maxsize=4096)
def canonical_cidr(text: str) -> str:
    """The one way to write a block: no host bits, IPv6 in its short form. ValueError if it is none."""
    return str(ip_network(text, strict=False))


def declared(cidr: str, excepts: Iterable[str] = ()) -> Block:
    """The block that the models have let pass; its exceptions sorted, so that equal ones are equal values."""
    return Block(canonical_cidr(cidr), tuple(sorted({canonical_cidr(text) for text in excepts})))


def host(address: Address) -> Block:
    """One address alone."""
    return Block(canonical_cidr(str(address)))


def parsed(cidr: str, excepts: Iterable[str] = ()) -> Block:
    """The block of a policy as the API server gives it, its exceptions in their order. Bits behind the prefix, which
    older API servers take, mean nothing.

    ValueError for what no API server takes, and for what Kubernetes' parts read differently: leading zeros, addresses
    of IPv4 written as IPv6 (::ffff:10.0.0.0/104).
    """
    return Block(_parsed(cidr), tuple(map(_parsed, excepts)))


def _parsed(text: str) -> str:
    address, _, length = text.partition("/")
    if "%" in address or not (length.isascii() and length.isdigit()):
        raise ValueError(f"{text!r} is not an address and a prefix length")
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{text!r} is read as IPv4 by some, as IPv6 by others")
    return str(network)


def without(block: Block, addresses: frozenset[Address]) -> Block | None:
    """The block with these addresses excepted, so far as it opens them; None if nothing else is left of it.

    Never the whole block as its own exception: the API server demands that each lies strictly inside.
    """
    whole, excepted = ip_network(block.cidr), [ip_network(text) for text in block.excepts]
    inside = [a for a in addresses if a in whole and not any(a in part for part in excepted)]
    if not inside:
        return block
    excepts = tuple(sorted((*block.excepts, *(host(address).cidr for address in inside))))
    return None if _cover(excepts, whole) else Block(block.cidr, excepts)


def _cover(parts: Iterable[str], whole: IPv4Network | IPv6Network) -> bool:
    """Whether these parts of a block are together all of it."""
    if isinstance(whole, IPv4Network):
        return list(collapse_addresses(map(IPv4Network, parts))) == [whole]
    return list(collapse_addresses(map(IPv6Network, parts))) == [whole]


def rendered(block: Block) -> Json:
    """The `ipBlock` of a NetworkPolicy's peer, as the API server gives it back: without empty fields."""
    return {"cidr": block.cidr, "except": list(block.excepts)} if block.excepts else {"cidr": block.cidr}


def described(block: Block) -> str:
    """For a reader: "10.8.0.0/16 except 10.8.9.0/24"."""
    return f"{block.cidr} except {', '.join(block.excepts)}" if block.excepts else block.cidr
