"""Whether a pod's addresses lie in its namespace's subnet. Plain Python: cel-expr-python has no CIDR functions, and at
admission a pod has no address yet.

An address of a family that the subnet does not have is not compared, unless the pod has no other.
"""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

import msgspec

from securetenant.checks import targets
from securetenant.controls.registry import CONTROLS

((CONTROL, CHECK),) = ((control.name, control.address) for control in CONTROLS if control.address is not None)
TARGET: Final = targets.PODS.name
ID: Final = f"{CONTROL}/{CHECK.name}"


class _Metadata(msgspec.Struct):
    name: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    host_network: bool = False


class _Address(msgspec.Struct):
    ip: str = ""


class _Status(msgspec.Struct):
    one: str = msgspec.field(name="podIP", default="")
    every: list[_Address] = msgspec.field(name="podIPs", default_factory=list)


class _Pod(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_decode: Final = msgspec.json.Decoder(_Pod).decode


class Address(NamedTuple):
    """A pod by name, its addresses outside of the subnet, and why it could not be judged."""

    name: str
    outside: tuple[str, ...] = ()
    error: str = ""


def judged(raw: msgspec.Raw, subnets: Sequence[str]) -> Address:
    """Judge a pod out of a list by its status. One on the host's network has the node's addresses, and one that is not
    started has none. Raises msgspec.MsgspecError."""
    pod = _decode(raw)
    name, status = pod.metadata.name, pod.status
    texts = [one.ip for one in status.every] or ([status.one] if status.one else [])
    if pod.spec.host_network or not texts:
        return Address(name)
    blocks = [ip_network(subnet) for subnet in subnets]
    try:
        found = [ip_address(text) for text in texts]
    except ValueError as error:
        return Address(name, error=f"its address cannot be read: {error}")
    families = {block.version for block in blocks}
    compared = [one for one in found if one.version in families] or found
    return Address(name, tuple(str(one) for one in compared if not any(one in block for block in blocks)))


def told(count: int, subnets: Sequence[str], remedy: str) -> str:
    """As text: "3 pods have addresses outside 10.60.0.0/24: they were born before; restart them"."""
    pods = "1 pod has an address" if count == 1 else f"{count} pods have addresses"
    return f"{pods} outside {', '.join(subnets)}: {remedy}"
