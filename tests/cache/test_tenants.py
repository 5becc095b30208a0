"""The cache of SecureTenants: what is news, and to whom."""

from typing import Any

import msgspec
import pytest

from securetenant.api.refused import parse
from securetenant.api.tenant import SecureTenant
from securetenant.cache import triggers
from securetenant.cache.tenants import Tenants


def body(name: str, version: int = 1, generation: int = 1, **spec: Any) -> dict[str, Any]:
    spec["namespaces"] = [{"name": n} for n in spec.get("namespaces", [name])]
    return {
        "apiVersion": "securetenant.dev/v1alpha1",
        "kind": "SecureTenant",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "generation": generation,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": spec,
    }


def peer(name: str, other: str, version: int = 1, generation: int = 1) -> dict[str, Any]:
    return body(name, version, generation, network={"egress": [{"name": "out", "to": [{"tenant": other}]}]})


def test_a_new_tenant_concerns_itself_and_those_that_name_it() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", peer("pay", "core"))
    assert tenants.observe("ADDED", body("core")) == {"core", "pay"}


def test_a_change_concerns_the_peers_of_before_and_after() -> None:
    tenants = Tenants()
    for name in ("core", "risk"):
        tenants.observe("ADDED", body(name))
    tenants.observe("ADDED", peer("pay", "core"))
    assert tenants.observe("MODIFIED", peer("pay", "risk", 2, 2)) == {"pay", "core", "risk"}


def test_rivals_for_a_namespace_hear_of_each_other() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", body("a", namespaces=["shared"]))
    assert tenants.observe("ADDED", body("b", namespaces=["shared"])) == {"a", "b"}
    assert tenants.observe("DELETED", body("a", namespaces=["shared"])) == {"a", "b"}


def test_users_of_a_platform_namespace_hear_when_it_gets_an_owner() -> None:
    tenants = Tenants()
    rule = {"name": "in", "from": [{"namespace": "edge"}]}
    tenants.observe("ADDED", body("pay", network={"ingress": [rule]}))
    assert tenants.observe("ADDED", body("edge")) == {"edge", "pay"}


def test_old_and_repeated_events_are_no_news() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", body("pay", 5))
    assert tenants.observe("MODIFIED", body("pay", 5)) == set()
    assert tenants.observe("MODIFIED", body("pay", 4, 9)) == set()


def test_others_writing_the_status_concern_only_the_tenant() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", peer("pay", "core"))
    tenants.observe("ADDED", body("core", 5))
    assert tenants.observe("MODIFIED", body("core", 6)) == {"core"}


def test_our_own_write_coming_back_is_no_news() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", body("pay", 5))
    answer = body("pay", 6)
    assert tenants.store(msgspec.json.encode(answer)) == set()
    assert tenants.observe("MODIFIED", answer) == set()


def test_an_edit_that_came_between_our_writes_is_not_lost() -> None:
    """The answer to our status write holds an edit whose own event is older than the answer."""
    tenants = Tenants()
    tenants.observe("ADDED", body("core"))
    tenants.observe("ADDED", body("pay", 5))
    assert tenants.store(msgspec.json.encode(peer("pay", "core", 7, 2))) == {"pay", "core"}
    assert tenants.observe("MODIFIED", peer("pay", "core", 6, 2)) == set()


def test_a_refused_spec_still_holds_its_namespaces() -> None:
    bad = body("pay", namespaces=["pay-prod"])
    bad["spec"]["mode"] = "Sometimes"
    parsed, problem = parse(bad)
    assert "mode" in problem
    assert [entry.name for entry in parsed.spec.namespaces] == ["pay-prod"]
    assert parsed.spec.mode == "Enforce"


@pytest.mark.parametrize("mode", ["Paused", "Audit"])
def test_a_refused_spec_may_say_that_nothing_is_to_be_written(mode: str) -> None:
    tenants = Tenants()
    tenants.observe("ADDED", refused("new", mode=mode))
    tenants.observe("ADDED", body("pay"))
    tenants.observe("MODIFIED", refused("pay", 2, 2, mode=mode))
    assert [kept(tenants, name).spec.mode for name in ("new", "pay")] == [mode, mode]


def test_a_refused_spec_leaves_the_accepted_one_in_its_place() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", body("core"))
    tenants.observe("ADDED", peer("pay", "core", generation=7))
    assert tenants.observe("MODIFIED", refused("pay", 2, 8, namespaces=["other"])) == {"pay", "core"}
    assert tenants.refusal("pay") == (tenants.problem("pay"), 7)
    found = kept(tenants, "pay")
    assert [entry.name for entry in found.spec.namespaces] == ["pay"]
    assert found.spec.network.egress[0].to[0].tenant == "core"
    assert found.metadata.generation == 8
    assert tenants.index.tenants(("peer:core", "ns:pay")) == {"pay"}
    assert tenants.index.tenants(("ns:other",)) == set()


