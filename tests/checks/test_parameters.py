"""How parts of a spec travel to the policies in annotations of the namespace, and exemptions with them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from securetenant.checks import variables
from securetenant.checks.check import FORMAT, FORMATS
from securetenant.checks.evaluator import Evaluator, Operation
from securetenant.checks.server_form import judged
from securetenant.checks.targets import PODS
from securetenant.controls.registry import CHECKS
from tests.support import attacks, largest
from tests.support.world import NOW

EVALUATOR = Evaluator(PODS, CHECKS)
MODEST = {"runtime": {"podSecurity": "Privileged", "readOnlyRootFilesystem": False, "hostPorts": [80, 443]}}


def given(annotations: Mapping[str, str]) -> dict[str, list[str]]:
    """The parameters as the checks read them, those that are not empty."""
    return {name: value for name, value in EVALUATOR._of_namespace(annotations).items() if value}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"images": None}, {"registries": ["*"], "tags": ["allowed"], "cachedImages": ["allowed"]}),
        ({"images": {}}, {"registries": ["*"]}),
        ({}, {"registries": ["registry.bank.example/payments"]}),
        (
            {"images": {"digestRequired": False, "alwaysPull": False, "registries": ["a.example:1/b", "c.example"]}},
            {"registries": ["a.example:1/b", "c.example"], "tags": ["allowed"], "cachedImages": ["allowed"]},
        ),
        (
            {"images": {}, **MODEST},
            {
                "registries": ["*"],
                "podSecurity": ["Privileged"],
                "writableRootFilesystem": ["allowed"],
                "hostPorts": ["80", "443"],
            },
        ),
        (
            {"images": {}, "runtime": {"hostPaths": [{"path": "/a"}, {"path": "/b/c", "readOnly": False}]}},
            {"registries": ["*"], "hostPaths": ["/a:ro", "/b/c:rw"]},
        ),
        (
            {"images": {}, "runtime": {"addCapabilities": ["CHOWN", "KILL"], "priorityClasses": ["a.b"]}},
            {"registries": ["*"], "addCapabilities": ["CHOWN", "KILL"], "priorityClasses": ["a.b"]},
        ),
        (
            {"images": {}, "storage": {"classes": ["a.b", "", "c"], "volumeAttributesClasses": ["d"]}},
            {
                "registries": ["*"],
                "storageClasses": ["a.b", "c"],
                "classlessClaims": ["allowed"],
                "attributesClasses": ["d"],
            },
        ),
        (
            {"images": {}, "storage": {"classes": [""]}},
            {"registries": ["*"], "storageClasses": [], "classlessClaims": ["allowed"]},
        ),
    ],
)
def test_what_a_spec_says_arrives(sections: Mapping[str, Any], expected: Mapping[str, list[str]]) -> None:
    always = {"serviceAccountTokens": ["allowed"], "runtimeClasses": ["*"], "storageClasses": ["*"]}
    wanted = {name: values for name, values in {**always, **expected}.items() if values}
    assert given(attacks.annotations(sections)) == wanted


def test_the_strictest_spec_has_no_parameters() -> None:
    strictest = {"serviceAccountTokens": False, "runtimeClasses": ["gvisor"]}
    found = given(attacks.annotations({"runtime": strictest, "storage": {"classes": ["a"]}}))
    assert found == {
        "registries": ["registry.bank.example/payments"],
        "runtimeClasses": ["gvisor"],
        "storageClasses": ["a"],
    }


@pytest.mark.parametrize(
    "text",
    ["", "v9;hostPorts=80", ";hostPorts=80", "hostPorts=80", "v1x;hostPorts=80", "V1;hostPorts=80", "v1,hostPorts=80"],
)
def test_what_cannot_be_read_is_the_strictest(text: str) -> None:
    assert given({"securetenant.dev/runtime": text}) == given({}) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v1;hostPorts=80", ["80"]),
        ("v1;hostPorts=80,,443,", ["80", "443"]),
        ("v1;xhostPorts=80;hostPorts=443;hostPorts", ["443"]),
        ("v1;hostPorts=80=443", ["80=443"]),
    ],
)
def test_entries_are_read_by_their_whole_name(text: str, expected: list[str]) -> None:
    assert given({"securetenant.dev/runtime": text}) == {"hostPorts": expected}


def test_the_format_before_is_read_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `kubectl apply -k` of a new version neither opens nor blocks anything before the operator rewrites."""
    assert FORMAT in FORMATS
    monkeypatch.setattr(variables, "FORMATS", ("v2", FORMAT))
    both = Evaluator(PODS, CHECKS)
    old = attacks.annotations(MODEST, {variables.EXEMPTIONS: f"{FORMAT};images/digest|{attacks.EVER}|"})
    new = {key: f"v2{value.removeprefix(FORMAT)}" for key, value in old.items()}
    pod = attacks.pod()
    pod["spec"]["hostPID"] = True
    pod["spec"]["containers"][0]["image"] = "registry.bank.example/payments/app"
    for annotations in (old, new):
        assert both.failures(judged(pod, NOW), annotations) == []
    assert EVALUATOR.failures(judged(pod, NOW), new)


