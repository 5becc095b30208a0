"""Kube-OVN's Subnets as values: whose addresses are whose, and which connections pass beside all policies.

The match of an acl is a condition in OVN's language (ovn-sb(5), Logical_Flow). Understood are conjunctions of plain
comparisons, as the operator writes them:

    ip4 && ip4.src != {10.1.0.0/24, 100.64.0.0/16} && ip4.dst == 10.1.0.0/24

Kube-OVN takes any text without a word. What is not understood here is told in `unclear`, and closes nothing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from typing import Final, Literal, NamedTuple

import msgspec

from securetenant.model.objects import JsonValue
from securetenant.sets import ports
from securetenant.sets.blocks import Network
from securetenant.sets.matching import LabelSelector
from securetenant.sets.ports import OTHER, Ports, Range
from securetenant.sets.selectors import Selector

# Where pods are whose namespace no Subnet names.
DEFAULT: Final = "ovn-default"
# The addresses by which nodes reach pods: they pass whatever policies say.
JOIN: Final = "join"


class Addresses(NamedTuple):
    """A comparison of a packet's source or target with blocks, all of one family; no packet of the other passes it."""

    is_source: bool
    is_within: bool
    blocks: tuple[Network, ...]


class Match(NamedTuple):
    """`ports`: of packets that can match. `is_exact`: whether all traffic in `ports` does: they do not tell ICMP from
    other protocols without ports."""

    families: frozenset[int]
    addresses: tuple[Addresses, ...]
    ports: Ports
    is_exact: bool = True


class Acl(NamedTuple):
    """`to-lport`: of what goes to a pod of the Subnet; `from-lport`: of what comes from one. The highest priority that
    matches decides. `match`: None: not understood."""

    direction: Literal["to-lport", "from-lport"]
    priority: int
    match: Match | None
    allows: bool


@dataclass(frozen=True, slots=True)
class Subnet:
    """`is_private`: closed for new connections in and out, but for addresses in `allowed`. `namespaces`, `selectors`:
    whose pods have addresses of it. `unclear`: what is not understood of it."""

    name: str
    blocks: tuple[Network, ...]
    is_private: bool = False
    allowed: tuple[Network, ...] = ()
    acls: tuple[Acl, ...] = ()
    namespaces: tuple[str, ...] = ()
    selectors: tuple[Selector, ...] = ()
    unclear: tuple[str, ...] = ()


class _Acl(msgspec.Struct):
    direction: Literal["to-lport", "from-lport"]
    priority: int
    match: str
    action: str


class _Spec(msgspec.Struct, rename="camel"):
    """Other fields of a Subnet do not decide who reaches whom."""

    cidr_block: str
    private: bool | None = None
    allow_subnets: list[str] | None = None
    acls: list[_Acl] | None = None
    namespaces: list[str] | None = None
    namespace_selectors: list[LabelSelector] | None = None


_CLOSING: Final = ("drop", "reject")
_OPENING: Final = ("allow", "allow-related", "allow-stateless")


def parsed(name: str, spec: JsonValue) -> Subnet:
    """A Subnet, as far as it is understood."""
    try:
        given = msgspec.convert(spec, _Spec)
        blocks = tuple(ip_network(text, strict=False) for text in given.cidr_block.split(","))
    except (msgspec.ValidationError, ValueError):
        return Subnet(name, (), unclear=("it is not understood",))
    unclear: list[str] = []
    acls = [_acl(number, one, unclear) for number, one in enumerate(given.acls or ())]
    try:
        allowed = tuple(map(_allowed, given.allow_subnets or ()))
    except ValueError as error:
        # It stays as it was before: nobody can tell how.
        unclear.append(f"allowSubnets: {error}")
        allowed = ()
    return Subnet(
        name,
        blocks,
        bool(given.private) and (allowed != () or not given.allow_subnets),
        allowed,
        tuple(acls),
        tuple(given.namespaces or ()),
        tuple(one.value for one in given.namespace_selectors or ()),
        tuple(unclear),
    )


def _allowed(text: str) -> Network:
    """Host bits count as the whole block; of addresses without a length, and in upper case, Kube-OVN takes none."""
    if "/" not in text or text != text.lower():
        raise ValueError(f"Kube-OVN does not take {text!r}")
    return ip_network(text, strict=False)


def _acl(number: int, given: _Acl, unclear: list[str]) -> Acl:
    match = understood(given.match)
    is_known = given.action in (*_CLOSING, *_OPENING)
    if match is None or not is_known:
        unclear.append(f"acls[{number}] is not understood")
    elif not match.is_exact:
        unclear.append(f"acls[{number}] is of ICMP alone, which is told together with other protocols")
    return Acl(given.direction, given.priority, match if is_known else None, given.action not in _CLOSING)


_COMPARISON: Final = re.compile(r"(ip[46]\.(?:src|dst)|(?:tcp|udp|sctp)\.dst)\s*(==|!=)\s*(\{[^{}]+\}|[^\s{}]+)")
_FAMILIES: Final = {"ip": (4, 6), "ip4": (4,), "ip6": (6,), "icmp": (4, 6), "icmp4": (4,), "icmp6": (6,)}
_TRANSPORTS: Final = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}
_OTHER: Final = (Range(OTHER, ports.LOWEST, ports.LOWEST),)


@lru_cache(maxsize=4096)
def understood(text: str) -> Match | None:
    """The match of an acl; None: not understood."""
    found = Match(frozenset((4, 6)), (), None)
    try:
        for term in text.split("&&"):
            found = _narrowed(found, term.strip())
    except ValueError:
        return None
    return found


def _narrowed(one: Match, term: str) -> Match:
    if term in _TRANSPORTS:
        return one._replace(ports=ports.intersection(one.ports, _transport(term)))
    if term in _FAMILIES:
        one = one._replace(families=one.families & frozenset(_FAMILIES[term]))
        if term.startswith("icmp"):
            return one._replace(ports=ports.intersection(one.ports, _OTHER), is_exact=False)
        return one
    compared = _COMPARISON.fullmatch(term)
    if compared is None:
        raise ValueError(f"{term!r} is no plain comparison")
    field, operator, values = compared.groups()
    listed = [value.strip() for value in values.strip("{}").split(",")]
    if field.startswith("ip"):
        blocks = _blocks(int(field[2]), listed)
        term_ = Addresses(field.endswith("src"), operator == "==", blocks)
        return one._replace(families=one.families & {int(field[2])}, addresses=(*one.addresses, term_))
    whole = _transport(field.partition(".")[0])
    numbers = ports.merged(Range(whole[0].protocol, int(value), int(value)) for value in listed)
    told = numbers if operator == "==" else ports.difference(whole, numbers)
    return one._replace(ports=ports.intersection(one.ports, told))


def _transport(name: str) -> tuple[Range]:
    return (Range(_TRANSPORTS[name], ports.LOWEST, ports.HIGHEST),)


def _blocks(version: int, listed: Iterable[str]) -> tuple[Network, ...]:
    found = tuple(map(ip_network, listed))
    if any(one.version != version for one in found):
        raise ValueError("a block of the other family")
    return found
