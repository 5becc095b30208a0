"""The match of an acl of Kube-OVN, in OVN's language, as far as it is a conjunction of plain comparisons:

    ip4 && ip4.src != {10.1.0.0/24, 100.64.0.0/16} && ip4.dst == 10.1.0.0/24

What is not understood matches nothing: Kube-OVN accepts it without a word.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_network
from typing import Final, NamedTuple, TypeAlias

from tests.support.cni.values import Address, Call, Network


class Packet(NamedTuple):
    """The first packet of a connection."""

    source: Address
    target: Address
    call: Call


Match: TypeAlias = Callable[[Packet], bool]

_COMPARISON: Final = re.compile(r"(ip[46]\.(?:src|dst)|(?:tcp|udp|sctp)\.dst)\s*(==|!=)\s*(\{[^{}]+\}|[^\s{}]+)")
_PROTOCOLS: Final = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP", "icmp": "ICMP", "icmp4": "ICMP", "icmp6": "ICMP"}
_FAMILIES: Final = {"ip": (4, 6), "ip4": (4,), "ip6": (6,), "icmp4": (4,), "icmp6": (6,)}


@lru_cache(maxsize=4096)
def understood(text: str) -> Match | None:
    """None: not understood."""
    try:
        terms = [_term(term.strip()) for term in text.split("&&")]
    except ValueError:
        return None
    return lambda packet: all(term(packet) for term in terms)


def matches(text: str, packet: Packet) -> bool:
    match = understood(text)
    return match is not None and match(packet)


def _term(text: str) -> Match:
    if text in _FAMILIES or text in _PROTOCOLS:
        families, protocol = _FAMILIES.get(text, (4, 6)), _PROTOCOLS.get(text)
        return lambda packet: packet.source.version in families and protocol in (None, packet.call.protocol)
    found = _COMPARISON.fullmatch(text)
    if found is None:
        raise ValueError(text)
    field, operator, values = found.groups()
    listed = [value.strip() for value in values.strip("{}").split(",")]
    if field.startswith("ip"):
        compared = _addresses(int(field[2]), field.endswith("src"), [ip_network(value) for value in listed])
    else:
        compared = _ports(_PROTOCOLS[field.partition(".")[0]], [int(value) for value in listed])
    return (lambda packet: compared(packet) is True) if operator == "==" else lambda packet: compared(packet) is False


def _addresses(version: int, is_source: bool, blocks: list[Network]) -> Callable[[Packet], bool | None]:
    """None for a packet of the other family, which has no such field: no comparison holds, `!=` neither."""
    if any(block.version != version for block in blocks):
        raise ValueError("a block of the other family")

    def compared(packet: Packet) -> bool | None:
        address = packet.source if is_source else packet.target
        return any(address in block for block in blocks) if address.version == version else None

    return compared


def _ports(protocol: str, numbers: list[int]) -> Callable[[Packet], bool | None]:
    return lambda packet: packet.call.port in numbers if packet.call.protocol == protocol else None
