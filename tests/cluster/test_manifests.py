"""What an administrator applies: it builds, the API server takes it, and it holds to what it demands of others."""

import asyncio
import copy
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

import securetenant
from sandbox.plane import Plane
from securetenant.checks import accounts
from securetenant.model.names import PROBE_NAMESPACES
from securetenant.settings import PREFIX, Settings
from tests.support.sandbox import Admin, wait_for

ROOT: Final = Path(__file__).parents[2]
RBAC: Final = "rbac.authorization.k8s.io"
NAMESPACE: Final = "securetenant-system"
ACCOUNT: Final = {"kind": "ServiceAccount", "name": "securetenant", "namespace": NAMESPACE}
TENANT_ROLES: Final = {f"securetenant-{role}" for role in ("viewer", "auditor", "operator", "developer", "admin")}
Object = dict[str, Any]


def shipped() -> list[Object]:
    """Every document under manifests/, the opt-in component included."""
    files = sorted((ROOT / "manifests").rglob("*.yaml"))
    documents = [d for file in files for d in yaml.safe_load_all(file.read_text()) if d]
    # rules.yaml of the monitoring is no object: a Prometheus without its operator reads it.
    return [d for d in documents if d.get("kind", "Component") not in ("Kustomization", "Component")]


def of_kind(kind: str) -> list[Object]:
    return [d for d in shipped() if d["kind"] == kind]


def rules() -> Iterator[tuple[str, Object]]:
    """Every RBAC rule that ships, with its role's name."""
    for role in (*of_kind("ClusterRole"), *of_kind("Role")):
        for rule in role["rules"]:
            yield role["metadata"]["name"], rule


def operator_rules() -> list[Object]:
    return [rule for name, rule in rules() if name not in TENANT_ROLES]


def deployment() -> Object:
    (found,) = of_kind("Deployment")
    return found


def template() -> Object:
    found: Object = deployment()["spec"]["template"]
    return found


def test_no_rule_holds_a_wildcard() -> None:
    found = [(name, rule) for name, rule in rules() if any("*" in v for values in rule.values() for v in values)]
    assert found == []


def test_no_role_aggregates_or_is_aggregated() -> None:
    roles = of_kind("ClusterRole")
    assert {role["metadata"]["name"] for role in roles} > TENANT_ROLES
    for role in roles:
        assert "aggregationRule" not in role
        assert not [label for label in role["metadata"]["labels"] if label.startswith(RBAC)]


def test_operator_has_no_secrets_and_cannot_become_another() -> None:
    verbs = {verb for rule in operator_rules() for verb in rule["verbs"]}
    found = [rule for name, rule in rules() if name not in TENANT_ROLES and name != "securetenant-probe"]
    resources = {resource for rule in found for resource in rule["resources"]}
    assert verbs & {"escalate", "impersonate", "deletecollection", "approve", "sign"} == set()
    assert {r for r in resources if r.startswith(("secrets", "pods", "serviceaccounts"))} == {"pods"}
    # Read: listed, to judge what runs; watched, to find intruders on dedicated nodes, in the opt-in component alone.
    own = [(name, rule) for name, rule in rules() if rule in found]
    reads = [(name, rule["verbs"]) for name, rule in own if "pods" in rule["resources"] and name not in TENANT_ROLES]
    assert sorted(reads) == [
        ("securetenant-controller", ["list"]),
        ("securetenant-controller-nodes", ["list", "watch"]),
    ]
    assert {r for r in resources if "proxy" in r or "webhook" in r} == set()
    # What is enforced at admission it may read and not write.
    over = [rule["verbs"] for rule in found if any("admission" in resource for resource in rule["resources"])]
    assert over == [["list", "watch"]]


