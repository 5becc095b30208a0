"""Manifests in the form in which the API server judges them. tests/cluster/test_checks.py compares with the server."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from securetenant.checks.decoding import Malformed
from securetenant.checks.server_form import judged, target_of
from securetenant.checks.targets import PODS, WORKLOADS
from tests.support import attacks

NOW = datetime(2026, 6, 1, 12, 0, 0, 999_999, tzinfo=UTC)


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "a", "image": "a:1", **fields}


def pod(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container], **spec}}


def spec_of(body: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = judged(body, NOW)["spec"]
    return spec


def test_the_least_pod() -> None:
    assert judged(pod(container()), NOW) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"creationTimestamp": "2026-06-01T12:00:00Z"},
        "spec": {
            "containers": [{"name": "a", "image": "a:1", "imagePullPolicy": "IfNotPresent", "resources": {}}],
            "securityContext": {},
        },
    }


def test_the_time_is_written_in_utc_and_that_of_the_client_is_not_kept() -> None:
    body = {**pod(container()), "metadata": {"creationTimestamp": "2000-01-01T00:00:00Z", "name": "a"}}
    there = NOW.astimezone(timezone(timedelta(hours=8)))
    assert judged(body, there)["metadata"] == {"name": "a", "creationTimestamp": "2026-06-01T12:00:00Z"}


def test_what_is_empty_is_absent_where_the_api_server_leaves_it_out() -> None:
    """Not so behind a pointer: false is not the same as not given."""
    context = {"privileged": None, "runAsNonRoot": False, "runAsUser": 0, "capabilities": {"add": [], "drop": [None]}}
    spec = spec_of(
        pod(
            container(ports=[{"containerPort": 80, "hostPort": None}, {"hostPort": 0}], securityContext=context),
            hostPID=False,
            hostIPC=None,
            nodeName="",
            initContainers=None,
            volumes=[],
            automountServiceAccountToken=False,
            runtimeClassName="",
            tolerations=[{"key": None}],
        )
    )
    assert spec["containers"][0]["ports"] == [{"containerPort": 80}, {"containerPort": 0}]
    assert spec["containers"][0]["securityContext"] == {
        "runAsNonRoot": False,
        "runAsUser": 0,
        "capabilities": {"drop": [""]},
    }
    assert spec.keys() == {
        *("containers", "securityContext", "automountServiceAccountToken", "runtimeClassName", "tolerations"),
    }
    assert spec["tolerations"] == [{}]


def test_what_is_no_field_is_dropped() -> None:
    body = pod(container(SecurityContext={"privileged": True}), hostpid=True)
    assert judged({**body, "status": {"phase": 1}, "more": []}, NOW) == judged(pod(container()), NOW)


def test_the_body_is_left_as_it_is() -> None:
    body = attacks.pod()
    judged({**body, "spec": {**body["spec"], "hostNetwork": True, "volumes": [{"name": "x"}]}}, NOW)
    assert body == attacks.pod()


def test_what_was_judged_is_judged_the_same() -> None:
    for kind in attacks.KINDS:
        once = judged(attacks.workload(kind, attacks.pod()), NOW)
        assert judged(once, NOW) == once


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("a.example:5000/nginx", "Always"),
        ("a.example:5000/nginx:1", "IfNotPresent"),
        ("localhost/nginx", "Always"),
        ("[::1]:5000/nginx", "Always"),
        ("UPPER/nginx", "Always"),
        ("UPPER", "IfNotPresent"),
        ("library/UPPER", "IfNotPresent"),
        (f"nginx@{attacks.DIGEST}", "IfNotPresent"),
        (f"nginx:latest@{attacks.DIGEST}", "Always"),
        ("nginx@sha256:abc", "IfNotPresent"),
        ("nginx:latest@sha256:abc", "IfNotPresent"),
        ("0123456789abcdef" * 4, "IfNotPresent"),
        ("a" * 250, "IfNotPresent"),
        ("a.example/" + "a" * 255, "Always"),
        ("a.example/" + "a" * 256, "IfNotPresent"),
        ("a//b", "IfNotPresent"),
        ("a b", "IfNotPresent"),
        ("nginx\n", "IfNotPresent"),
    ],
)
def test_the_pull_policy_that_is_the_default(image: str, policy: str) -> None:
    volume = {"name": "x", "image": {"reference": image}}
    spec = spec_of(pod(container(image=image, imagePullPolicy=None), volumes=[volume]))
    assert spec["containers"][0]["imagePullPolicy"] == policy
    assert spec["volumes"][0]["image"]["pullPolicy"] == policy


def test_host_ports_of_pods_on_the_network_of_the_host() -> None:
    one = container(ports=[{"containerPort": 80}, {"containerPort": 81, "hostPort": 9}])
    spec = spec_of(pod(one, hostNetwork=True, initContainers=[one], ephemeralContainers=[one]))
    ports = [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 9}]
    assert [spec[kind][0]["ports"] for kind in ("containers", "initContainers")] == [ports, ports]
    assert spec["ephemeralContainers"][0]["ports"] == one["ports"]
    template = judged(attacks.workload("Deployment", pod(one, hostNetwork=True)), NOW)["spec"]["template"]
    assert template["spec"]["containers"][0]["ports"] == one["ports"]


def test_a_volume_of_no_kind_is_an_empty_dir() -> None:
    assert spec_of(pod(container(), volumes=[{"name": "x", "nfs": None}]))["volumes"] == [{"name": "x", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (pod(container(image=1)), "spec.containers[0].image must be a string, not a number"),
        (pod(container(stdin="true")), "spec.containers[0].stdin must be true or false, not a string"),
        (pod(container(), hostPID=1), "spec.hostPID must be true or false, not a number"),
        (pod(container(), priority=1.0), "spec.priority must be an integer, not a number"),
        (pod(container(), priority=True), "spec.priority must be an integer, not a boolean"),
        (pod(container(), priority=1 << 31), "spec.priority must be an integer of 32 bits"),
        (pod(container(), volumes={}), "spec.volumes must be a list, not an object"),
        (pod(container(), volumes=[[]]), "spec.volumes[0] must be an object, not a list"),
        (pod(container(), nodeSelector={"a": 1}), "spec.nodeSelector[a] must be a string, not a number"),
        (pod(container(), nodeSelector={1: "a"}), "spec.nodeSelector[1] has a key that is no string: quote it"),
        (pod(container(command=["a", 1])), "spec.containers[0].command[1] must be a string, not a number"),
        (pod({"image": "a"}), "spec.containers[0].name is required"),
        (pod({"name": "a", "image": None}), "spec.containers[0].image is required"),
        (pod(container(), initContainers=[None]), "spec.initContainers[0].name is required"),
        (pod(container(), volumes=[{}]), "spec.volumes[0].name is required"),
        ({"apiVersion": "v1", "kind": "Pod"}, "spec.containers is required"),
        ({"apiVersion": "v1", "kind": "Pod", "spec": None}, "spec.containers is required"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": "a"}, "metadata must be an object, not a string"),
        ({"apiVersion": "v1", "kind": "ReplicationController", "spec": {}}, "spec.template is required"),
        ({"apiVersion": "batch/v1", "kind": "CronJob"}, "spec.jobTemplate.spec.template.spec.containers is required"),
        ({"apiVersion": "v1", "kind": "Secret"}, "kind is none that checks look at"),
        ({}, "kind is none that checks look at"),
    ],
)
def test_what_the_api_server_refuses_says_where(body: dict[str, Any], message: str) -> None:
    with pytest.raises(Malformed) as error:
        judged(body, NOW)
    assert str(error.value) == message


def test_quantities_and_ports_may_be_numbers_or_texts() -> None:
    probe = {"httpGet": {"port": "http"}}
    limits = {"cpu": 1, "memory": "1Gi", "x.example/y": 0.5}
    made = spec_of(pod(container(livenessProbe=probe, resources={"limits": limits})))["containers"][0]
    assert (made["livenessProbe"]["httpGet"], made["resources"]) == (probe["httpGet"], {"limits": limits})


def test_which_kinds_make_pods() -> None:
    bodies = {kind: attacks.workload(kind, attacks.pod()) for kind in attacks.KINDS}
    assert target_of(attacks.pod()) is PODS
    assert all(target_of(body) is WORKLOADS for body in bodies.values())
    others = ({"apiVersion": "apps/v1beta1", "kind": "Deployment"}, {"apiVersion": "v1", "kind": "PodTemplate"})
    for body in (*others, {}, {"apiVersion": ["v1"], "kind": {"Pod": 1}}, {"kind": "Pod"}):
        assert target_of(body) is None


def test_a_text_with_nul_is_not_judged_up_to_it() -> None:
    image = f"registry.bank.example/payments/app@sha256:{'a' * 64}\0-evil:latest"
    with pytest.raises(Malformed, match="NUL") as error:
        judged({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "image": image}]}}, NOW)
    assert error.value.path == "spec.containers[0].image"
