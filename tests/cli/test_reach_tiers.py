"""`securetenant reach` with policies of the tiers above and below NetworkPolicies, and Kube-OVN's Subnets."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from typer.testing import CliRunner

from securetenant.api.tenant import SecureTenant
from securetenant.cli import reach_rows, reach_states
from securetenant.cli.main import app
from securetenant.controls.network import control as network
from securetenant.drift.applied import grouped, recorded
from securetenant.model import names
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, KUBE_OVN_SUBNET, NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Observed, Ref
from tests.support.admin_tier import ON
from tests.support.holding import foreign, ingress, named, space
from tests.support.world import NOW, StaticWorld, mine, namespace, observe, tenant

BANK: Final = Path(__file__).parents[2] / "examples" / "bank"
AGREED: Final = ("--from", "payments-prod", "--to", "ledger-prod")
PORT: Final = ("--port", "TCP/8443")


def reach(*args: object, text: Any = None, code: int = 0) -> dict[str, Any]:
    """Of the bank, with more objects on stdin."""
    given = "\n---\n".join(map(json.dumps, text or ()))
    result = CliRunner().invoke(
        app, ["reach", str(BANK), *(["-"] if given else []), *map(str, args), "-o", "json"], input=given
    )
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def policy(name: str, *subject: str, **rules: Any) -> dict[str, Any]:
    where = named(*subject) if subject else {}
    spec = {"tier": "Admin", "priority": 10, "subject": {"namespaces": where}, **rules}
    return {
        "apiVersion": CLUSTER_NETWORK_POLICY.api_version,
        "kind": CLUSTER_NETWORK_POLICY.name,
        "metadata": {"name": name},
        "spec": spec,
    }


def subnet(name: str, where: str, **spec: Any) -> dict[str, Any]:
    given = {"cidrBlock": "10.77.0.0/24", "namespaces": [where], **spec}
    return {"apiVersion": KUBE_OVN_SUBNET.api_version, "kind": "Subnet", "metadata": {"name": name}, "spec": given}


def inward(action: str, source: str) -> dict[str, Any]:
    return {"ingress": [{"action": action, "from": [{"namespaces": named(source)}]}]}


ELSEWHERE: Final = subnet("elsewhere", "nowhere")


def between(found: dict[str, Any], source: str, target: str) -> list[dict[str, Any]]:
    return [one for one in found["flows"] if source in one["from"]["namespaces"] and target in one["to"]["namespaces"]]


def states(found: dict[str, Any], source: str, target: str) -> dict[str, set[str]]:
    """By state, the policies."""
    listed: dict[str, set[str]] = {}
    for one in between(found, source, target):
        listed.setdefault(one["state"], set()).update(policy["name"] for policy in one["policies"])
    return listed


def test_what_one_accepts_is_undeclared_and_the_policy_named() -> None:
    accept = policy("in", "ledger-prod", **inward("Accept", "kube-system"))
    assert states(reach(), "kube-system", "ledger-prod") == {}
    found = reach(text=[accept])
    assert states(found, "kube-system", "ledger-prod") == {"undeclared": {"in"}}
    assert not found["unknown"]
    (answer,) = reach("--from", "kube-system", "--to", "ledger-prod", text=[accept])["answers"]
    assert (
        "ingress of ledger-prod allows it, by ClusterNetworkPolicy/in, which no SecureTenant declares"
        in (answer["reasons"])
    )


def test_of_one_for_all_only_what_it_does_to_tenants_is_undeclared() -> None:
    """At the other end it is as it is."""
    everywhere = policy("in", **inward("Accept", "kube-system"))
    found = reach("--all", text=[everywhere])
    assert states(found, "kube-system", "ledger-prod") == {"undeclared": {"in"}}
    assert [*states(found, "kube-system", "default")] == ["other"]


def test_what_one_denies_is_declared_and_not_open() -> None:
    deny = policy("shut", "ledger-prod", **inward("Deny", "payments-prod"))
    assert [*states(reach(text=[deny]), "payments-prod", "ledger-prod")] == ["missing"]
    (answer,) = reach(*AGREED, *PORT, text=[deny], code=1)["answers"]
    assert answer["answer"] == "no"
    assert "ingress of ledger-prod does not allow it, since ClusterNetworkPolicy/shut denies it" in answer["reasons"]
    assert any(one.startswith("egress of payments-prod allows it, by rule ledger") for one in answer["reasons"])


def test_one_that_is_not_understood_makes_all_unknown() -> None:
    odd = policy("odd", "ledger-prod", news=[])
    found = reach(*AGREED, "--port", "TCP/1", text=[odd], code=3)
    assert "ClusterNetworkPolicy/odd is not understood" in found["answers"][0]["unknown"][0]


def test_kube_ovn_may_enforce_none() -> None:
    """So that what they accept may be open, and what they deny is."""
    accept = policy("in", "ledger-prod", **inward("Accept", "kube-system"))
    deny = policy("shut", "ledger-prod", **inward("Deny", "payments-prod"), priority=11)
    found = reach(text=[accept, deny, ELSEWHERE])
    assert [*states(found, "payments-prod", "ledger-prod")] == ["declared"]
    assert states(found, "kube-system", "ledger-prod") == {"undeclared": {"in"}}
    ((one,),) = ([each for each in found["unknown"] if each["namespace"] == "ledger-prod"],)
    assert any("ClusterNetworkPolicy/in may not be enforced: Kube-OVN" in reason for reason in one["reasons"])
    assert not any("shut" in reason for reason in one["reasons"])
    assert any("ENABLE_ANP" in note for note in found["notes"])


def test_a_private_subnet_closes_what_is_agreed() -> None:
    shut = subnet("vault", "payments-prod", private=True)
    assert [*states(reach(text=[shut]), "payments-prod", "ledger-prod")] == ["missing"]
    (answer,) = reach(*AGREED, *PORT, text=[shut], code=1)["answers"]
    assert answer["reasons"][-1] == "but Subnet vault closes it"
    assert all(" allows it" in one for one in answer["reasons"][:-1])


def test_an_acl_opens_what_no_policy_does() -> None:
    acl = {"direction": "to-lport", "priority": 3000, "match": "ip4.src == 192.0.2.0/24", "action": "allow-related"}
    (answer,) = reach("--from", "192.0.2.7", "--to", "ledger-prod", code=1)["answers"]
    assert answer["answer"] == "no"
    wide = subnet("vault", "ledger-prod", acls=[acl])
    (answer,) = reach("--from", "192.0.2.7", "--to", "ledger-prod", text=[wide])["answers"]
    assert answer["reasons"][-1] == "but an acl of Subnet vault opens it"
    opened = [one for one in reach(text=[wide])["flows"] if one["to"]["namespaces"] == ["ledger-prod"]]
    assert [one["state"] for one in opened if "192.0.2.0/24" in one["from"]["cidrs"]] == ["undeclared"]


# --- the operator's own


def bodies(world: StaticWorld) -> list[dict[str, Any]]:
    return [body(one) for one in world.objects() if one.ref.kind in (NAMESPACE, NETWORK_POLICY, CLUSTER_NETWORK_POLICY)]


def body(one: Observed) -> dict[str, Any]:
    fields = {name: msgspec.json.decode(raw) for name, raw in one.fields.items() if name == "spec"}
    metadata = {"name": one.ref.name, "namespace": one.ref.namespace or None, "labels": dict(one.labels)}
    return {"apiVersion": one.ref.kind.api_version, "kind": one.ref.kind.name, "metadata": metadata, **fields}


def settled(one: SecureTenant) -> StaticWorld:
    world = StaticWorld([one], [*mine(one), namespace("web")], ON, absent=[KUBE_OVN_SUBNET])
    wanted = network.CONTROL.plan(one, world, NOW).desired
    world.put(*(observe(want, one) for want in wanted))
    status = one.status.model_copy(update={"applied": grouped(want.ref for want in wanted)})
    world.put(one.model_copy(update={"status": status}))
    return world


@pytest.mark.parametrize("rendering", [False, True])
def test_what_the_operator_wrote_in_the_admin_tier_closes_what_others_open(*, rendering: bool) -> None:
    world = settled(tenant("pay", namespaces=["pay-a"]))
    world.put(foreign("theirs", "pay-a", ingress=ingress(space(named("web")))))

    def kinds(*more: dict[str, Any], without: str = "") -> set[str]:
        listed = [one for one in bodies(world) if one["kind"] != without]
        known = world.tenant("pay")
        assert known is not None
        state = reach_states.state("test", [*listed, *more], [known], world, NOW, rendering=rendering)
        return {
            row.kind
            for row in reach_rows.of_state(state).rows
            if "web" in row.source.namespaces and row.target.namespaces == ("pay-a",)
        }

    assert kinds() == set()
    # It would write them again where it acts, and does not stand there otherwise.
    assert kinds(without="ClusterNetworkPolicy") == (set() if rendering else {"undeclared"})
    accept = policy("first", "pay-a", **inward("Accept", "web"))
    accept["spec"]["priority"] = 1
    assert kinds(accept) == {"undeclared"}


def of(name: str, label: str, where: str) -> dict[str, Any]:
    """A policy that opens all of a namespace, with the operator's labels."""
    marks = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_TENANT: label}
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
    return {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.name,
        "metadata": {"name": name, "namespace": where, "labels": marks},
        "spec": spec,
    }