def test_where_the_operator_probes_nothing_can_be_created() -> None:
    """It may create objects of the kinds that it tries in two namespaces, and the quota of each admits none."""
    roles = [role for role in of_kind("Role") if role["metadata"]["name"] == "securetenant-probe"]
    places = {role["metadata"]["namespace"] for role in roles}
    assert places == set(PROBE_NAMESPACES)
    asked = {
        ("", "pods", "create"),
        ("", "bindings", "create"),
        ("", "persistentvolumeclaims", "create"),
        ("", "configmaps", "create"),
        ("apps", "deployments", "create"),
        ("policy", "poddisruptionbudgets", "create"),
        ("", "services", "create"),
        ("discovery.k8s.io", "endpointslices", "create"),
        ("networking.k8s.io", "ingresses", "create"),
    }
    none = (
        *("pods", "count/deployments.apps", "persistentvolumeclaims", "count/poddisruptionbudgets.policy"),
        *("count/services", "count/endpointslices.discovery.k8s.io", "count/ingresses.networking.k8s.io"),
    )
    for role in roles:
        found = {
            (g, r, v)
            for rule in role["rules"]
            for g in rule["apiGroups"]
            for r in rule["resources"]
            for v in rule["verbs"]
        }
        assert found == asked
    hard = {quota["metadata"]["namespace"]: quota["spec"]["hard"] for quota in of_kind("ResourceQuota")}
    # Kubernetes' own ConfigMap is the one that is admitted.
    admitted = {**dict.fromkeys(none, "0"), "count/configmaps": "1"}
    assert hard == dict.fromkeys(PROBE_NAMESPACES, admitted)
    for namespace in (each for each in of_kind("Namespace") if each["metadata"]["name"] in PROBE_NAMESPACES):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_operator_may_bind_the_tenants_roles_alone() -> None:
    binds = [rule for rule in operator_rules() if "bind" in rule["verbs"]]
    assert [(b["apiGroups"], b["resources"], b["verbs"]) for b in binds] == [([RBAC], ["clusterroles"], ["bind"])]
    assert set(binds[0]["resourceNames"]) == TENANT_ROLES
    written = {
        (resource, verb)
        for rule in operator_rules()
        if rule["apiGroups"] == [RBAC]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if verb not in ("get", "list", "watch", "bind")
    }
    assert {resource for resource, _ in written} == {"rolebindings"}


def test_every_binding_is_of_the_operators_account_and_to_a_role_that_ships() -> None:
    roles = {
        (role["kind"], role["metadata"].get("namespace", ""), role["metadata"]["name"])
        for role in (*of_kind("ClusterRole"), *of_kind("Role"))
    }
    bound = set()
    for binding in (*of_kind("ClusterRoleBinding"), *of_kind("RoleBinding")):
        assert binding["subjects"] == [ACCOUNT]
        ref, namespace = binding["roleRef"], binding["metadata"].get("namespace", "")
        bound.add((ref["kind"], "" if ref["kind"] == "ClusterRole" else namespace, ref["name"]))
    assert bound == {role for role in roles if role[2] not in TENANT_ROLES}


def test_what_selects_the_operators_pods_selects_them() -> None:
    labels = template()["metadata"]["labels"].items()
    (budget,) = of_kind("PodDisruptionBudget")
    (service,) = of_kind("Service")
    policies = {p["metadata"]["name"]: p["spec"]["podSelector"] for p in of_kind("NetworkPolicy")}
    assert policies.pop("default-deny") == {}
    selectors = [deployment()["spec"]["selector"], budget["spec"]["selector"], *policies.values()]
    for selector in (*(s["matchLabels"] for s in selectors), service["spec"]["selector"]):
        assert selector
        assert selector.items() <= labels


def test_a_drain_leaves_one_of_two() -> None:
    (budget,) = of_kind("PodDisruptionBudget")
    assert (deployment()["spec"]["replicas"], budget["spec"]["maxUnavailable"]) == (2, 1)


def test_image_is_of_this_version_and_user() -> None:
    (image,) = yaml.safe_load((ROOT / "manifests" / "kustomization.yaml").read_text())["images"]
    (container,) = template()["spec"]["containers"]
    recipe = (ROOT / "Containerfile").read_text()
    assert (image["name"], image["newTag"]) == (container["image"], securetenant.__version__)
    user = re.search(r"^USER (\d+):(\d+)$", recipe, re.MULTILINE)
    assert user is not None
    pod = template()["spec"]["securityContext"]
    assert [int(part) for part in user.groups()] == [pod["runAsUser"], pod["runAsGroup"]]


