"""The rule `-A FORWARD -m conntrack --ctstate NEW -j NFQUEUE`, for IPv4 and IPv6, without the program iptables.

The kernel may lack nftables' own expression `queue`; the target of iptables works there through nft_compat, which is
what iptables-nft uses too. (linux/netfilter/nf_tables.h, nf_tables_compat.h, xt_NFQUEUE.h)
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

_NETLINK_NETFILTER: Final = 12
_NFTABLES: Final = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 3, 6
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NESTED: Final = 0x8000
_ERROR: Final = 2  # NLMSG_ERROR, which an acknowledgement is as well
_FAMILIES: Final = {"IPv4": 2, "IPv6": 10}  # NFPROTO_*
_TABLE, _CHAIN = b"packets\0", b"forward\0"
_HOOK_FORWARD: Final = 2
_REGISTER: Final = 1
_CT_STATE: Final = 0
_STATE_NEW: Final = struct.pack("=I", 8)  # NF_CT_STATE_BIT(IP_CT_NEW)
_NOTHING: Final = bytes(4)
_NOT_EQUAL: Final = 1


def forwarded(number: int) -> None:
    """Put the rule into the calling thread's network namespace. Where nobody reads the queue, what is new is dropped.

    Raises OSError: without CAP_NET_ADMIN, and where the kernel lacks a part of it.
    """
    messages = [_message(_BATCH_BEGIN, 0, 0, b"")]
    for family in _FAMILIES.values():
        hook = _nested(4, _number(1, _HOOK_FORWARD), _number(2, 0))
        chain = (_attribute(1, _TABLE), _attribute(3, _CHAIN), hook, _attribute(7, b"filter\0"))
        rule = (_attribute(1, _TABLE), _attribute(2, _CHAIN), _nested(4, *_expressions(number)))
        messages += [
            _message(_NEW_TABLE, family, _CREATE | _ACK, _attribute(1, _TABLE)),
            _message(_NEW_CHAIN, family, _CREATE | _ACK, b"".join(chain)),
            _message(_NEW_RULE, family, _CREATE | _APPEND | _ACK, b"".join(rule)),
        ]
    messages.append(_message(_BATCH_END, 0, 0, b""))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(5)
        kernel.sendto(b"".join(messages), (0, 0))
        answers = 0
        while answers < 3 * len(_FAMILIES):
            for code in _codes(kernel.recv(2**16)):
                answers += 1
                if code != 0:
                    raise OSError(-code, f"the rule with NFQUEUE is refused: {os.strerror(-code)}")


def _expressions(number: int) -> Iterator[bytes]:
    """New by connection tracking; then to the queue."""
    yield _expression("ct", _number(1, _REGISTER), _number(2, _CT_STATE))
    yield _expression(
        "bitwise",
        *(_number(1, _REGISTER), _number(2, _REGISTER), _number(3, len(_STATE_NEW))),
        *(_nested(4, _attribute(1, _STATE_NEW)), _nested(5, _attribute(1, _NOTHING))),
    )
    yield _expression("cmp", _number(1, _REGISTER), _number(2, _NOT_EQUAL), _nested(3, _attribute(1, _NOTHING)))
    yield _expression("target", _attribute(1, b"NFQUEUE\0"), _number(2, 0), _attribute(3, struct.pack("=H6x", number)))


def _expression(name: str, *data: bytes) -> bytes:
    return _nested(1, _attribute(1, name.encode() + b"\0"), _nested(2, *data))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))


def _nested(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(attributes))


def _message(kind: int, family: int, flags: int, attributes: bytes) -> bytes:
    is_batch = kind in (_BATCH_BEGIN, _BATCH_END)
    number = kind if is_batch else _NFTABLES << 8 | kind
    body = struct.pack(">BBH", family, 0, _NFTABLES if is_batch else 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), number, _REQUEST | flags, 0, 0) + body


def _codes(answer: bytes) -> Iterator[int]:
    """What the kernel says to each message: 0, or an errno as a negative number."""
    while answer:
        length, kind = struct.unpack_from("=IH", answer)
        if kind == _ERROR:
            yield struct.unpack_from("=i", answer, 16)[0]
        answer = answer[(length + 3) & ~3 :]
