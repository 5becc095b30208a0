"""Clusters written by hand for who reaches whom: namespaces with their policies as plain JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref
from securetenant.reach.values import Cluster, Standing
from securetenant.sets import policy

NAME: Final = "kubernetes.io/metadata.name"
CLOSED: Final[Any] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def ref(namespace: str, number: int) -> Ref:
    """Of a policy, by its place in its namespace."""
    return Ref(NETWORK_POLICY, namespace, f"p{number}")


def cluster(specs: Mapping[str, Sequence[Any]], **more: Any) -> Cluster:
    standing = {
        name: tuple(Standing(ref(name, number), policy.parsed(spec)) for number, spec in enumerate(listed))
        for name, listed in specs.items()
    }
    return Cluster({name: {NAME: name} for name in specs}, standing, **more)


def named(namespace: str, **pods: str) -> Any:
    """A peer: the pods of a namespace that have these labels."""
    found = {"namespaceSelector": {"matchLabels": {NAME: namespace}}}
    return {**found, "podSelector": {"matchLabels": pods}} if pods else found


def ingress(*rules: Any, **pods: str) -> Any:
    return {"podSelector": {"matchLabels": pods}, "policyTypes": ["Ingress"], "ingress": list(rules)}


def egress(*rules: Any, **pods: str) -> Any:
    return {"podSelector": {"matchLabels": pods}, "policyTypes": ["Egress"], "egress": list(rules)}
