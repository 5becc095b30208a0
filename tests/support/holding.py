"""A tenant with all its NetworkPolicies, and those of others beside them, for tests of what is open."""

from collections.abc import Collection, Iterable
from typing import Any, Final

from securetenant.api.tenant import SecureTenant
from securetenant.controls.network.control import plan
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, NETWORK_POLICY, Kind
from securetenant.model.objects import Observed
from securetenant.model.platform import Platform
from securetenant.reach import holds, report
from securetenant.reach.holds import Holds
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, observed, tenant

NAME: Final = "kubernetes.io/metadata.name"
A, B = "pay-a", "pay-b"


def named(*names: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": NAME, "operator": "In", "values": list(names)}]}


def foreign(name: str, where: str = A, pods: Any = None, **rules: Any) -> Observed:
    types = [side.capitalize() for side in ("ingress", "egress") if side in rules]
    spec = {"podSelector": pods or {}, "policyTypes": types, **rules}
    return observed(NETWORK_POLICY, name, where, spec=spec)


def ingress(*peers: Any, ports: Any = None) -> list[Any]:
    return [{"from": list(peers), **({"ports": ports} if ports else {})}] if peers else [{}]


def egress(*peers: Any, ports: Any = None) -> list[Any]:
    return [{"to": list(peers), **({"ports": ports} if ports else {})}] if peers else [{}]


def space(selector: Any, pods: Any = None) -> dict[str, Any]:
    return {"namespaceSelector": selector, **({"podSelector": pods} if pods else {})}


def tier(name: str, subject: Any, priority: int = 10, **rules: Any) -> Observed:
    """A ClusterNetworkPolicy for pods of these namespaces."""
    spec = {"tier": "Admin", "priority": priority, "subject": {"namespaces": subject}, **rules}
    return observed(CLUSTER_NETWORK_POLICY, name, spec=spec)


def inward(action: str, *spaces: str, ports: Any = None) -> list[Any]:
    """Its rules of ingress."""
    matched = {"protocols": [{"tcp": {"destinationPort": {"number": port}}} for port in ports]} if ports else {}
    return [{"action": action, "from": [{"namespaces": named(*spaces) if spaces else {}}], **matched}]


class Stage:
    """A tenant whose policies stand as planned, until the test changes them. `absent`: kinds that are not served."""

    def __init__(
        self, *others: Any, platform: Platform | None = None, absent: Collection[Kind] = (), **spec: Any
    ) -> None:
        self.tenant = tenant("pay", **{"namespaces": [A, B], **spec})
        tenants = [self.tenant, *(o for o in others if isinstance(o, SecureTenant))]
        self.world = StaticWorld(tenants, platform=platform, absent=absent)
        self.world.put(*mine(self.tenant), *(o for o in others if not isinstance(o, SecureTenant)))
        self.settle(self.tenant)

    def settle(self, of: SecureTenant) -> None:
        for want in plan(of, self.world, NOW).desired:
            self.world.put(observe(want, of))

    def look(self) -> Holds:
        return holds.look(plan(self.tenant, self.world, NOW).desired, [A, B], self.world)

    def told(self) -> list[tuple[str, str, str, str, list[str]]]:
        found = self.look()
        assert not found.blocked
        assert not found.unknown
        return texts(found.unexpected)

    @property
    def condition(self) -> tuple[str, str]:
        found = report.condition(self.look())
        return found.status, found.reason


def texts(found: Iterable[holds.Difference]) -> list[tuple[str, str, str, str, list[str]]]:
    return [(*one[:4], [ref.name for ref in one.policies]) for one in found]


def closed(name: str, **labels: str) -> list[Observed]:
    """A namespace that lets nothing in and out."""
    return [namespace(name, labels=labels), foreign("deny", name, ingress=[], egress=[])]


def wide(world: StaticWorld, count: int) -> None:
    for n in range(count):
        world.put(namespace(f"n{n}", labels={"env": f"e{n % 500}", "team": f"t{n % 7}"}))
