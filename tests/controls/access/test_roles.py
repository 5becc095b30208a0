"""Roles as they stand against what they are to give: widened, narrowed, missing, aggregated."""

from typing import Any, Final

import msgspec
import pytest

from securetenant import __version__
from securetenant.controls.access import roles
from securetenant.controls.access.roles import Verdict
from securetenant.controls.access.shipped import ROLES, Right
from securetenant.model.objects import Observed
from tests.controls.access.test_shipped import manifest
from tests.support.world import StaticWorld, cluster_role, observed

VIEWER: Final = "securetenant-viewer"
SECRETS: Final = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


def role(*added: dict[str, Any], drop: int = 0, **more: Any) -> Observed:
    """The viewer as its manifest has it, with rules added or the last ones dropped."""
    rules = manifest(VIEWER)["rules"]
    return observed("ClusterRole", VIEWER, rules=[*rules[: len(rules) - drop], *added], **more)


def verdict(*objects: Observed) -> Verdict | None:
    return roles.judged(VIEWER, StaticWorld(objects=objects))


@pytest.mark.parametrize("name", sorted(ROLES))
def test_as_shipped(name: str) -> None:
    applied = observed("ClusterRole", name, rules=manifest(name)["rules"])
    assert roles.judged(name, StaticWorld(objects=[applied])) is None
    assert roles.judged(name, StaticWorld(objects=roles.as_shipped())) is None


def test_how_the_rules_are_written_means_nothing() -> None:
    rules = manifest(VIEWER)["rules"]
    again = [*reversed(rules), rules[0], {**rules[1], "verbs": ["watch", "get", "get", "list"]}]
    one_name = {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["web"], "verbs": ["get"]}
    assert verdict(observed("ClusterRole", VIEWER, rules=[*again, one_name], aggregationRule=None)) is None


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        pytest.param(SECRETS, "get secrets", id="resource"),
        pytest.param({**SECRETS, "resourceNames": ["db"]}, "get secrets db", id="one name"),
        pytest.param({**SECRETS, "resources": ["pods/exec"]}, "get pods/exec", id="subresource"),
        pytest.param({**SECRETS, "resources": ["pods"], "verbs": ["delete"]}, "delete pods", id="verb"),
        pytest.param({**SECRETS, "apiGroups": ["example.com"]}, "get secrets.example.com", id="group"),
        pytest.param({**SECRETS, "resources": ["*"]}, "get *", id="every resource"),
        pytest.param({**SECRETS, "resources": ["pods"], "verbs": ["*"]}, "* pods", id="every verb"),
        pytest.param({**SECRETS, "resources": ["pods"], "apiGroups": ["*"]}, "get pods.*", id="every group"),
        pytest.param({**SECRETS, "resources": ["*/log"]}, "get */log", id="every log"),
        pytest.param({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}, "get /metrics", id="URL"),
    ],
)
def test_widened(rule: dict[str, Any], told: str) -> None:
    found = verdict(role(rule))
    assert found is not None
    assert (found.problem, found.removed) == ("Widened", frozenset())
    message = roles.told(VIEWER, found)
    assert message.startswith(f"ClusterRole {VIEWER} grants more than it ships with: {told}; either it was changed")
    assert f"manifests/ of version {__version__}" in message


def test_the_gravest_is_named_first_and_the_rest_are_counted() -> None:
    many = {**SECRETS, "resources": ["secrets", "events", "limitranges"], "verbs": ["get", "*"]}
    found = verdict(role(many, drop=1))
    assert found is not None
    assert (found.problem, len(found.added)) == ("Widened", 6)
    assert found.removed == {Right("get", "metrics.k8s.io", "pods"), Right("list", "metrics.k8s.io", "pods")}
    assert "with: * events, * limitranges, * secrets and 3 more;" in roles.told(VIEWER, found)


def test_narrowed() -> None:
    found = verdict(role(drop=1))
    assert found is not None
    assert (found.problem, found.added) == ("Narrowed", frozenset())
    assert "grants less than it ships with: get pods.metrics.k8s.io, list pods" in roles.told(VIEWER, found)


@pytest.mark.parametrize("rules", [pytest.param({"rules": []}, id="empty"), pytest.param({}, id="absent")])
def test_without_rules_it_gives_nothing(rules: dict[str, Any]) -> None:
    found = verdict(observed("ClusterRole", VIEWER, **rules))
    assert found == Verdict("Narrowed", removed=ROLES[VIEWER])


@pytest.mark.parametrize("right", ["* * *", "get,list,watch * *", "* core,apps *"])
def test_a_wildcard_is_too_much_and_takes_nothing_away(right: str) -> None:
    role = cluster_role(VIEWER, right.replace("core,apps", "core"), right.replace("core,apps", "apps"))
    found = verdict(role)
    assert found is not None
    assert found.problem == "Widened"
    assert {gone.group for gone in found.removed} & {"", "apps"} == set()
    assert bool(found.removed) is ("apps" in right)


def test_a_wildcard_before_a_subresource_holds_that_subresource_alone() -> None:
    role = cluster_role("securetenant-operator", "* * */scale")
    found = roles.judged("securetenant-operator", StaticWorld(objects=[role]))
    assert found is not None
    assert {right.resource.partition("/")[2] for right in found.removed} == {"", "log", "eviction"}


def test_missing() -> None:
    found = verdict()
    assert found == Verdict("Missing", removed=ROLES[VIEWER])
    assert f"ClusterRole {VIEWER} is missing" in roles.told(VIEWER, found)


def test_aggregated_though_nothing_came_in_yet() -> None:
    rule = {"clusterRoleSelectors": [{"matchLabels": {"rbac.example.com/aggregate": "true"}}]}
    found = verdict(role(aggregationRule=rule))
    assert found is not None
    assert found.problem == "Aggregated"
    widened = verdict(role(SECRETS, aggregationRule=rule))
    assert widened is not None
    assert widened.problem == "Widened"


def test_rights_without_number_are_too_many_and_cost_little() -> None:
    """A rule of a few kilobytes that allows a million million things."""
    many = [f"x{number}" for number in range(1000)]
    rule = {"apiGroups": many, "resources": many, "resourceNames": many, "verbs": many}
    found = verdict(role(rule))
    assert found is not None
    assert (found.problem, found.countless) == ("Widened", True)
    assert len(found.added) < roles.MOST
    assert f"more than {roles.MOST} rights" in roles.told(VIEWER, found)


def test_null_is_nothing() -> None:
    """As a client may send it, should the API server ever give it back."""
    rule = {"apiGroups": [""], "resources": ["pods"], "resourceNames": None, "nonResourceURLs": None, "verbs": ["get"]}
    assert list(roles.rights(msgspec.json.encode([rule]))) == [Right("get", "", "pods")]
