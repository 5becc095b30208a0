"""Which events concern which tenant; and tenants of a list, which are parsed when they are asked for."""

from typing import Any

import msgspec
from hypothesis import given

from securetenant.api.network import Peer, Value
from securetenant.api.refused import parse
from securetenant.api.tenant import Nodes, SecureTenant
from securetenant.cache.tenants import Tenants
from securetenant.cache.triggers import read, tokens
from securetenant.controls.access import control as access
from securetenant.controls.access import subjects
from securetenant.controls.network import whitelist
from securetenant.model import names
from securetenant.sets import blocks
from tests.support.specs import documents
from tests.support.world import StaticWorld, observed, tenant


def body(name: str, version: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "securetenant.dev/v1alpha1",
        "kind": "SecureTenant",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "generation": 1},
        "spec": {"namespaces": [{"name": name}], **spec},
    }


def loaded(*bodies: dict[str, Any]) -> Tenants:
    tenants = Tenants()
    for each in bodies:
        tenants.load(each)
    return tenants


@given(documents())
def test_the_tokens_are_those_under_which_the_controls_look_things_up(document: dict[str, Any]) -> None:
    sketch = read(msgspec.json.encode(document))
    tenant, problem = parse(document)
    assert problem == ""
    assert sketch is not None
    spec, namespaces = tenant.spec, [entry.name for entry in tenant.spec.namespaces]
    rules = [*((rule, rule.from_) for rule in spec.network.ingress), *((rule, rule.to) for rule in spec.network.egress)]
    named: list[Peer | Value] = [peer for _, peers in rules for peer in peers]
    named += [value for use in spec.network.templates for value in use.parameters]
    assert tokens(sketch) == {
        *(f"ns:{name}" for name in namespaces),
        *(f"subject:{key}" for key in subjects.subject_keys(tenant, namespaces)),
        *(f"role:{name}" for name in access.bound_roles(tenant)),
        *(f"peer:{peer.tenant}" for peer in named if peer.tenant is not None),
        *(f"platform:{peer.namespace}" for peer in named if peer.namespace is not None),
        *(f"cidr:{blocks.canonical_cidr(peer.cidr)}" for peer in named if peer.cidr is not None),
        *(f"template:{use.template}" for use in spec.network.templates),
        *(["bysubnet", "subnets"] if spec.network.peers_by != "Selector" else []),
        *(["apiserver"] if spec.network.api_server or _may_reach_addresses(tenant) else []),
        *(f"usage:{name}" for name in namespaces if spec.quota.tenant),
        *([_first(spec.nodes)] if spec.nodes is not None else []),
        *(f"host:{pattern}" for pattern in spec.exposure.ingress.hosts),
        *(
            f"under:{pattern.partition('.')[2]}"
            for pattern in spec.exposure.ingress.hosts
            if pattern[0] != "*" and "." in pattern
        ),
    }


def _may_reach_addresses(tenant: SecureTenant) -> bool:
    values = (value for use in tenant.spec.network.templates for value in use.parameters)
    return whitelist.reaches_addresses(tenant) or any(value.cidr is not None for value in values)


def _first(nodes: Nodes) -> str:
    key, value = min(nodes.selector.match_labels.items())
    return f"node:{key}={value}"


@given(documents(name="pay"))
def test_loaded_or_observed_it_is_the_same(document: dict[str, Any]) -> None:
    metadata = {**document["metadata"], "uid": "u", "resourceVersion": "7", "generation": 3}
    given_ = {**document, "metadata": metadata, "status": {"observedGeneration": 2}}
    one, other = loaded(given_), Tenants()
    other.observe("ADDED", given_)
    assert one.index.tokens("pay") == other.index.tokens("pay")
    assert one.generation_lag("pay") == other.generation_lag("pay") == 1
    assert one.uids() == other.uids()
    assert one.get("pay") == other.get("pay")
    assert one.problem("pay") == other.problem("pay") == ""
    assert one.index.tokens("pay") == other.index.tokens("pay")
    assert one.observe("MODIFIED", given_) == set()


def test_a_refused_spec_is_found_out_when_it_is_asked_for() -> None:
    rule = {"name": "out", "to": [{"tenant": "core"}]}
    status = {"namespaces": [{"name": "held", "uid": "u-1"}]}
    bad = {**body("pay", mode="Sometimes", network={"egress": [rule]}), "status": status}
    tenants = loaded(bad)
    # Before it is parsed nobody takes what it holds, and whom it names may hear of it needlessly.
    assert tenants.index.tenants(("ns:held",)) == {"pay"}
    assert "mode" in tenants.problem("pay")
    assert tenants.index.tenants(("ns:held",)) == {"pay"}
    assert tenants.index.tenants(("ns:pay",)) == {"pay"}
    assert tenants.index.tenants(("peer:core",)) == set()
    refusal = tenants.refusal("pay")
    assert refusal is not None
    assert refusal.kept == 0


def test_what_the_models_accepted_last_is_kept_of_one_that_nobody_asked_for() -> None:
    tenants = loaded(body("pay", 5))
    spoilt = body("pay", 6, mode="Sometimes")
    spoilt["metadata"]["generation"] = 2
    tenants.observe("MODIFIED", spoilt)
    refusal = tenants.refusal("pay")
    assert refusal is not None
    assert refusal.kept == 1


def test_what_cannot_be_read_is_parsed_at_once() -> None:
    odd = body("pay")
    odd["spec"]["namespaces"] = "pay"
    tenants = loaded(odd)
    assert "namespaces" in tenants.problem("pay")
    assert tenants.index.tokens("pay") == frozenset()


def test_an_older_list_undoes_nothing() -> None:
    tenants = loaded(body("pay", 9))
    tenants.load(body("pay", 8, mode="Paused"))
    found = tenants.get("pay")
    assert found is not None
    assert found.spec.mode == "Enforce"


def test_a_tenant_that_asks_for_nothing_is_found_by_its_mark() -> None:
    """Its spec was emptied, and somebody puts its taint on a node: that is to be taken off at once."""
    one = tenant("pay")
    world = StaticWorld([one])
    tainted = observed(
        "Node", "n1", spec={"taints": [{"key": names.NODE_TAINT, "value": "pay", "effect": "NoSchedule"}]}
    )
    assert world.concerned(tainted, None) == {"pay"}
    world.drop("pay")
    assert world.concerned(tainted, None) == set()
