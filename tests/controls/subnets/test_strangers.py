"""Subnets of others that bind a tenant's namespace as well."""

from typing import Any

import pytest

from securetenant.controls.subnets import strangers
from securetenant.model.kinds import KUBE_OVN_SUBNET
from securetenant.model.objects import Observed
from tests.support.world import StaticWorld, namespace, observed

NAMED = {"namespaces": ["pay-a"]}


def subnet(name: str, **spec: Any) -> Observed:
    return observed(KUBE_OVN_SUBNET, name, spec=spec)


def selecting(*selectors: Any) -> dict[str, Any]:
    return {"namespaceSelectors": list(selectors)}


def found(*subnets: Observed) -> dict[str, list[str]]:
    world = StaticWorld(objects=[namespace("pay-a", labels={"env": "prod"}), *subnets])
    listed = strangers.of("subnets", ["pay-a", "pay-new"], world)
    return {name: [one.observed.ref.name for one in foreign] for name, foreign in listed.items()}


@pytest.mark.parametrize(
    "spec",
    [
        NAMED,
        {"namespaces": ["other", "pay-a"]},
        selecting({"matchLabels": {"env": "prod"}}),
        selecting({"matchLabels": {"env": "test"}}, {"matchExpressions": [{"key": "env", "operator": "Exists"}]}),
        selecting({}),
    ],
)
def test_whoever_binds_it_is_found(spec: dict[str, Any]) -> None:
    assert found(subnet("theirs", **spec), subnet("securetenant-pay-a", **NAMED)) == {"pay-a": ["theirs"]}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"namespaces": ["pay"]},
        {"namespaces": "pay-a"},
        selecting({"matchLabels": {"env": "test"}}),
        selecting({"matchExpressions": [{"key": "env", "operator": "Odd"}]}),
    ],
)
def test_nobody_else_is(spec: dict[str, Any]) -> None:
    assert found(subnet("theirs", **spec), subnet("securetenant-pay-a", **NAMED)) == {}


def test_another_tenants_subnet_counts() -> None:
    """A tampered one: its own tenant puts it right."""
    assert found(subnet("securetenant-risk-a", **NAMED)) == {"pay-a": ["securetenant-risk-a"]}


def test_a_namespace_that_is_not_made_yet_can_only_be_named() -> None:
    assert found(subnet("one", namespaces=["pay-new"]), subnet("two", **selecting({}))) == {
        "pay-a": ["two"],
        "pay-new": ["one"],
    }
