"""`securetenant validate` on workloads: what is judged, by whose rules, and where it is told."""

import asyncio
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from securetenant.cache.snapshot import world_without_cluster
from securetenant.cli import parsing, processes, validate_workloads
from securetenant.cli.validate_workloads import Judge
from securetenant.controls.registry import CHECKS
from securetenant.model.platform import Platform
from securetenant.posture.rules import marks
from tests.support import attacks
from tests.support.fakeapi import serving, status
from tests.support.reading import load, parse
from tests.support.workloads import DIGEST, pod, rules, spec, tenant, text_of, told, validate, workload

NOW: Final = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(text_of(tenant()))
    return path


# --- what is judged


@pytest.mark.parametrize(
    "kind",
    ["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "ReplicationController"],
)
def test_every_kind_that_makes_pods(shop: Path, kind: str) -> None:
    result = validate("--strict", shop, "-", text=text_of(workload(kind)))
    assert (result.exit_code, result.stdout) == (0, "1 tenant, 1 workload in 2 files: 0 errors, 0 warnings\n")
    text = text_of(workload(kind, hostIPC=True))
    (problem,) = told(shop, "-", text=text)["problems"]
    assert (problem["rule"], problem["severity"]) == ("runtime/hostNamespaces", "error")
    assert (problem["kind"], problem["name"]) == (kind, "web")
    assert (problem["namespace"], problem["tenant"]) == ("shop-prod", "shop")
    assert text.splitlines()[problem["line"] - 1].strip() == "hostIPC: true"
    typed = {"apiVersion": workload(kind)["apiVersion"], "kind": f"{kind}List"}
    items = [{key: workload(kind, hostIPC=True)[key] for key in ("metadata", "spec")}] * 2
    found = told(shop, "-", text=text_of({**typed, "items": items}))
    assert found["workloads"] == {"judged": 2, "notJudged": 0}
    assert found["errors"] == 2


def test_a_kind_of_another_group_is_skipped(shop: Path) -> None:
    found = told(shop, "-", text=text_of({**workload("Deployment", hostPID=True), "apiVersion": "example.com/v1"}))
    assert (found["skipped"], found["problems"]) == (1, [])


def test_several_places_are_told_one_by_one(shop: Path) -> None:
    containers = [{"name": name, "image": f"registry.example/{name}{DIGEST}"} for name in ("one", "two")]
    text = text_of(pod(containers=containers))
    paths = [p["path"] for p in told(shop, "-", text=text)["problems"] if p["rule"] == "runtime/runAsNonRoot"]
    assert paths == []
    paths = [p["path"] for p in told(shop, "-", text=text)["problems"] if p["rule"] == "runtime/privilegeEscalation"]
    assert paths == [f"spec.containers[{index}].securityContext.allowPrivilegeEscalation" for index in (0, 1)]


@pytest.mark.parametrize(
    ("more", "rule", "path"),
    [
        pytest.param(
            {"volumes": [{"name": "a", "nfs": {"server": "x", "path": "/"}}]},
            "runtime/volumeTypes",
            "spec.volumes[0]",
            id="volume",
        ),
        pytest.param(
            {"securityContext": {**spec()["securityContext"], "sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
            "runtime/sysctls",
            "spec.securityContext.sysctls[0]",
            id="sysctl",
        ),
        pytest.param(
            {"securityContext": {**spec()["securityContext"], "runAsUser": 0}},
            "runtime/runAsUser",
            "spec.securityContext.runAsUser",
            id="pod",
        ),
    ],
)
def test_places_become_fields(shop: Path, more: dict[str, Any], rule: str, path: str) -> None:
    (problem,) = told(shop, "-", text=text_of(pod(**more)))["problems"]
    assert (problem["rule"], problem["path"]) == (rule, path)


def test_an_annotation_is_a_field(shop: Path) -> None:
    body, key = pod(), "container.apparmor.security.beta.kubernetes.io/web"
    body["metadata"]["annotations"] = {key: "unconfined"}
    text = text_of(body)
    (problem,) = told(shop, "-", text=text)["problems"]
    assert (problem["rule"], problem["path"]) == ("runtime/appArmor", f"metadata.annotations[{key}]")
    assert text.splitlines()[problem["line"] - 1].strip() == f"{key}: unconfined"


@pytest.mark.parametrize(
    ("kind", "key", "rule", "path"),
    [
        ("Pod", "ovn.kubernetes.io/logical_switch", "network/cniAnnotations", "metadata.annotations"),
        ("Deployment", "cni.projectcalico.org/podIP", "network/cniAnnotations", "spec.template.metadata.annotations"),
        ("CronJob", "k8s.v1.cni.cncf.io/networks", "network/furtherNetworks",
         "spec.jobTemplate.spec.template.metadata.annotations"),
        ("NetworkPolicy", "ovn.kubernetes.io/network_policy_for", "network/policySwitchedOff", "metadata.annotations"),
        ("Binding", "ipam.cilium.io/ip-pool", "network/cniAnnotationsChanged", "metadata.annotations"),
    ],
)  # fmt: skip
def test_annotations_of_network_plug_ins(shop: Path, kind: str, key: str, rule: str, path: str) -> None:
    bodies = {"NetworkPolicy": attacks.policy, "Binding": attacks.binding}
    body = bodies[kind]() if kind in bodies else workload(kind)
    body["metadata"]["namespace"] = "shop-prod"
    at: Any = body
    for step in path.split("."):
        at = at.setdefault(step, {})
    at[key] = "x"
    text = text_of(body)
    (problem,) = told(shop, "-", text=text)["problems"]
    assert (problem["rule"], problem["path"], problem["severity"]) == (rule, f"{path}[{key}]", "error")
    assert text.splitlines()[problem["line"] - 1].strip() == f"{key}: x"
    del at[key]
    assert told(shop, "-", text=text_of(body))["problems"] == []


def test_what_the_server_decodes_otherwise_is_judged_as_there(shop: Path) -> None:
    """A null is absent, and an image without a tag is always pulled."""
    assert told(shop, "-", text=text_of(pod(hostNetwork=None, nodeName="", priorityClassName=None)))["problems"] == []


# --- by whose rules


def test_tenants_among_the_documents_are_the_default() -> None:
    text = text_of(tenant(), pod(hostPID=True))
    assert rules("-", text=text) == {("runtime/hostNamespaces", "error")}


def test_tenants_of_a_folder_are_not_what_is_checked(tmp_path: Path) -> None:
    """Of those of --tenant errors are told, and nothing else."""
    (tmp_path / "a.yaml").write_text(text_of(tenant(), pod(hostPID=True), tenant("empty", namespaces=[])))
    found = told("--tenant", tmp_path, "-", text=text_of(pod(hostPID=True)))
    assert (found["tenants"], found["errors"], found["warnings"]) == (0, 1, 0)
    (tmp_path / "b.yaml").write_text(text_of(tenant("bad", mod="x")))
    found = told("--tenant", tmp_path, "-", text=text_of(pod()))
    assert [(one["file"], one["path"]) for one in found["problems"]] == [(str(tmp_path / "b.yaml"), "spec.mod")]


def test_a_tenant_among_the_documents_goes_before_that_of_the_option(shop: Path) -> None:
    text = text_of(tenant(runtime={"podSecurity": "Privileged"}), pod(hostPID=True))
    assert rules("--tenant", shop, "-", text=text) == set()


@pytest.mark.parametrize(
    ("more", "severity", "said"),
    [
        ({}, "error", "remove the field"),
        ({"admission": "Warn"}, "warning", "a warning only: admission of SecureTenant shop is Warn"),
        ({"mode": "Audit"}, "warning", "would be refused in Enforce (mode of SecureTenant shop is Audit)"),
        ({"mode": "Paused"}, "warning", "would be refused in Enforce (mode of SecureTenant shop is Paused)"),
        ({"mode": "Audit", "admission": "Warn"}, "warning", "would be admitted with this warning in Enforce"),
    ],
    ids=["deny", "warn", "audit", "paused", "audit-warn"],
)
def test_mode_and_admission_decide_what_it_is(more: dict[str, Any], severity: str, said: str) -> None:
    text = text_of(tenant(**more), pod(hostPID=True))
    (problem,) = told("-", text=text)["problems"]
    assert (problem["severity"], said in problem["message"]) == (severity, True)
    assert validate("-", text=text).exit_code == (1 if severity == "error" else 0)
    assert validate("--strict", "-", text=text).exit_code == 1


def test_what_the_server_cannot_decode_is_an_error_in_any_mode() -> None:
    text = text_of(tenant(mode="Audit"), pod(hostPID="yes"))
    assert rules("-", text=text) == {("malformed", "error")}


def test_a_namespace_of_no_tenant_is_not_judged(shop: Path) -> None:
    text = text_of(pod("else"), pod("else", hostPID=True), pod("", hostPID=True), pod("kube-system"))
    found = told(shop, "-", text=text)
    assert found["workloads"] == {"judged": 0, "notJudged": 4}
    assert [one["severity"] for one in found["problems"]] == ["warning"] * 3
    assert "and 1 more in stdin" in found["problems"][0]["message"]
    assert validate(shop, "-", text=text).exit_code == 0
    assert rules("--strict", shop, "-", text=text) == {("notJudged", "error")}
    assert validate("--strict", shop, "-", text=text).exit_code == 1


def test_the_namespace_of_those_without_one(shop: Path) -> None:
    text = text_of(pod("", hostPID=True), pod("else"))
    problems = told("--namespace", "shop-prod", shop, "-", text=text)["problems"]
    assert {(one["rule"], one["namespace"]) for one in problems} == {
        ("runtime/hostNamespaces", "shop-prod"),
        ("notJudged", "else"),
    }


def test_namespaces_have_their_own_parameters() -> None:
    """Whatever the order of the documents."""
    loose = tenant("loose", runtime={"podSecurity": "Privileged"})
    text = text_of(tenant(), loose, *[pod(where, hostPID=True) for where in ("shop-prod", "loose-prod") * 3])
    assert told("-", text=text)["errors"] == 3


def exemption(check: str, expires: str, **more: Any) -> dict[str, Any]:
    given = {"control": "runtime", "check": check, "namespace": "shop-prod", "reason": "vendor"}
    return {**given, "expires": expires, **more}


def test_an_exemption_is_noted_with_its_end_and_ends(shop: Path) -> None:
    writable = copy.deepcopy(spec()["containers"])
    writable[0]["securityContext"]["readOnlyRootFilesystem"] = False
    body = pod(containers=writable, hostPID=True)
    body["metadata"]["labels"] = {"app": "web"}
    given = [
        exemption("readOnlyRootFilesystem", "2098-01-01T00:00:00Z"),
        exemption("readOnlyRootFilesystem", "2099-01-01T00:00:00Z", ticket="CHG-7", pods={"app": "web"}),
        exemption("readOnlyRootFilesystem", "2099-06-01T00:00:00Z", pods={"app": "other"}),
        exemption("hostNamespaces", "2020-01-01T00:00:00Z"),
    ]
    shop.write_text(text_of(tenant(exemptions=given)))
    found = told("-t", shop, "-", text=text_of(body))
    assert (found["errors"], found["warnings"], found["exempted"]) == (1, 0, 1)
    noted, standing = sorted(found["problems"], key=lambda one: str(one["severity"]), reverse=True)
    assert (standing["rule"], standing["severity"]) == ("runtime/hostNamespaces", "error")
    assert (noted["rule"], noted["severity"]) == ("runtime/readOnlyRootFilesystem", "note")
    assert noted["exemptedUntil"] == "2099-01-01T00:00:00Z"
    assert noted["message"].startswith("exempted until 2099-01-01T00:00:00Z (vendor, CHG-7): container web: ")
    # It holds in its own namespace and for its own pods alone.
    shop.write_text(text_of(tenant(exemptions=given, namespaces=[{"name": "shop-prod"}, {"name": "shop-test"}])))
    there = {**body, "metadata": {**body["metadata"], "namespace": "shop-test"}}
    assert told("-t", shop, "-", text=text_of(there))["exempted"] == 0


def test_a_used_exemption_does_not_fail_the_run(shop: Path) -> None:
    shop.write_text(text_of(tenant(exemptions=[exemption("hostNamespaces", "2099-01-01T00:00:00Z")])))
    assert validate("--strict", "-t", shop, "-", text=text_of(pod(hostPID=True))).exit_code == 0
    assert validate("--strict", "-t", shop, "-", text=text_of(pod(hostPID=True, nodeName="n"))).exit_code == 1


def test_marks_are_those_that_the_operator_writes() -> None:
    one = load(tenant(exemptions=[exemption("hostNamespaces", "2099-01-01T00:00:00Z")], images={"registries": ["a.b"]}))
    (of_shop,) = marks(one, world_without_cluster([one], Platform()), NOW).values()
    assert {checks.annotation for checks in CHECKS if checks.parameters} <= set(of_shop.annotations)
    assert "registries=a.b" in of_shop.annotations["securetenant.dev/images"]
    assert "runtime/hostNamespaces|2099-01-01T00:00:00Z|" in of_shop.annotations["securetenant.dev/exemptions"]


async def test_tenants_of_the_cluster(tmp_path: Path) -> None:
    bare = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant"}
    listed = [tenant(), tenant("odd", admission="Never", namespaces=[{"name": "odd-prod"}])]
    items = [{**one, **bare, "metadata": {**one["metadata"], "uid": "u"}} for one in listed]

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/securetenants"):
            return web.json_response(
                {**bare, "kind": "SecureTenantList", "metadata": {"resourceVersion": "1"}, "items": items}
            )
        if request.path == "/apis":
            return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
        return status(404, "NotFound")

    path = tmp_path / "pods.yaml"
    path.write_text(text_of(pod(hostPID=True), pod("odd-prod")))
    async with serving(answer, tmp_path) as config:
        result = await asyncio.to_thread(validate, "-o", "json", "--kubeconfig", config, path)
    assert result.stderr == ""
    problems = {one["name"] + one["namespace"]: one for one in json.loads(result.stdout)["problems"]}
    assert problems["webshop-prod"]["rule"] == "runtime/hostNamespaces"
    assert "the spec of SecureTenant odd is refused: spec.admission" in problems["webodd-prod"]["message"]


def test_a_cluster_that_cannot_be_reached_is_usage(tmp_path: Path) -> None:
    result = validate("--kubeconfig", tmp_path / "none", "-", text="")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output


# --- injection


def test_what_is_injected_must_stand_in_the_files_unless_the_cluster_does_it(shop: Path) -> None:
    nodes = {"selector": {"matchLabels": {"pool": "shop"}}}
    shop.write_text(text_of(tenant(images={"digestRequired": False}, nodes=nodes)))
    bare = spec()
    del bare["containers"][0]["imagePullPolicy"]
    for kind in ("Pod", "Deployment", "CronJob"):
        text = text_of(workload(kind, **bare))
        assert rules("-t", shop, "-", text=text) == {("images/pullPolicy", "error"), ("nodes/selection", "error")}
        assert rules("-t", shop, "--injection", "-", text=text) == set()
    # The DaemonSet controller looks at the template for the nodes.
    text = text_of(workload("DaemonSet", **bare))
    assert rules("-t", shop, "--injection", "-", text=text) == {("nodes/selection", "error")}
    other = text_of(pod(tolerations=[{"operator": "Exists"}]))
    assert ("nodes/tolerations", "error") in rules("-t", shop, "--injection", "-", text=other)


# --- many


def test_processes_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    one = load(tenant())
    bodies = [pod(hostPID=index % 3 == 0, hostIPC=index % 5 == 0) for index in range(40)]
    documents = parse(text_of(*bodies))

    def issues(processors: int) -> list[Any]:
        monkeypatch.setattr(processes, "_processors", lambda: processors)
        judge = Judge(world_without_cluster([one], Platform()), NOW)
        return judge.judge(documents).issues

    monkeypatch.setattr(validate_workloads, "_WORTH_A_PROCESS", 5)
    alone = issues(1)
    assert len(alone) == 22
    assert issues(3) == alone


def test_without_processes_the_work_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no semaphores")

    monkeypatch.setattr(processes, "_processors", lambda: 4)
    monkeypatch.setattr(processes, "ProcessPoolExecutor", refuse)
    assert processes.spread(list, range(10), 2) == [list(range(10))]


def test_lines_are_looked_for_only_where_something_is_found(monkeypatch: pytest.MonkeyPatch, shop: Path) -> None:
    """Finding them takes as long as everything else together."""

    def careful(*_: object) -> None:
        raise AssertionError("the careful reader ran")

    monkeypatch.setattr(parsing, "_careful", careful)
    listed = {"apiVersion": "v1", "kind": "List", "items": [workload("Deployment"), pod()]}
    assert validate("-t", shop, "-", text=text_of(pod(), workload("CronJob"), listed)).exit_code == 0
    assert isinstance(validate("-t", shop, "-", text=text_of(pod(hostPID=True))).exception, AssertionError)


def test_shares_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_processors", lambda: 4)
    assert processes.spread(list, range(10), 2) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert processes.spread(list, range(3), 2) == [[0, 1, 2]]