def test_the_accepted_spec_outlives_refusals_and_our_own_writes_and_ends_with_the_next_accepted() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", peer("pay", "core", generation=7))
    for version, generation in ((2, 8), (3, 9)):
        tenants.observe("MODIFIED", refused("pay", version, generation))
    answer = {**refused("pay", 4, 9), "status": {"observedGeneration": 9}}
    tenants.store(msgspec.json.encode(answer))
    for number in range(40):  # more than are kept parsed
        tenants.observe("ADDED", body(f"other-{number}"))
    found = kept(tenants, "pay")
    assert (found.spec.network.egress[0].name, found.status.observed_generation) == ("out", 9)
    tenants.observe("MODIFIED", {**answer, "metadata": {**answer["metadata"], "resourceVersion": "5"}})
    assert tenants.refusal("pay") == (tenants.problem("pay"), 7)
    tenants.observe("MODIFIED", body("pay", 6, 10))
    assert tenants.refusal("pay") is None
    tenants.observe("MODIFIED", refused("pay", 7, 11))
    assert tenants.refusal("pay") == (tenants.problem("pay"), 10)


def test_another_tenant_of_the_same_name_left_no_spec() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", body("pay"))
    again = refused("pay", 2)
    again["metadata"]["uid"] = "another"
    tenants.observe("ADDED", again)
    assert tenants.refusal("pay") == (tenants.problem("pay"), 0)


def test_a_bare_tenant_holds_what_it_names_what_it_recorded_and_its_nodes() -> None:
    """So that no other can take them; what is no name of a namespace is none, and reaches no request."""
    given = refused("pay", namespaces=["pay-a", "pay-a", "kube-system", "../secrets"])
    given["spec"]["namespaces"] += [{"name": 7}, "x", {}]
    given["spec"]["nodes"] = {"selector": {"matchLabels": {"pool": "pay"}}}
    given["status"] = {"namespaces": [{"name": "pay-b", "uid": "1"}, {"name": "pay-c"}]}
    tenants = Tenants()
    tenants.observe("ADDED", given)
    assert [entry.name for entry in kept(tenants, "pay").spec.namespaces] == ["pay-a", "pay-b"]
    assert tenants.index.tenants(("node:pool=pay",)) == {"pay"}


@pytest.mark.parametrize("spec", [None, [], "x", {"namespaces": 3, "nodes": "all"}], ids=str)
def test_a_bare_tenant_out_of_anything(spec: object) -> None:
    tenants = Tenants()
    tenants.observe("ADDED", {**body("pay"), "spec": spec})
    assert tenants.refusal("pay") == (tenants.problem("pay"), 0)
    assert kept(tenants, "pay").spec.namespaces == []


