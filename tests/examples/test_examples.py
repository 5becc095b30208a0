"""The bank's tenants: valid by the models and by the API server, and what their comments say of them is true."""

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from securetenant.api.tenant import SecureTenant
from tests.support.sandbox import Admin

BANK: Final = Path(__file__).parents[2] / "examples" / "bank"
TENANTS: Final = ("core-banking", "payments", "risk", "treasury")


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def raw(name: str) -> dict[str, Any]:
    (document,) = documents(BANK / f"{name}.yaml")
    return document


def tenant(name: str) -> SecureTenant:
    return SecureTenant.model_validate(raw(name))


def test_every_file_is_known() -> None:
    """A file that is added here is also read by the tests below."""
    assert {file.stem for file in BANK.glob("*.yaml")} == {"00-platform", "01-templates", *TENANTS}


@pytest.mark.parametrize("name", TENANTS)
def test_example_is_a_valid_tenant(name: str) -> None:
    assert tenant(name).name == name


def test_only_the_newcomer_is_not_enforced() -> None:
    assert {name: tenant(name).spec.mode for name in TENANTS} == {
        "core-banking": "Enforce",
        "payments": "Enforce",
        "risk": "Enforce",
        "treasury": "Audit",
    }


def test_no_namespace_is_declared_twice_or_belongs_to_the_platform() -> None:
    declared = [entry.name for name in TENANTS for entry in tenant(name).spec.namespaces]
    platform = {d["metadata"]["name"] for d in documents(BANK / "00-platform.yaml") if d["kind"] == "Namespace"}
    adopted = {entry.name for name in TENANTS for entry in tenant(name).spec.namespaces if entry.adopt}
    assert len(declared) == len(set(declared))
    assert platform & set(declared) == adopted == {"treasury-legacy"}


def test_the_examples_stay_valid_for_years() -> None:
    networks = [tenant(name).spec.network for name in TENANTS]
    ends = [rule.expires for network in networks for rule in network.ingress]
    ends += [rule.expires for network in networks for rule in network.egress]
    ends += [use.expires for network in networks for use in network.templates]
    expiries = [end for end in ends if end]
    assert len(expiries) > 5
    assert min(expiries) > datetime(2031, 1, 1, tzinfo=UTC)


def flows(name: str, direction: str) -> set[tuple[str, ...]]:
    """Declared flows between tenants as (source, its namespaces, its pods, destination, ..., ports, end)."""
    mine, theirs = ("to", "from") if direction == "ingress" else ("from", "to")
    found = set()
    for rule in raw(name)["spec"]["network"].get(direction, []):
        for peer in rule[theirs]:
            if "tenant" not in peer:
                continue
            here = (name, str(rule.get(mine, {}).get("namespaces")), str(rule.get(mine, {}).get("pods")))
            there = (peer["tenant"], str(peer.get("namespaces")), str(peer.get("pods")))
            ends = (*there, *here) if direction == "ingress" else (*here, *there)
            found.add((*ends, str(rule["ports"]), rule["expires"]))
    return found


def test_the_whitelist_is_agreed_but_for_the_newcomers_wish() -> None:
    egress = set(itertools.chain.from_iterable(flows(name, "egress") for name in TENANTS))
    ingress = set(itertools.chain.from_iterable(flows(name, "ingress") for name in TENANTS))
    assert {flow[0] for flow in egress & ingress} == {"payments", "risk"}
    assert {flow[0] for flow in egress - ingress} == {"treasury"}
    assert ingress - egress == set()


@pytest.mark.cluster
@pytest.mark.parametrize("name", TENANTS)
async def test_the_api_server_takes_the_tenant(admin: Admin, crds: None, name: str) -> None:
    strict = {"dryRun": "All", "fieldValidation": "Strict"}
    path = "/apis/securetenant.dev/v1alpha1/securetenants"
    status, answer = await admin.request("POST", path, raw(name), params=strict)
    assert status == 201, answer


def test_each_template_is_used_and_each_that_is_used_is_there() -> None:
    there = {document["metadata"]["name"] for document in documents(BANK / "01-templates.yaml")}
    assert {use.template for name in TENANTS for use in tenant(name).spec.network.templates} == there
    assert len(there) == 2


@pytest.mark.cluster
async def test_the_api_server_takes_the_templates(admin: Admin, crds: None) -> None:
    strict = {"dryRun": "All", "fieldValidation": "Strict"}
    path = "/apis/securetenant.dev/v1alpha1/networktemplates"
    for document in documents(BANK / "01-templates.yaml"):
        status, answer = await admin.request("POST", path, document, params=strict)
        assert status == 201, answer


@pytest.mark.cluster
@pytest.mark.parametrize("name", TENANTS)
async def test_the_api_server_takes_the_quantities(admin: Admin, name: str) -> None:
    """Numbers that the LimitRange and the ResourceQuota made of them would be refused for (a default over its maximum,
    a ratio that no pod can meet) are found here and not in a reader's cluster."""
    spec = raw(name)["spec"]
    types = {"container": "Container", "pod": "Pod", "persistentVolumeClaim": "PersistentVolumeClaim"}
    for limits in (spec["limits"], *(entry["limits"] for entry in spec["namespaces"] if "limits" in entry)):
        merged = {**spec["limits"], **limits}
        items = [{"type": types[key], **values} for key, values in merged.items()]
        await dry_run(admin, "/api/v1/namespaces/default/limitranges", "v1", "LimitRange", {"limits": items})
    hard = {**spec["quota"]["tenant"], **spec["quota"].get("namespace", {})}
    await dry_run(admin, "/api/v1/namespaces/default/resourcequotas", "v1", "ResourceQuota", {"hard": hard})


async def dry_run(admin: Admin, path: str, version: str, kind: str, spec: dict[str, Any]) -> None:
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": "example"}, "spec": spec}
    strict = {"dryRun": "All", "fieldValidation": "Strict"}
    status, answer = await admin.request("POST", path, body, params=strict)
    assert status == 201, answer


@pytest.mark.cluster
@pytest.mark.parametrize("index", range(5))
async def test_the_api_server_takes_what_the_platform_runs(admin: Admin, index: int) -> None:
    collections = {
        "Namespace": "/api/v1/namespaces",
        "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
        "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
    }
    document = documents(BANK / "00-platform.yaml")[index]
    if "namespace" in document["metadata"]:
        assert document["metadata"].pop("namespace") == "treasury-legacy"
    document["metadata"]["name"] += "-dry-run"
    strict = {"dryRun": "All", "fieldValidation": "Strict"}
    status, answer = await admin.request("POST", collections[document["kind"]], document, params=strict)
    assert status == 201, answer
