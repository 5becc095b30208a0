"""What is injected into a manifest; tests/cluster/test_injection.py holds it against the API server."""

import copy
from typing import Any

import pytest

from securetenant.checks.check import decoded, encoded
from securetenant.checks.injections import injected
from securetenant.controls.nodes.checks import CHECKS as NODES
from securetenant.controls.registry import CHECKS
from tests.support.world import tenant

LABEL = "securetenant.node-restriction.kubernetes.io/tenant"
OWN = {"key": "securetenant.dev/tenant", "operator": "Equal", "value": "risk"}
PLACED = {"securetenant.dev/nodes": "v1;dedicated=risk", "securetenant.dev/images": "v1;cachedImages=allowed"}
PULLED = {"securetenant.dev/images": "v1"}


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


def spec(given: dict[str, Any], annotations: dict[str, str]) -> Any:
    """The spec as it will be; neither the pod nor a second injection changes anything."""
    before = copy.deepcopy(given)
    made = injected(given, CHECKS, annotations)
    assert given == before
    assert injected(made, CHECKS, annotations) == made
    return made["spec"]


def test_selector_and_toleration_are_added() -> None:
    nothing: list[dict[str, Any]] = [
        {},
        {"nodeSelector": None, "tolerations": None},
        {"nodeSelector": {}, "tolerations": []},
    ]
    for empty in nothing:
        made = spec(pod(**empty), PLACED)
        assert made["nodeSelector"] == {LABEL: "risk"}
        assert made["tolerations"] == [OWN]
    other = {"key": "gpu", "operator": "Exists"}
    made = spec(pod(nodeSelector={"disk": "ssd"}, tolerations=[other]), PLACED)
    assert made["nodeSelector"] == {LABEL: "risk", "disk": "ssd"}
    assert made["tolerations"] == [other, OWN]


def test_what_the_author_wrote_stays() -> None:
    """It is the checks' to refuse."""
    foreign = OWN | {"value": "web"}
    made = spec(pod(nodeSelector={LABEL: "web"}, tolerations=[foreign]), PLACED)
    assert made["nodeSelector"] == {LABEL: "web"}
    assert made["tolerations"] == [foreign, OWN]


@pytest.mark.parametrize(
    ("given", "is_enough"),
    [
        (OWN, True),
        ({"key": OWN["key"], "value": "risk"}, True),
        ({**OWN, "operator": ""}, True),
        ({**OWN, "effect": "NoSchedule"}, False),  # another effect of spec.nodes would evict the pod
        ({"key": OWN["key"], "operator": "Exists"}, False),
        ({"operator": "Exists"}, False),
    ],
)
def test_a_toleration_that_is_enough_is_not_repeated(given: dict[str, str], is_enough: bool) -> None:
    assert spec(pod(tolerations=[given]), PLACED)["tolerations"] == ([given] if is_enough else [given, OWN])


def test_pull_policies_become_always_but_never() -> None:
    made = spec(
        pod(
            containers=[{"name": "a"}, {"name": "b", "imagePullPolicy": "IfNotPresent"}],
            initContainers=[{"name": "c", "imagePullPolicy": "Never"}, {"name": "d", "imagePullPolicy": None}],
            volumes=[{"name": "e", "emptyDir": {}}, {"name": "f", "image": {"reference": "x"}}],
        ),
        PULLED,
    )
    policies = [c["imagePullPolicy"] for c in (*made["containers"], *made["initContainers"])]
    assert policies == ["Always", "Always", "Never", "Always"]
    assert made["volumes"] == [
        {"name": "e", "emptyDir": {}},
        {"name": "f", "image": {"reference": "x", "pullPolicy": "Always"}},
    ]


@pytest.mark.parametrize(
    "annotations",
    [
        {"securetenant.dev/nodes": "v1", "securetenant.dev/images": "v1;cachedImages=allowed"},
        {"securetenant.dev/nodes": "v9;dedicated=risk", "securetenant.dev/images": "v1;cachedImages=allowed"},
        PLACED | {"securetenant.dev/exemptions": "v1;nodes/selection|2000-01-01T00:00:00Z|"},
        PLACED | {"securetenant.dev/exemptions": "v1;a/b|t|;nodes/selection|2999-01-01T00:00:00Z|app=web"},
    ],
)
def test_nothing_is_injected_without_parameters_or_where_the_pod_is_exempted(annotations: dict[str, str]) -> None:
    assert spec(pod(), annotations) == pod()["spec"]


@pytest.mark.parametrize(
    "exemptions",
    [
        "v9;nodes/selection|2999-01-01T00:00:00Z|",
        "v1;nodes/selection|2999-01-01T00:00:00Z|app=db",
        "v1;nodes/selection",
    ],
)
def test_an_exemption_that_is_not_the_pods_changes_nothing(exemptions: str) -> None:
    assert spec(pod(), PLACED | {"securetenant.dev/exemptions": exemptions})["nodeSelector"] == {LABEL: "risk"}


def test_parameters_are_read_as_they_are_written() -> None:
    owner = tenant("risk", namespaces=["a"], nodes={"selector": {"matchLabels": {"pool": "risk"}}})
    written = encoded(NODES, owner, "a")
    assert written == "v1;dedicated=risk"
    assert decoded(NODES, {"securetenant.dev/nodes": written}) == {"dedicated": ["risk"]}
    assert encoded(NODES, tenant("risk", namespaces=["a"]), "a") == "v1"
    assert decoded(NODES, {}) == {"dedicated": []}