def test_of_a_deleted_tenant_what_was_taken_out_of_the_spec_is_not_held() -> None:
    """It is to stay, whatever the policy; so the newest spec counts, and neither an older one nor the status."""
    tenants = Tenants()
    tenants.observe("ADDED", body("pay", namespaces=["pay-a", "pay-b"]))
    going = refused("pay", 2, 2, namespaces=["pay-a"])
    going["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    going["status"] = {"namespaces": [{"name": "pay-b", "uid": "1"}]}
    tenants.observe("MODIFIED", going)
    assert [entry.name for entry in kept(tenants, "pay").spec.namespaces] == ["pay-a"]


def test_a_name_that_the_models_refuse_is_a_refusal() -> None:
    tenants = Tenants()
    for version in (1, 2):
        assert tenants.observe("MODIFIED", body("a.b", version)) == {"a.b"}
    assert "metadata.name" in tenants.problem("a.b")
    assert kept(tenants, "a.b").name == "a.b"


def refused(name: str, version: int = 1, generation: int = 1, **spec: Any) -> dict[str, Any]:
    return body(name, version, generation, network={"isolation": "Nobody"}, **spec)


def kept(tenants: Tenants, name: str) -> SecureTenant:
    found = tenants.get(name)
    assert found is not None
    return found


def test_a_status_that_we_could_not_have_written_is_none() -> None:
    mangled = body("pay", 5)
    mangled["status"] = {"conditions": "none of your business"}
    tenants = Tenants()
    assert tenants.observe("ADDED", mangled) == {"pay"}
    assert tenants.problem("pay") == ""
    mangled["metadata"]["resourceVersion"] = "6"
    assert tenants.observe("MODIFIED", mangled) == {"pay"}


def test_a_recreated_tenant_is_news_whatever_its_version() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", body("pay", 9))
    again = body("pay", 3)
    again["metadata"]["uid"] = "another"
    assert tenants.observe("ADDED", again) == {"pay"}


def test_who_may_reach_addresses_hears_of_the_api_servers() -> None:
    """Egress by CIDR leaves the API server's endpoints out, and so rests on them."""
    tenants = Tenants()
    everywhere = {"name": "out", "to": [{"cidr": "0.0.0.0/0"}]}
    tenants.observe("ADDED", body("by-address", network={"egress": [everywhere]}))
    tenants.observe("ADDED", body("by-name", network={"apiServer": True}))
    tenants.observe("ADDED", body("neither", network={"ingress": [{"name": "in", "from": [{"cidr": "10.0.0.0/8"}]}]}))
    assert tenants.index.tenants(("apiserver",)) == {"by-address", "by-name"}


def test_a_refused_spec_keeps_its_deletion_policy() -> None:
    tenants = Tenants()
    tenants.observe("ADDED", body("bad", namespaces=["kube-system"], deletionPolicy="Delete"))
    refused = tenants.get("bad")
    assert tenants.problem("bad")
    assert refused is not None
    assert refused.spec.deletion_policy == "Delete"


def test_a_finalizer_that_was_taken_off_before_our_write_is_news() -> None:
    tenants = Tenants()
    ours = body("pay")
    ours["metadata"]["finalizers"] = ["securetenant.dev/cleanup"]
    tenants.observe("ADDED", ours)
    answer = body("pay", version=2)
    assert tenants.store(msgspec.json.encode(answer)) == {"pay"}


def test_the_lag_is_of_edits_that_no_status_tells_of() -> None:
    tenants = Tenants()
    assert tenants.generation_lag("pay") == 0
    tenants.observe("ADDED", body("pay", generation=3))
    assert tenants.generation_lag("pay") == 3
    tenants.observe("MODIFIED", {**body("pay", version=2, generation=3), "status": {"observedGeneration": 2}})
    assert tenants.generation_lag("pay") == 1


@pytest.mark.parametrize("take", ["load", "observe"])
def test_one_that_went_does_not_come_back_from_a_list_begun_before(take: str) -> None:
    tenants = Tenants()
    tenants.observe("ADDED", body("pay", 5))
    tenants.observe("DELETED", body("pay", 7))
    if take == "load":
        tenants.load(body("pay", 5))
    else:
        tenants.observe("MODIFIED", body("pay", 6))
    assert "pay" not in tenants
    anew = body("pay", 9)
    anew["metadata"]["uid"] = "uid-anew"
    assert tenants.observe("ADDED", anew) == {"pay"}


def test_a_token_of_many_tenants_loses_them_one_by_one() -> None:
    index, names = triggers.TokenIndex(), [f"t{number}" for number in range(triggers.FEW + 3)]
    for name in names:
        index.replace(name, frozenset({"role:all", f"ns:{name}"}))
    assert index.tenants(("role:all",)) == set(names)
    for number, name in enumerate(names):
        index.replace(name, frozenset())
        assert index.tenants(("role:all", f"ns:{name}")) == set(names[number + 1 :])


def test_what_a_status_tells_concerns_who_reads_it() -> None:
    """A subnet that is given stands in the status, which is written by us: no spec changes, and no object's event comes
    where a plug-in fills in nothing."""
    tenants = Tenants()
    before = body("pay", 2)
    for each in (peer("near", "pay"), body("stranger"), before):
        tenants.observe("ADDED", each)

    def written(version: int, **status: Any) -> bytes:
        metadata = {**before["metadata"], "resourceVersion": str(version)}
        return msgspec.json.encode({**before, "metadata": metadata, "status": status})

    given = [{"namespace": "pay", "cidrs": ["10.60.0.0/24"]}]
    assert tenants.store(written(3, observedGeneration=1)) == set()
    assert tenants.store(written(4, observedGeneration=1, subnets=given)) == {"near"}
    assert tenants.store(written(5, observedGeneration=1, subnets=given, drift={"total": 1})) == set()
    assert tenants.observe("MODIFIED", msgspec.json.decode(written(6, subnets=[]))) == {"pay", "near"}


def test_a_tenant_that_writes_its_own_subnets_reads_its_own_status() -> None:
    tenants = Tenants()
    before = body("pay", 2, network={"peersBy": "Subnet", "isolation": "Tenant"})
    tenants.observe("ADDED", before)
    metadata = {**before["metadata"], "resourceVersion": "3"}
    status = {"subnets": [{"namespace": "pay", "cidrs": ["10.60.0.0/24"]}]}
    assert tenants.store(msgspec.json.encode({**before, "metadata": metadata, "status": status})) == {"pay"}