def test_environment_and_ports_are_the_settings_own(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = template()["spec"]["containers"]
    given = {entry["name"]: entry.get("value") for entry in container["env"]}
    ours = {name.removeprefix(PREFIX).lower(): value for name, value in given.items() if name.startswith(PREFIX)}
    assert set(ours) <= set(Settings.model_fields)
    monkeypatch.setenv("POD_NAME", "securetenant-0")
    settings = Settings.load(**ours)
    assert settings.identity.startswith("securetenant-0_")
    (port,) = container["ports"]
    assert settings.http_port == port["containerPort"]
    assert {probe["httpGet"]["port"] for key, probe in container.items() if key.endswith("Probe")} == {port["name"]}
    (service,) = of_kind("Service")
    assert service["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])


async def kubectl(plane: Plane, *args: str) -> tuple[int, str]:
    """Runs kubectl in the checkout; its exit code and all that it printed."""
    command = (str(plane.assets / "kubectl"), "--kubeconfig", str(plane.kubeconfig), *args)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def built(plane: Plane, folder: str) -> dict[tuple[str, str, str], Object]:
    code, output = await kubectl(plane, "kustomize", folder)
    assert code == 0, output
    objects = list(yaml.safe_load_all(output))
    keyed = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in objects}
    assert len(keyed) == len(objects)
    return keyed


@pytest.mark.cluster
async def test_rights_over_nodes_are_asked_for_by_name(plane: Plane) -> None:
    base, nodes = await asyncio.gather(built(plane, "manifests"), built(plane, "examples/with-nodes"))
    assert {key for key in nodes if key not in base} == {
        ("ClusterRole", "", "securetenant-controller-nodes"),
        ("ClusterRoleBinding", "", "securetenant-controller-nodes"),
    }
    assert {key: nodes[key] for key in base} == base
    written = [
        verb
        for (kind, _, _), role in base.items()
        if kind == "ClusterRole"
        for rule in role["rules"]
        for verb in rule["verbs"]
        if "nodes" in rule["resources"] and verb not in ("get", "list", "watch")
    ]
    assert written == []


@pytest.mark.cluster
async def test_accounts_are_changed_in_one_file(plane: Plane) -> None:
    """The policies go by them, show them, and are otherwise the same, their version included."""
    base, ours = await asyncio.gather(built(plane, "manifests"), built(plane, "examples/with-accounts"))
    assert base.keys() == ours.keys()
    changed = {key: one for key, one in ours.items() if one != base[key]}
    assert {kind for kind, _, _ in changed} == {"ValidatingAdmissionPolicy"}
    for key, one in changed.items():
        shown = accounts.read(one["metadata"]["annotations"][accounts.ANNOTATION])
        assert shown.break_glass_groups == ("bank:break-glass",)
        assert accounts.with_defaults(one) == base[key]
    assert ("ValidatingAdmissionPolicy", "", "namespaces.securetenant.dev") in changed


@pytest.mark.cluster
async def test_base_holds_all_that_ships(plane: Plane) -> None:
    """A file that the kustomization forgets is not shipped."""
    base = await built(plane, "manifests")
    assert ("CustomResourceDefinition", "", "securetenants.securetenant.dev") in base
    files = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in shipped()}
    parts = ("-admin-tier", "-nodes", "-subnets")
    kinds = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "PrometheusRule", "ServiceMonitor")
    opt_in = {key for key in files if key[2].endswith(parts) or key[0] in kinds}
    assert files - opt_in <= set(base)
    assert base["Deployment", NAMESPACE, "securetenant"]["spec"]["template"]["spec"]["containers"][0]["image"].endswith(
        f":{securetenant.__version__}"
    )


def overlay(folder: Path, *components: str) -> None:
    """Paths are relative, as kustomize wants them."""
    manifests = Path(os.path.relpath(ROOT / "manifests", folder))
    document = {"resources": [str(manifests)], "components": [str(manifests / "components" / c) for c in components]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))


