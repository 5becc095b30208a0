"""A tenant with all its NetworkPolicies, and those of others beside them, for tests of what is open."""

from collections.abc import Iterable
from typing import Any, Final

from securetenant.api.tenant import SecureTenant
from securetenant.controls.network.control import plan
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Observed
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


class Stage:
    """A tenant whose policies stand as planned, until the test changes them."""

    def __init__(self, *others: Any, **spec: Any) -> None:
        self.tenant = tenant("pay", **{"namespaces": [A, B], **spec})
        self.world = StaticWorld([self.tenant, *(o for o in others if isinstance(o, SecureTenant))])
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
