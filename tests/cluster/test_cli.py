"""The command line against a real API server: `plan` before, after and while others tamper; `render` and `validate`
held against kubectl."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from securetenant.cli.render import to_yaml
from securetenant.model import names
from tests.support.fakeapi import kubeconfig
from tests.support.reading import parse
from tests.support.sandbox import MUTATING, ROOT, Admin, Plane, run_operator, wait_for
from tests.support.workloads import spec as pod_spec

pytestmark = pytest.mark.cluster

BANK = ROOT / "examples" / "bank"
TENANTS = ("cli-core-banking", "cli-payments", "cli-risk", "cli-treasury")
STNS = "/apis/securetenant.dev/v1alpha1/securetenants"
# Which code it is, and whether it is measured; the rest of the caller's environment is not the command's affair.
COVERAGE: Final = {key: value for key, value in os.environ.items() if key.startswith(("COVERAGE_", "PYTHONPATH"))}
POLICIES = "/apis/networking.k8s.io/v1/namespaces/cli-payments-prod/networkpolicies"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """The changes of a plan in JSON, by "Kind/name" with the namespace where there is one."""
        return {
            "/".join(filter(None, (c["kind"], c["namespace"], c["name"]))): c
            for tenant in self.json["tenants"]
            for c in tenant["changes"]
        }


async def cli(config: Path, *args: object, text: str = "") -> Done:
    """`securetenant ARGS`, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "securetenant",
        *map(str, args),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"KUBECONFIG": str(config), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"} | COVERAGE,
    )
    out, err = await asyncio.wait_for(process.communicate(text.encode()), 60)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


def renamed(text: str) -> str:
    """The bank's files with names of this module's own: tests share one control plane."""
    return re.sub(r"\b(payments|core-banking|risk|treasury|ledger)\b(?!\.)", r"cli-\1", text)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    for file in BANK.glob("*.yaml"):
        (folder / file.name).write_text(renamed(file.read_text()))
    (folder / "00-platform.yaml").rename(folder.parent / f"{folder.name}-platform.yaml")
    return folder


@pytest.fixture(scope="module")
def platform(bank: Path) -> Path:
    return bank.parent / f"{bank.name}-platform.yaml"


