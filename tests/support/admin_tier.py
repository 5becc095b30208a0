"""What the network control wants in the Admin tier, and what stands there."""

from typing import Any, Final

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import admin_tier
from securetenant.controls.network import control as network
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY
from securetenant.model.platform import Platform
from tests.support.world import NOW, StaticWorld

ON: Final = Platform(expires_soon=(), admin_tier=True, dns_cidrs=("169.254.20.10/32",))


def condition(tenant: SecureTenant, world: StaticWorld) -> Condition | None:
    told = network.CONTROL.plan(tenant, world, NOW).conditions
    return next((one for one in told if one.type == admin_tier.CONDITION), None)


def policies(world: StaticWorld, name: str = "") -> dict[str, Any]:
    """The specs of the ClusterNetworkPolicies that are wanted of one tenant, or that are there."""
    if name:
        owner = world.tenant(name)
        assert owner is not None
        wanted = network.CONTROL.plan(owner, world, NOW).desired
        return {one.ref.name: one.body["spec"] for one in wanted if one.ref.kind is CLUSTER_NETWORK_POLICY}
    return {one.ref.name: one.field("spec") for one in world.objects() if one.ref.kind is CLUSTER_NETWORK_POLICY}


def within_limits(spec: Any) -> None:
    """What the CustomResourceDefinition takes."""
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        rules = spec.get(direction, [])
        assert len(rules) <= 25
        for rule in rules:
            assert rule["action"] in ("Pass", "Deny")
            assert 1 <= len(rule[peers]) <= 25
            assert all(1 <= len(peer["networks"]) <= 25 for peer in rule[peers] if "networks" in peer)
            assert 1 <= len(rule.get("protocols", [None])) <= 25
            assert not (direction == "ingress" and any("networks" in peer for peer in rule[peers]))
