"""``python -m bench.reach``: how long one process takes to find who reaches whom: all of a cluster, and what one
tenant's change opens. Pure, without a cluster."""

import argparse
import gc
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from statistics import median
from typing import Final

from bench.tenants import namespace_name
from securetenant.controls.network import policies
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Json, Ref, at
from securetenant.model.platform import Platform
from securetenant.reach.flows import compare, reach
from securetenant.reach.values import Cluster, Difference, Standing
from securetenant.sets import policy, selectors
from securetenant.sets.blocks import Block
from securetenant.sets.policy import PodPeer, Policy, Rule
from securetenant.sets.ports import Range

_ROUNDS: Final = 9
_WEB: Final = selectors.Selector((("app", "web"),))
_DB: Final = selectors.Selector((("app", "db"),))
_HTTPS: Final = (Range("TCP", 8443, 8443),)
_SYSTEM: Final = "kube-system"
_BEYOND: Final = Block("192.0.2.0/24")


def cluster(namespaces: int) -> Cluster:
    """Tenants of two namespaces, five policies in each: none but their own by default, DNS, and what they whitelist:
    each tenant calls the next one, and an address outside."""
    names = [namespace_name(number, index) for number in range(namespaces // 2) for index in range(2)]
    labels = {name: {"kubernetes.io/metadata.name": name, "env": "prod"} for name in (*names, _SYSTEM)}
    standing = {
        name: _standing(name, names[number - number % 2 :][:2], names, number) for number, name in enumerate(names)
    }
    subnets = {name: [ip_network(((10 << 24) + (number << 8), 24))] for number, name in enumerate(labels)}
    return Cluster(labels, standing, subnets=subnets)


def _standing(name: str, own: list[str], names: list[str], number: int) -> tuple[Standing, ...]:
    following, previous = (selectors.of_namespaces([names[(number + by) % len(names)]]) for by in (2, -2))
    leaving = Policy(_WEB, egress=(Rule((PodPeer(following, _DB), _BEYOND), _HTTPS),))
    entering = Policy(_DB, ingress=(Rule((PodPeer(previous, _WEB),), _HTTPS),))
    written: dict[str, Json] = {
        "default-deny": policies.default_deny(),
        "among": policies.among(own),
        "dns": policies.dns(Platform()),
    }
    read = {called: policy.parsed(at(body, ("spec",))) for called, body in written.items()}
    found = {**read, "securetenant-egress-next": leaving, "securetenant-ingress-previous": entering}
    return tuple(Standing(Ref(NETWORK_POLICY, name, called), one) for called, one in found.items())


def changed(before: Cluster, name: str, *further: Policy) -> Cluster:
    added = tuple(Standing(Ref(NETWORK_POLICY, name, f"added-{number}"), one) for number, one in enumerate(further))
    return replace(before, policies={**before.policies, name: (*before.policies[name], *added)})


#: What one tenant adds.
CHANGES: Final[dict[str, tuple[Policy, ...]]] = {
    "one address": (Policy(_WEB, egress=(Rule((Block("198.51.100.7/32"),), _HTTPS),)),),
    "everyone in": (Policy(_DB, ingress=(Rule(None, _HTTPS),)),),
    "everyone out": (Policy(_WEB, egress=(Rule(),)),),
    "all namespaces": (Policy(ingress=(Rule((PodPeer(selectors.ALL),)),)),),
    "all addresses": (Policy(egress=(Rule((Block("0.0.0.0/0"),)),)),),
}


def measure(namespaces: int) -> dict[str, float]:
    """Seconds of the processor, and MiB of the process at most."""
    start = time.process_time()
    before = cluster(namespaces)
    figures: dict[str, float] = {
        "namespaces": len(before.namespaces),
        "policies": sum(map(len, before.policies.values())),
        "read": time.process_time() - start,
    }
    gc.collect()
    start = time.process_time()
    figures["flows"] = len(reach(before).flows)
    figures["whole"] = time.process_time() - start
    name = namespace_name(namespaces // 4, 0)
    of = {name, namespace_name(namespaces // 4, 1)}
    for what, added in CHANGES.items():
        figures[what] = _fastest(lambda added=added: compare(before, changed(before, name, *added), of))  # type: ignore[misc]
    figures["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {key: round(value, 4) for key, value in figures.items()}


def _fastest(run: Callable[[], Difference]) -> float:
    """The median of some rounds. Raises AssertionError where nothing opens."""
    taken = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        found = run()
        taken.append(time.process_time() - start)
        if not found.opened or found.closed:
            raise AssertionError("the change opens nothing, or closes something")
    return median(taken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.reach", description=__doc__)
    parser.add_argument("--namespaces", type=int, default=1000, metavar="N", help="how many (default: 1000)")
    print(json.dumps(measure(parser.parse_args().namespaces)))