def test_the_largest_spec_fits_in_the_annotations_of_a_namespace() -> None:
    """256 KiB are for all annotations together; the rest is for those of spec.namespaces."""
    annotations = attacks.annotations(largest.sections())
    assert sum(len(key) + len(value) for key, value in annotations.items()) < 200 * 1024
    found = given(annotations)
    assert {name: len(values) for name, values in found.items()} == {
        "hostPaths": 32,
        "hostPorts": 64,
        "addCapabilities": 41,
        "runtimeClasses": 32,
        "priorityClasses": 32,
        "registries": 100,
        "serviceAccountTokens": 1,
        "storageClasses": 31,
        "classlessClaims": 1,
        "attributesClasses": 32,
    }


_STRINGS: dict[str, Any] = {
    "hostPath": lambda text: {"runtime": {"hostPaths": [{"path": f"/a{text}b"}]}},
    "capability": lambda text: {"runtime": {"addCapabilities": [f"A{text}B"]}},
    "runtimeClass": lambda text: {"runtime": {"runtimeClasses": [f"a{text}b"]}},
    "priorityClass": lambda text: {"runtime": {"priorityClasses": [f"a{text}b"]}},
    "registry": lambda text: {"images": {"registries": [f"a.example/a{text}b"]}},
    "storageClass": lambda text: {"storage": {"classes": [f"a{text}b"]}},
    "attributesClass": lambda text: {"storage": {"volumeAttributesClasses": [f"a{text}b"]}},
    "check": lambda text: {"exemptions": [exemption(check=f"a{text}b")]},
    "label": lambda text: {"exemptions": [exemption(pods={f"a{text}b": "c"})]},
    "value": lambda text: {"exemptions": [exemption(pods={"a": f"a{text}b"})]},
}


def exemption(**fields: Any) -> dict[str, Any]:
    made = {"control": "runtime", "check": "hostNamespaces", "namespace": attacks.NAMESPACE, "reason": "a"}
    return {**made, "expires": attacks.EVER, **fields}