@pytest_asyncio.fixture(scope="module")
async def reader(plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of an account that may get and list what a plan needs, and write nothing."""
    names_of = ["namespaces", "nodes", "resourcequotas", "limitranges"]
    groups = {
        "": names_of,
        "networking.k8s.io": ["networkpolicies", "servicecidrs"],
        "rbac.authorization.k8s.io": ["rolebindings", "clusterrolebindings", "clusterroles"],
        "discovery.k8s.io": ["endpointslices"],
        "admissionregistration.k8s.io": [
            *("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
            *("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
        ],
        names.GROUP: ["securetenants", "subnetpools", "networktemplates"],
    }
    rules = [{"apiGroups": [g], "resources": r, "verbs": ["get", "list"]} for g, r in groups.items()]
    return await account(plane, admin, "cli-reader", rules, tmp_path_factory.mktemp("reader"))


async def account(plane: Plane, admin: Admin, name: str, rules: list[dict[str, Any]], folder: Path) -> Path:
    """A ServiceAccount with these rights, as a kubeconfig."""
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    role = {"apiGroup": rbac, "kind": "ClusterRole", "name": name}
    for body in (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": role,
            "subjects": [subject],
        },
    ):
        await admin.apply(body)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await admin.create(f"/api/v1/namespaces/default/serviceaccounts/{name}/token", request)
    user = {"token": answer["status"]["token"]}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(kubeconfig(plane.url, user, **{"certificate-authority": str(plane.ca_file)})))
    return path


@pytest_asyncio.fixture(scope="module")
async def made(
    plane: Plane, admin: Admin, manifests: None, bank: Path, platform: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[None]:
    """The bank as the operator made it; the operator has stopped."""
    await admin.apply(platform)
    await admin.apply(bank)
    try:
        async with run_operator(plane, tmp_path_factory.mktemp("operator")):
            for name in ("cli-core-banking", "cli-payments"):
                await wait_for(partial(is_ready, admin, name), 60, f"{name} to be Ready")
        yield
    finally:
        await removed(admin)


async def is_ready(admin: Admin, name: str) -> bool:
    conditions = (await admin.get(f"{STNS}/{name}")).get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def removed(admin: Admin) -> None:
    """No operator is there to take the finalizers off."""
    for name in TENANTS:
        if await admin.find(f"{STNS}/{name}") is not None:
            await admin.patch(f"{STNS}/{name}", {"metadata": {"finalizers": None}})
            await admin.delete(f"{STNS}/{name}")
    for space in (await admin.get("/api/v1/namespaces"))["items"]:
        if space["metadata"]["name"].startswith("cli-"):
            await admin.delete(f"/api/v1/namespaces/{space['metadata']['name']}")


async def test_plan_of_files_that_are_not_applied(reader: Path, bank: Path) -> None:
    done = await cli(reader, "plan", bank, "--tenant", "cli-payments")
    assert done.code == 2, done.err
    assert "not applied yet" in done.out
    assert "    + Namespace/cli-payments-prod\n" in done.out
    assert "    + NetworkPolicy/securetenant-egress-cli-ledger\n" in done.out, "its peer is among the files"
    assert "0 to update, 0 to delete, 0 drifted, 0 foreign" in done.out


async def test_plan_says_which_platform_namespace_is_not_there(reader: Path, tmp_path: Path) -> None:
    rule = {"name": "edge", "from": [{"namespace": "cli-no-such"}]}
    spec = {"namespaces": [{"name": "cli-edge-a"}], "network": {"ingress": [rule]}}
    body = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "metadata": {"name": "cli-edge"}}
    (tmp_path / "edge.yaml").write_text(yaml.safe_dump({**body, "spec": spec}))
    done = await cli(reader, "plan", tmp_path / "edge.yaml", "--tenant", "cli-edge")
    assert done.code == 2, done.err
    assert "there is no namespace cli-no-such: create it, or correct the peer" in done.out
    assert "securetenant-ingress-edge" not in done.out


async def test_nothing_to_do_once_it_is_made(made: None, reader: Path, bank: Path) -> None:
    """Without files and with the very files: the second is what a pipeline asks after it has applied."""
    for args in ([], [bank]):
        done = await cli(reader, "plan", *args, "--tenant", "cli-payments")
        assert (done.code, done.out) == (0, "No changes. 1 tenant as declared.\n"), done.err


async def test_workloads_are_judged_by_the_tenants_of_the_cluster(made: None, reader: Path) -> None:
    """cli-payments is in Enforce, cli-treasury in Audit."""
    spaces = ("cli-payments-prod", "cli-treasury-legacy", "elsewhere")
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a", "namespace": space},
            "spec": pod_spec(hostPID=True),
        }
        for space in spaces
    ]
    done = await cli(reader, "validate", "--cluster", "--output", "json", "-", text=yaml.safe_dump_all(pods))
    found = [(one["namespace"], one["rule"], one["severity"]) for one in done.json["problems"]]
    assert sorted(found) == [
        ("cli-payments-prod", "images/registries", "error"),
        ("cli-payments-prod", "runtime/hostNamespaces", "error"),
        ("cli-payments-prod", "runtime/serviceAccountTokens", "error"),
        ("cli-treasury-legacy", "runtime/hostNamespaces", "warning"),
        ("elsewhere", "notJudged", "warning"),
    ]
    assert done.code == 1


async def test_audit_is_reported_and_not_blamed_on_a_rollout(made: None, reader: Path) -> None:
    done = await cli(reader, "plan", "--tenant", "cli-treasury", "--output", "json")
    assert done.code == 2
    changes = done.changes
    assert {change["effect"] for change in changes.values()} == {"report"}
    foreign = changes["NetworkPolicy/cli-treasury-legacy/temporary-allow-all"]
    assert (foreign["reason"], foreign["manager"]) == ("Foreign", "kubectl-client-side-apply")
    assert changes["ResourceQuota/cli-treasury-legacy/securetenant"]["reason"] == "Missing"


async def test_an_edited_file_is_a_rollout(made: None, reader: Path, bank: Path, tmp_path: Path) -> None:
    """One side of an agreed flow is taken away, and a label changes: both tenants' policies close, nothing drifted."""
    spec = yaml.safe_load((bank / "core-banking.yaml").read_text())
    spec["spec"]["namespaces"][1]["labels"]["env"] = "uat"
    spec["spec"]["network"]["ingress"] = [
        rule for rule in spec["spec"]["network"]["ingress"] if rule["name"] != "cli-payments-gateway"
    ]
    (tmp_path / "edited.yaml").write_text(yaml.safe_dump(spec))
    done = await cli(reader, "plan", tmp_path, "-o", "json")
    assert done.code == 2
    mine = {key: change for key, change in done.changes.items() if "cli-treasury" not in key and "cli-" in key}
    assert {key: change["effect"] for key, change in mine.items()} == {
        "Namespace/cli-ledger-test": "update",
        "NetworkPolicy/cli-ledger-prod/securetenant-ingress-cli-payments-gateway": "delete",
        "NetworkPolicy/cli-payments-prod/securetenant-egress-cli-ledger": "delete",
    }
    assert not any(change["drift"] for change in mine.values())
    closed = {one["tenant"]: one["flows"]["closed"] for one in done.json["tenants"]}
    assert closed["cli-payments"] == closed["cli-core-banking"]
    assert [one["target"]["namespaces"] for one in closed["cli-payments"]] == [["cli-ledger-prod"]]
    assert not any(one["flows"]["opened"] for one in done.json["tenants"])
    assert mine["Namespace/cli-ledger-test"]["fields"] == [{"path": "labels.env", "old": "test", "new": "uat"}]


async def test_tampering_is_drift_with_its_manager(made: None, admin: Admin, reader: Path) -> None:
    await admin.delete(f"{POLICIES}/securetenant-dns")
    await admin.patch(
        f"{POLICIES}/securetenant-default-deny", {"spec": {"ingress": [{}]}}, params={"fieldManager": "mallory"}
    )
    foreign = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": foreign}
    await admin.apply({**body, "metadata": {"name": "open", "namespace": "cli-payments-prod"}})
    done = await cli(reader, "plan", "--tenant", "cli-payments")
    assert done.code == 2
    assert "    ! NetworkPolicy/securetenant-dns missing (created again)\n" in done.out
    assert (
        "    ! NetworkPolicy/securetenant-default-deny changed as the field manager mallory (put right)\n" in done.out
    )
    assert "        spec.ingress: - [{}]\n" in done.out
    assert re.search(r"^    - .* -> cli-payments-prod on all ports$", done.out, re.MULTILINE)
    assert "    ? NetworkPolicy/open foreign as the field manager kubectl-client-side-apply: " in done.out
    assert "2 drifted, 1 foreign" in done.out
    summary = (await cli(reader, "plan", "--tenant", "cli-payments", "-o", "json")).json["summary"]
    assert summary == {
        **summary,
        "create": 1,
        "update": 1,
        "delete": 0,
        "drift": 2,
        "foreign": 1,
        "reported": 1,
        "blocked": 0,
        "exitCode": 2,
    }


async def test_what_is_the_clusters_stands_beside_the_tenants(made: None, admin: Admin, reader: Path) -> None:
    group = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:authenticated"}
    role = {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "view"}
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    await admin.create(path, {"metadata": {"name": "cli-wide"}, "roleRef": role, "subjects": [group]})
    try:
        done, as_json, of_one = await asyncio.gather(
            cli(reader, "plan"), cli(reader, "plan", "-o", "json"), cli(reader, "plan", "-t", "cli-payments")
        )
    finally:
        await admin.delete(f"{path}/cli-wide")
    given = "grants ClusterRole/view to Group system:authenticated in every namespace"
    assert f"    ? ClusterRoleBinding/cli-wide foreign: {given}" in done.out
    assert done.out.rstrip().endswith("1 of the cluster's.")
    (deviation,) = as_json.json["cluster"]
    assert (deviation["kind"], deviation["name"], deviation["reason"]) == ("ClusterRoleBinding", "cli-wide", "Foreign")
    assert as_json.json["summary"]["cluster"] == 1
    assert "cli-wide" not in of_one.out


async def test_what_may_not_be_listed_is_said_at_once(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path, minor: int
) -> None:
    rules = [{"apiGroups": [names.GROUP], "resources": ["securetenants"], "verbs": ["list"]}]
    config = await account(plane, admin, "cli-blind", rules, tmp_path)
    done = await cli(config, "plan")
    assert (done.code, done.out) == (1, "")
    served = "mutatingadmissionpolicies, mutatingadmissionpolicybindings, " if minor >= MUTATING else ""
    assert done.err == (
        "error: no right to list clusterrolebindings, clusterroles, endpointslices, limitranges, "
        f"{served}namespaces, networkpolicies, networktemplates, nodes, "
        f"resourcequotas, rolebindings, {'servicecidrs, ' if minor >= 33 else ''}subnetpools, "
        "validatingadmissionpolicies, validatingadmissionpolicybindings: a plan needs "
        "get and list on them, cluster-wide\n"
    )


async def test_errors_are_one_clear_sentence(plane: Plane, reader: Path, tmp_path: Path) -> None:
    away, stranger = tmp_path / "away", tmp_path / "stranger"
    away.write_text(json.dumps(kubeconfig("https://127.0.0.1:1", {"token": "t"})))
    ca = {"certificate-authority": str(plane.ca_file)}
    stranger.write_text(json.dumps(kubeconfig(plane.url, {"token": "t"}, **ca)))
    expected: list[tuple[list[object], str]] = [
        (["--kubeconfig", away], "cannot reach the API server at https://127.0.0.1:1: Connection refused"),
        (["--kubeconfig", stranger], "does not accept the kubeconfig's credentials"),
        (["--context", "nowhere"], "nowhere"),
        (["--tenant", "cli-nobody"], "there is no SecureTenant cli-nobody"),
        (["--kubeconfig", tmp_path / "none"], "kubeconfig not found"),
        ([tmp_path / "none.yaml"], "No such file"),
    ]
    results = await asyncio.gather(*(cli(reader, "plan", *args) for args, _ in expected))
    for done, (_, said) in zip(results, expected, strict=True):
        assert (done.code, done.out) == (1, "")
        assert said in done.err
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1, done.err


async def test_rendered_objects_are_what_the_operator_makes(made: None, admin: Admin, reader: Path, bank: Path) -> None:
    done = await cli(reader, "render", bank, "--tenant", "cli-core-banking")
    assert done.code == 0, done.err
    for body in filter(None, yaml.safe_load_all(done.out)):
        metadata = body["metadata"]
        args = ["get", body["kind"], metadata["name"], "-o", "json"]
        args += ["-n", metadata["namespace"]] if "namespace" in metadata else []
        standing = json.loads(await admin.kubectl(*args))
        assert standing["metadata"]["labels"].items() >= metadata["labels"].items()
        for field in ("spec", "roleRef", "subjects"):
            if body["kind"] != "Namespace":
                assert standing.get(field) == body.get(field), f"{body['kind']}/{metadata['name']} {field}"


async def test_the_api_server_takes_what_is_rendered(made: None, admin: Admin, reader: Path, bank: Path) -> None:
    """Namespaces stand already: a dry run does not make them for what is within."""
    done = await cli(reader, "render", bank)
    args = ("apply", "--dry-run=server", "--server-side", "--force-conflicts", "-f", "-")
    said = await admin.kubectl(*args, text=done.out)
    assert said.count("(server dry run)") == len([d for d in yaml.safe_load_all(done.out) if d])


_SCALARS = [
    *("on", "No", "y", "N", "~", "null", "True", "TRUE", "tRue", "Off", "yes", "text", "="),
    *("8443", "-1", "+5", "0", "010", "0o17", "0x1F", "0b101", "1_000", "12:30", "0x", "08", "1" * 30, "9" * 19),
    *("1e3", "1.5", ".5", "-1.5e-3", "0.0", "1.", "+1.0", "1e", "1.2.3", "500m", "10.8.0.0/16"),
    *("2027-03-31", "2027-03-31T00:00:00Z"),
]


async def test_plain_scalars_mean_what_they_mean_to_kubectl(admin: Admin, manifests: None) -> None:
    head = "apiVersion: securetenant.dev/v1alpha1\nkind: SecureTenant\nmetadata: {name: a}\nspec:\n"
    text = head + "".join(f"  k{index}: {scalar}\n" for index, scalar in enumerate(_SCALARS))
    said = await admin.kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", text=text)
    theirs = json.loads(said)["spec"]
    (document,) = parse(text, "t")
    ours = document.body["spec"]
    assert {s: ours[f"k{i}"] for i, s in enumerate(_SCALARS)} == {s: theirs[f"k{i}"] for i, s in enumerate(_SCALARS)}


@pytest.mark.parametrize("key", ["on", "y", "No", "0x1F", "010", "8443", "text", "2027-03-31", '"on"'])
async def test_plain_keys_mean_what_they_mean_to_kubectl(admin: Admin, manifests: None, key: str) -> None:
    text = f"apiVersion: securetenant.dev/v1alpha1\nkind: SecureTenant\nmetadata: {{name: a}}\nspec:\n  {key}: x\n"
    said = await admin.kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", text=text)
    (document,) = parse(text, "t")
    assert document.body["spec"] == json.loads(said)["spec"]


async def test_rendered_text_is_read_by_kubectl_as_it_was(admin: Admin) -> None:
    odd = [*_SCALARS, "", " x ", "# no", "a: b", "- x", "{", "<<", ".inf", "\x85", "\u2028", "é", "a\nb\n", "'", '"']
    data = {f"k{index}": text for index, text in enumerate(odd)}
    text = to_yaml({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
    said = await admin.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", text=text)
    assert json.loads(said)["data"] == data
