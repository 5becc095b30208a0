"""What stands in the policies of rules with a cidr, on a control plane."""

from typing import Any, Final

from tests.support.sandbox import Admin, wait_for
from tests.support.tenants import POLICIES, peer_rule

WIDE: Final = "198.18.0.0/15"


async def written(admin: Admin, namespace: str, name: str) -> list[dict[str, Any]] | None:
    """The peers of a policy with one rule; None if there is no such policy."""
    policy = await admin.find(f"{POLICIES.format(namespace)}/securetenant-{name}")
    if policy is None:
        return None
    (rule,) = policy["spec"].get("egress") or policy["spec"]["ingress"]
    peers: list[dict[str, Any]] = rule.get("to") or rule["from"]
    return peers


async def versions(admin: Admin, namespace: str) -> dict[str, str]:
    listed = (await admin.get(POLICIES.format(namespace)))["items"]
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed}


async def excepts(admin: Admin, namespace: str, *parts: str) -> None:
    """Wait until both directions leave out these parts."""
    expected = [{"ipBlock": {"cidr": WIDE, **({"except": sorted(parts)} if parts else {})}}]

    async def is_so() -> bool:
        for name in ("egress-wide", "ingress-wide"):
            assert await written(admin, namespace, name) == expected
        return True

    await wait_for(is_so, 20, f"{namespace} to leave out {parts}")


def wide(cidr: str = WIDE, name: str = "wide") -> dict[str, Any]:
    peer = {"cidr": cidr}
    return {direction: [peer_rule(name, direction, peer, ports=[443])] for direction in ("ingress", "egress")}
