"""The whitelist as NetworkPolicies: each body is the canonical JSON of a value. (Which: test_control.py.)"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from securetenant.api.tenant import SecureTenant
from securetenant.controls.network import control as network
from securetenant.controls.network import policies
from securetenant.controls.network.policies import Within
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Desired, Json, Ref
from securetenant.sets.blocks import Block
from securetenant.sets.policy import Policy, Rule, parsed, rendered
from securetenant.sets.ports import Ports, Range
from securetenant.sets.selectors import ALL, Selector
from tests.support.network import READY, at, within
from tests.support.reading import load
from tests.support.specs import TENANTS, secure_tenants
from tests.support.world import NOW, StaticWorld, committed, mine, namespace

BANK: Final = Path(__file__).parents[3] / "examples" / "bank"
FIELDS: Final = ("podSelector", "policyTypes", "ingress", "egress")  # in this order `render` shows them
PLATFORM: Final = ("ingress-nginx", "monitoring", "kube-system")


def desired(tenants: Iterable[SecureTenant]) -> list[Desired]:
    """What is written for all of them together, where each holds its namespaces."""
    known = [committed(tenant, *(entry.name for entry in tenant.spec.namespaces)) for tenant in tenants]
    objects = [READY, *map(namespace, PLATFORM), *(item for tenant in known for item in mine(tenant))]
    world = StaticWorld(known, objects)
    return [item for tenant in known for item in network.CONTROL.plan(tenant, world, NOW).desired]


def spec(body: Mapping[str, Any]) -> Json:
    assert body.keys() == {"spec"}
    found: Json = body["spec"]
    return found


def is_tenant(document: Any) -> bool:
    return isinstance(document, dict) and document["kind"] == "SecureTenant"


def assert_canonical(items: Iterable[Desired]) -> None:
    for item in items:
        value = parsed(spec(item.body))
        assert isinstance(value, Policy)
        assert all(isinstance(rule, Rule) for rule in (*(value.ingress or ()), *(value.egress or ())))
        assert rendered(value) == spec(item.body), item.ref
        assert list(spec(item.body)) == [field for field in FIELDS if field in spec(item.body)]


def test_the_examples_are_canonical() -> None:
    documents = [one for path in BANK.glob("*.yaml") for one in yaml.safe_load_all(path.read_text())]
    tenants = [load({**one, "metadata": {**one["metadata"], "uid": "u"}}) for one in documents if is_tenant(one)]
    made = desired(tenants)
    assert len(made) > 20
    assert Ref(NETWORK_POLICY, "payments-prod", "securetenant-egress-ledger") in {item.ref for item in made}
    assert_canonical(made)


def test_the_order_of_the_ends_makes_no_difference() -> None:
    """The record is of the JSON, in which lists have an order."""
    https, web = (Range("TCP", 443, 443),), (Range("TCP", 80, 80),)
    ends: dict[policies.End, Ports] = {
        Within("b", ALL): https,
        Within("a", ALL): https,
        Within("a", Selector((("app", "x"),))): https,
        Block("10.8.0.0/16"): https,
        Block("10.7.0.0/16"): https,
        Block("10.9.0.0/16"): None,
        Within("c", ALL): web,
    }
    expected = policies.opening("egress", ALL, ends)
    assert expected == policies.opening("egress", ALL, dict(reversed(ends.items())))
    assert spec(expected)["egress"] == [
        {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]},
        {
            "to": [{"namespaceSelector": at("c")}],
            "ports": [{"protocol": "TCP", "port": 80}],
        },
        {
            "to": [
                {
                    "namespaceSelector": at("a"),
                    "podSelector": {"matchLabels": {"app": "x"}},
                },
                {"namespaceSelector": within("a", "b")},
                {"ipBlock": {"cidr": "10.7.0.0/16"}},
                {"ipBlock": {"cidr": "10.8.0.0/16"}},
            ],
            "ports": [{"protocol": "TCP", "port": 443}],
        },
    ]


@settings(max_examples=50)
@given(st.tuples(*(secure_tenants(name) for name in TENANTS)))
def test_whatever_tenants_declare_is_canonical(tenants: tuple[SecureTenant, ...]) -> None:
    assert_canonical(desired(tenants))