@pytest.mark.cluster
async def test_the_admin_tier_is_switched_on_by_its_component(plane: Plane, tmp_path: Path) -> None:
    """It grants the right and sets the variable, and changes nothing else."""
    overlay(tmp_path, "admin-tier")
    base, ours = await asyncio.gather(built(plane, "manifests"), built(plane, str(tmp_path)))
    added = {(kind, name) for kind, _, name in ours.keys() - base.keys()}
    role = "securetenant-controller-admin-tier"
    assert added == {("ClusterRole", role), ("ClusterRoleBinding", role)}
    (changed,) = (key for key in base if ours[key] != base[key])
    (before,), (after,) = (one[changed]["spec"]["template"]["spec"]["containers"] for one in (base, ours))
    assert after == {**before, "env": [*before["env"], {"name": "SECURETENANT_ADMIN_TIER", "value": "true"}]}


@pytest.mark.cluster
async def test_the_monitoring_component_brings_scrape_alerts_and_dashboards(plane: Plane, tmp_path: Path) -> None:
    overlay(tmp_path, "monitoring")
    base, ours = await asyncio.gather(built(plane, "manifests"), built(plane, str(tmp_path)))
    added = ours.keys() - base.keys()
    assert {kind for kind, _, _ in added} == {"ConfigMap", "PrometheusRule", "ServiceMonitor"}
    boards = ours["ConfigMap", NAMESPACE, "securetenant-dashboards"]
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {json.loads(text)["uid"] for text in boards["data"].values()} == {
        "securetenant-tenants",
        "securetenant-operator",
    }


@pytest.mark.cluster
async def test_api_server_takes_all_strictly(plane: Plane, manifests: None) -> None:
    code, output = await kubectl(plane, "apply", "--dry-run=server", "--validate=strict", "-k", "manifests")
    assert (code, "Warning" in output) == (0, False), output


@pytest.mark.cluster
async def test_crd_is_established(admin: Admin, manifests: None) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/securetenants.securetenant.dev"

    async def established() -> bool:
        conditions = (await admin.get(path))["status"].get("conditions", [])
        return {"Established", "NamesAccepted"} <= {c["type"] for c in conditions if c["status"] == "True"}

    await wait_for(established, what="the CRD to be Established")


def without_seccomp(pod: Object) -> None:
    del pod["spec"]["securityContext"]["seccompProfile"]


def escalating(pod: Object) -> None:
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("loosen", "admitted"),
    [
        pytest.param(lambda _: None, True, id="as shipped"),
        pytest.param(without_seccomp, False, id="without seccomp"),
        pytest.param(escalating, False, id="escalating"),
    ],
)
async def test_restricted_pod_security_admits_the_operator(
    admin: Admin, manifests: None, loosen: Any, admitted: bool
) -> None:
    """In the namespace as it is shipped; that a looser pod is refused shows that the rule is in force."""
    pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template())}
    pod["metadata"]["name"] = "admission-test"
    loosen(pod)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    status, answer = await admin.request("POST", path, pod, params={"dryRun": "All"})
    assert (status == 201) is admitted, answer
    if not admitted:
        assert "violates PodSecurity" in answer["message"]


@pytest_asyncio.fixture(scope="module")
async def tenants_namespace(admin: Admin, manifests: None) -> AsyncIterator[str]:
    path = "/api/v1/namespaces"
    await admin.create(path, {"metadata": {"name": "escalation", "labels": {"securetenant.dev/tenant": "x"}}})
    yield "escalation"
    await admin.delete(f"{path}/escalation")


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("role", "taken"),
    [
        *(pytest.param(role, True, id=role) for role in sorted(TENANT_ROLES)),
        *(pytest.param(role, False, id=role) for role in ("cluster-admin", "admin", "edit", "view")),
    ],
)
async def test_operator_hands_out_the_tenants_roles_alone(
    plane: Plane, tenants_namespace: str, role: str, taken: bool
) -> None:
    """A real write, since it is the API server's check against escalation, and not a rule, that refuses. In a tenant's
    namespace: elsewhere the policy on the operator's account refuses all (tests/cluster/test_stolen_token.py)."""
    code, output = await kubectl(
        plane,
        *(f"--as=system:serviceaccount:{NAMESPACE}:securetenant", "create", "rolebinding", "escalation-test"),
        *("-n", tenants_namespace, f"--clusterrole={role}", "--user=somebody", "--dry-run=server"),
    )
    assert (code == 0) is taken, output
    if not taken:
        assert "is attempting to grant RBAC permissions not currently held" in output