@pytest.mark.parametrize("field", _STRINGS)
@pytest.mark.parametrize("separator", [";", ",", "|", "=", "\n", " ", "*"])
def test_no_value_can_hold_a_separator(field: str, separator: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        attacks.annotations(_STRINGS[field](separator))


# --- exemptions


def fails(
    exemptions: str | list[dict[str, Any]],
    *,
    labels: Mapping[str, str] | None = None,
    at: timedelta = timedelta(),
    operation: Operation = "CREATE",
) -> bool:
    """Whether a pod with hostPID is refused."""
    pod = attacks.pod()
    pod["spec"]["hostPID"] = True
    pod["metadata"]["labels"] = dict(labels or {})
    if isinstance(exemptions, str):
        annotations = attacks.annotations({}, {variables.EXEMPTIONS: exemptions})
    else:
        annotations = attacks.annotations({"exemptions": exemptions})
    found = EVALUATOR.failures(judged(pod, NOW + at), annotations, operation)
    assert {failure.identifier for failure in found} <= {"runtime/hostNamespaces"}
    return bool(found)


def test_an_exemption_ends_at_its_second_and_not_before() -> None:
    expires = (NOW + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    one = [exemption(expires=expires)]
    assert not fails(one)
    assert not fails(one, at=timedelta(minutes=59, seconds=59, milliseconds=999))
    assert fails(one, at=timedelta(hours=1))
    assert fails(one, at=timedelta(days=4000))


def test_an_exemption_never_holds_for_an_update() -> None:
    assert fails([exemption()], operation="UPDATE")


@pytest.mark.parametrize(
    "other",
    [{"check": "hostProcess"}, {"control": "images", "check": "digest"}, {"control": "images", "check": "registries"}],
)
def test_an_exemption_is_for_its_check_alone(other: Mapping[str, str]) -> None:
    assert fails([exemption(**other)])


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ({"app": "web", "tier": "x"}, False),
        ({"app": "web", "tier": "x", "more": "y"}, False),
        ({"app": "web"}, True),
        ({"app": "web", "tier": "xx"}, True),
        ({"app": "web", "tier": ""}, True),
        ({"App": "web", "tier": "x"}, True),
        ({}, True),
    ],
)
def test_an_exemption_is_for_pods_with_all_its_labels(labels: Mapping[str, str], refused: bool) -> None:
    assert fails([exemption(pods={"app": "web", "tier": "x"})], labels=labels) == refused


def test_a_label_without_a_value_is_one() -> None:
    assert not fails([exemption(pods={"app": ""})], labels={"app": ""})
    assert fails([exemption(pods={"app": ""})], labels={"app": "web"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1",
        f"runtime/hostNamespaces|{attacks.EVER}|",
        f"v1;hostNamespaces|{attacks.EVER}|",
        f"v1;runtime/*|{attacks.EVER}|",
        f"v1;runtime/hostNamespaces|{attacks.EVER}",
        f"v1;runtime/hostNamespaces|{attacks.EVER}||",
        f"v1;runtime/hostNamespaces|{attacks.EVER}|app",
        f"v1;runtime/hostNamespaces|{attacks.EVER}|=web",
        f"v1;runtime/hostNamespaces|{attacks.EVER}|app=web,",
        "v1;runtime/hostNamespaces||",
        "v1;runtime/hostNamespaces|z|",
        "v1;runtime/hostNamespaces|2999|",
        "v1;runtime/hostNamespaces|2999-01-01|",
        "v1;runtime/hostNamespaces|2999-01-01T00:00:00|",
        "v1;runtime/hostNamespaces|2999-01-01t00:00:00Z|",
        "v1;runtime/hostNamespaces|2999-01-01T00:00:00+01:00|",
        "v1;runtime/hostNamespaces|2999-01-01T00:00:00.5Z|",
        "v1;runtime/hostNamespaces|99999-01-01T00:00:00Z|",
        f"v1; runtime/hostNamespaces|{attacks.EVER}|",
    ],
)
def test_what_is_not_written_as_an_exemption_is_none(text: str) -> None:
    assert fails(text, labels={"app": "web"})


def test_an_entry_that_cannot_be_read_spoils_no_other() -> None:
    assert not fails(f"v1;;|;runtime/hostNamespaces||;runtime/hostNamespaces|{attacks.EVER}|;x|y|z|=")


def test_an_exemption_is_for_its_namespace_alone() -> None:
    spec = {
        "namespaces": [{"name": attacks.NAMESPACE}, {"name": "other"}],
        "exemptions": [exemption(namespace="other")],
    }
    assert attacks.annotations(spec)[variables.EXEMPTIONS] == "v1"
