"""Estates of tenants for `reach`, of any size: SecureTenants and Namespaces as YAML, the same each time."""

import json
from random import Random
from typing import Any

TIERS = ("web", "app", "db", "batch")


def estate(namespaces: int, *, undeclared: int = 2, seed: int = 1) -> str:
    """About so many namespaces: four to a tenant, rules between tenants that both sides declare, some platform
    namespaces. `undeclared`: how many NetworkPolicies of others open what no SecureTenant declares."""
    random = Random(seed)
    number = max(namespaces // 4, 1)
    specs: dict[str, dict[str, Any]] = {}
    for index in range(number):
        name = f"team-{index:03}"
        spaces = [f"{name}-{stage}" for stage in ("prod", "stage", "test", "dev")[: max(1, min(4, namespaces))]]
        specs[name] = {
            "mode": "Enforce",
            "namespaces": [{"name": space} for space in spaces],
            "network": {"ingress": [_edge(spaces[0])] if index % 3 == 0 else [], "egress": []},
        }
    for index, name in enumerate(specs):
        for other in {f"team-{random.randrange(number):03}" for _ in range(2)} - {name}:
            _agree(specs, name, other, f"CHG-{20000 + index}")
    bodies: list[dict[str, Any]] = [
        {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "metadata": {"name": name}, "spec": spec}
        for name, spec in specs.items()
    ]
    bodies += [_namespace(name) for name in ("ingress-nginx", "monitoring")]
    for index in range(undeclared):
        bodies.append(_forgotten(f"team-{(index * 7) % number:03}-prod", f"temporary-{index}"))
    return "\n---\n".join(json.dumps(body) for body in bodies)


def _agree(specs: dict[str, dict[str, Any]], source: str, target: str, ticket: str) -> None:
    ports = [{"protocol": "TCP", "port": 8443}]
    pods = {"matchLabels": {"app": "api"}}
    told = {"ports": ports, "ticket": ticket, "expires": "2031-03-31T00:00:00Z"}
    specs[source]["network"]["egress"].append(
        {"name": target, "from": {"namespaces": [f"{source}-prod"]}, "to": [{"tenant": target, "pods": pods}], **told}
    )
    specs[target]["network"]["ingress"].append(
        {"name": source, "to": {"namespaces": [f"{target}-prod"], "pods": pods}, "from": [{"tenant": source}], **told}
    )


def _edge(space: str) -> dict[str, Any]:
    web = {"matchLabels": {"app": "web"}}
    peer = {"namespace": "ingress-nginx"}
    return {"name": "edge", "to": {"namespaces": [space], "pods": web}, "from": [peer], "ports": [{"port": 8080}]}


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _forgotten(namespace: str, name: str) -> dict[str, Any]:
    """Whoever made it is gone."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
    }
