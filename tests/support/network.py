"""Two tenants with something to say to each other, and the network control's plan for the first."""

from typing import Any, Final

from securetenant.api.status import WhitelistStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls.control import Plan
from securetenant.controls.network import control as network
from securetenant.model.objects import Observed
from securetenant.model.platform import Platform
from tests.support.world import NOW, StaticWorld, mine, observed, tenant

ALWAYS: Final = frozenset({network.DENY, network.DNS, network.ISOLATION})


def at(namespace: str) -> dict[str, Any]:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


def within(*namespaces: str) -> dict[str, Any]:
    term = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
    return {"matchExpressions": [term]}


def world(*tenants: SecureTenant, objects: tuple[Observed, ...] = (), platform: Platform | None = None) -> StaticWorld:
    platform = platform or Platform(expires_soon=())  # warnings before an end: test_expiry.py
    return StaticWorld(tenants, [*(o for t in tenants for o in mine(t)), *objects], platform)


def plan(first: SecureTenant, *others: SecureTenant, objects: tuple[Observed, ...] = ()) -> Plan:
    return network.CONTROL.plan(first, world(first, *others, objects=objects), NOW)


def whitelist(found: Plan) -> WhitelistStatus:
    """The control's part of the status."""
    part = found.status["whitelist"]
    assert isinstance(part, WhitelistStatus)
    return part


def specs(found: Plan, namespace: str) -> dict[str, Any]:
    return {d.ref.name: d.body["spec"] for d in found.desired if d.ref.namespace == namespace}


def payments(*, namespaces: tuple[str, ...] = ("payments-prod",), **sections: Any) -> SecureTenant:
    return tenant("payments", namespaces=list(namespaces), network=sections)


def banking(*, namespaces: tuple[str, ...] = ("ledger-prod",), deleting: bool = False, **sections: Any) -> SecureTenant:
    return tenant("core-banking", namespaces=list(namespaces), network=sections, deleting=deleting)


def admits(**rule: Any) -> dict[str, Any]:
    return {"name": "from-ledger", "from": [{"tenant": "core-banking"}], **rule}


def reaches(**rule: Any) -> dict[str, Any]:
    return {"name": "to-payments", "to": [{"tenant": "payments"}], **rule}


def endpoints(name: str, *addresses: str, ready: bool | None = True, **more: Any) -> Observed:
    """A slice of the API server's service: of these addresses, and of those that are `down`."""
    states = {address: {} if ready is None else {"ready": ready} for address in addresses}
    states |= {address: {"ready": False} for address in more.pop("down", ())}
    return observed(
        *("EndpointSlice", name, "default"),
        labels={"kubernetes.io/service-name": more.pop("service", "kubernetes")},
        **{
            "addressType": "IPv6" if ":" in addresses[0] else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": state} for address, state in states.items()],
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
            **more,
        },
    )


def to(*ends: dict[str, Any], **rule: Any) -> dict[str, Any]:
    return {"name": "out", "to": list(ends), **rule}


def block(cidr: str, *excepts: str) -> dict[str, Any]:
    return {"ipBlock": {"cidr": cidr, **({"except": list(excepts)} if excepts else {})}}


READY = endpoints("kubernetes", "192.0.2.12", "192.0.2.10")
V6 = endpoints("v6", "2001:DB8:0::A")