def test_of_what_stands_on_a_cluster_only_the_tenants_own_is_taken_away_by_the_operator() -> None:
    pay, other = tenant("pay", namespaces=["pay-a"]), tenant("other", namespaces=["other-a"])
    world = StaticWorld([pay, other], [*mine(pay), *mine(other), namespace("web")], absent=[KUBE_OVN_SUBNET])

    def openers(*, on_cluster: Sequence[dict[str, Any]], files: Sequence[dict[str, Any]] = ()) -> set[str]:
        state = reach_states.state(
            *("test", [*bodies(world), *on_cluster, *files], [pay, other], world, NOW),
            on_cluster=[*bodies(world), *on_cluster],
            rendering=True,
        )
        undeclared = [row for row in reach_rows.of_state(state).rows if row.kind == "undeclared"]
        return {ref.name for row in undeclared for ref in (*row.leaves, *row.enters)}

    stale, forged = of("stale", "pay", "pay-a"), of("forged", "other", "pay-a")
    assert openers(on_cluster=[stale]) == set()
    assert openers(on_cluster=[stale, forged]) == {"forged"}
    assert openers(on_cluster=[], files=[stale]) == {"stale"}


def test_a_status_in_a_file_takes_away_no_policy_of_the_files() -> None:
    world = settled(tenant("pay", namespaces=["pay-a"]))
    known = world.tenant("pay")
    assert known is not None
    accept = policy("in", "pay-a", **inward("Accept", "web"))
    status = known.status.model_copy(update={"applied": {"": ["ClusterNetworkPolicy/in"]}})
    forger = known.model_copy(update={"status": status})
    assert recorded(status) == {Ref(CLUSTER_NETWORK_POLICY, "", "in")}
    state = reach_states.state("test", [*bodies(world), accept], [forger], world, NOW, rendering=True)
    rows = reach_rows.of_state(state).rows
    assert "in" in {ref.name for row in rows if row.kind == "undeclared" for ref in row.enters}


def test_an_acl_of_a_subnet_that_the_operator_does_not_write_counts() -> None:
    acl = {"action": "allow", "direction": "to-lport", "match": "ip4.src == 192.0.2.0/24", "priority": 2000}
    wide = subnet("securetenant-ledger-prod", "ledger-prod", acls=[acl])
    opened = [one for one in reach(text=[wide])["flows"] if one["to"]["namespaces"] == ["ledger-prod"]]
    assert [one["state"] for one in opened if "192.0.2.0/24" in one["from"]["cidrs"]] == ["undeclared"]


def test_addresses_that_could_not_be_read_make_who_declares_a_cidr_unknown() -> None:
    outside = {"ingress": [{"name": "in", "from": [{"cidr": "10.0.0.0/8"}]}]}
    pay, other = tenant("pay", namespaces=["pay-a"], network=outside), tenant("other", namespaces=["other-a"])
    world = StaticWorld([pay, other], [*mine(pay), *mine(other)], absent=[KUBE_OVN_SUBNET])
    state = reach_states.state(
        *("test", bodies(world), [pay, other], world, NOW), rendering=True, unread=["nodes could not be read"]
    )
    assert reach_rows.of_state(state).unknown == {"pay-a": ("nodes could not be read",)}
