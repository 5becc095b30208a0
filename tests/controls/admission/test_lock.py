"""What the lock on namespaces is generated as, and what a spec says of it. tests/cluster/test_lock.py attacks it."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml

from securetenant.controls.admission import lock, manifests, posture, restraint, subnets
from securetenant.controls.lookup import NAMED, WRITES
from securetenant.controls.subnets.objects import Reach
from securetenant.controls.subnets.objects import desired as made_of
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.objects import Json, Ref
from tests.support.world import NOW, StaticWorld, tenant

ROOT: Final = Path(__file__).parents[3]


def annotation(**spec: Any) -> str:
    """What is written of the locks on a tenant's namespace."""
    owner = tenant("shop", namespaces=["shop-a"], **spec)
    (want,) = NAMED["admission"].plan(owner, StaticWorld([owner]), NOW).desired
    assert want.ref == Ref(NAMESPACE, "", "shop-a")
    return want.annotations["securetenant.dev/locks"]


def test_a_spec_says_which_locks_are_off() -> None:
    every = "foreign=networkpolicies,rolebindings"
    assert annotation() == f"v1;{every}"
    assert annotation(locks={"namespaces": True, "posture": True}) == f"v1;{every}"
    assert annotation(locks={"namespaces": False}) == f"v1;unlocked=namespaces;{every}"
    assert annotation(locks={"namespaces": False, "posture": False}) == f"v1;unlocked=namespaces,posture;{every}"


def test_a_spec_says_whose_objects_are_refused() -> None:
    """Nothing said in the annotation is the strictest."""
    removed = {"foreign": "Remove"}
    assert annotation(network=removed, access=removed) == "v1"
    assert annotation(network=removed) == "v1;foreign=rolebindings"
    assert annotation(access=removed, network={"foreign": "Ignore"}) == "v1;foreign=networkpolicies"


def test_it_matches_every_namespace_and_every_way_to_write_one() -> None:
    """A selector would read the new labels, and a misspelt resource is accepted without a word."""
    policy, binding = lock.namespaces()
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert rule["resources"] == ["namespaces", "namespaces/status", "namespaces/finalize"]
    assert rule["operations"] == ["CREATE", "UPDATE", "DELETE"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert "matchConditions" not in policy["spec"]
    assert policy["spec"]["matchConstraints"].keys() == {"resourceRules", "matchPolicy"}
    assert "matchResources" not in binding["spec"]
    assert binding["spec"]["validationActions"] == ["Deny", "Audit"]


def test_the_posture_lock_matches_what_the_operator_makes_and_quota_status() -> None:
    """A misspelt resource is accepted without a word; a kind that some control comes to write must be added."""
    policy, binding = posture.objects()
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    matched = {(rule["apiGroups"][0], resource) for rule in rules for resource in rule["resources"]}
    made = {(kind.group, kind.plural) for kind in WRITES if kind.namespaced}
    assert matched == made | {("", "resourcequotas/status")}
    assert {tuple(rule["operations"]) for rule in rules} == {("CREATE", "UPDATE", "DELETE")}
    assert (policy["spec"]["failurePolicy"], binding["spec"]["validationActions"]) == ("Fail", ["Deny", "Audit"])


def test_the_lock_on_subnets_matches_each_kind_of_a_network_plug_in_and_its_status() -> None:
    """By no namespace and no selector, for what is installed later as well; and a ConfigMap of one name, to try it."""
    policy, binding = subnets.objects()
    *rules, tried = policy["spec"]["matchConstraints"]["resourceRules"]
    made = {(kind.group, kind.plural) for kind in WRITES if kind.prefix} | {("projectcalico.org", "ippools")}
    assert {(rule["apiGroups"][0], rule["resources"][0]) for rule in rules} == made
    assert all(rule["resources"] == [rule["resources"][0], f"{rule['resources'][0]}/status"] for rule in rules)
    assert {(*rule["operations"], *rule["apiVersions"]) for rule in rules} == {("CREATE", "UPDATE", "DELETE", "*")}
    assert (tried["resources"], tried["resourceNames"]) == (["configmaps"], ["securetenant-probe-subnets"])
    assert policy["spec"]["matchConstraints"].keys() == {"resourceRules", "matchPolicy"}
    assert "matchResources" not in binding["spec"]
    assert (policy["spec"]["failurePolicy"], binding["spec"]["validationActions"]) == ("Fail", ["Deny", "Audit"])


@pytest.mark.parametrize("kind", subnets.FIELDS, ids=str)
def test_every_field_of_a_subnet_that_is_written_is_locked(kind: Kind) -> None:
    """For network plug-ins too; and the addresses for everybody."""
    blocks = [ip_network("10.1.0.0/24"), ip_network("fd00::/112")]
    written = {field for want in made_of(kind, "shop-a", blocks, Reach()) for field in cast(Json, want.body["spec"])}
    assert written <= set(subnets.FIELDS[kind])
    assert {field for _, field in kind.fixed} <= written


def test_the_operator_is_restrained_in_all_that_it_has_a_right_to_write() -> None:
    """Whatever a ClusterRole lets it write anywhere. What a Role lets it write is bounded by its namespace."""
    policy, binding = restraint.account()
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    matched = {(rule["apiGroups"][0], resource) for rule in rules for resource in rule["resources"]}
    components = (f"components/{name}/role.yaml" for name in ("admin-tier", "nodes", "subnets"))
    files = ("rbac/operator.yaml", *components)
    documents = [one for file in files for one in yaml.safe_load_all((ROOT / manifests.FOLDER / file).read_text())]
    writes = {
        (group, resource)
        for role in documents
        for rule in role.get("rules", ())
        if {"create", "update", "patch", "delete"} & set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert writes <= matched
    read = {("securetenant.dev", "subnetpools"), ("securetenant.dev", "networktemplates")}
    assert matched - writes == {("", "namespaces/status"), ("", "namespaces/finalize"), *read}
    assert (policy["spec"]["failurePolicy"], binding["spec"]["validationActions"]) == ("Fail", ["Deny", "Audit"])
    assert "matchResources" not in binding["spec"]


def test_what_ships_is_what_is_generated() -> None:
    for name, text in manifests.texts().items():
        assert (ROOT / manifests.FOLDER / name).read_text() == text


def test_the_component_reaches_every_policy_that_tells_accounts_apart() -> None:
    component = yaml.safe_load((ROOT / "manifests" / "components" / "accounts" / "kustomization.yaml").read_text())
    targets = [target["select"]["name"] for rule in component["replacements"] for target in rule["targets"]]
    shown = {
        one["metadata"]["name"]
        for given in manifests.documents().values()
        for one in given
        if "securetenant.dev/accounts" in one["metadata"].get("annotations", {})
    }
    assert "namespaces.securetenant.dev" in shown
    assert sorted(targets) == sorted([*shown, *shown])
