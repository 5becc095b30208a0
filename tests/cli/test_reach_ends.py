"""The ends of a question that need to know what runs: workloads, Services, Ingresses, addresses of pods."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from securetenant.cli.main import app

ANY = {"protocol": "TCP"}


def object_(kind: str, name: str, version: str = "v1", namespace: str = "shop", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}


def deployment(name: str, port: str = "", number: int = 0, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    ports = {"ports": [{"name": port, "containerPort": number}]} if port else {}
    container = {"name": name, "image": "registry.example/web:1", **ports}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **spec}}
    selector = {"matchLabels": {"app": name}}
    return object_("Deployment", name, "apps/v1", namespace, spec={"selector": selector, "template": template})


def service(name: str, app_: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return object_("Service", name, spec={"selector": {"app": app_}, "ports": list(ports)})


def policy(name: str, *ingress: dict[str, Any], namespace: str = "shop") -> dict[str, Any]:
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": list(ingress)}
    return object_("NetworkPolicy", name, "networking.k8s.io/v1", namespace, spec=spec)


def allows(app_: str, port: int | str) -> dict[str, Any]:
    peer = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": app_}}}
    return {"from": [peer], "ports": [{"protocol": "TCP", "port": port}]}


SHOP = [
    deployment("web", "http", 8080),
    deployment("db", "sql", 5432),
    deployment("agent", hostNetwork=True),
    service("web", "web", {"port": 80, "targetPort": "http"}, {"name": "admin", "port": 81, "targetPort": 9000}),
    service("db", "db", {"port": 5432}),
    service("lost", "nothing", {"port": 80, "targetPort": "http"}),
    object_("Service", "outside", spec={"type": "ExternalName", "externalName": "a.example"}),
    object_(
        *("Ingress", "shop", "networking.k8s.io/v1"),
        spec={
            "rules": [{"http": {"paths": [{"backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}],
            "defaultBackend": {"service": {"name": "web", "port": {"name": "admin"}}},
        },
    ),
    policy("in", allows("web", 5432), allows("edge", "http")),
    deployment("edge", namespace="ingress"),
]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "shop.yaml"
    file.write_text(yaml.safe_dump_all(SHOP))
    return file


def ask(files: Path, source: str, target: str, port: str = "", code: int = 0) -> Result:
    args = ["reach", str(files), "--from", source, "--to", target, *(["--port", port] if port else [])]
    result = CliRunner().invoke(app, [*args, "-o", "json"], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def answers(result: Result) -> list[tuple[str, str]]:
    return [(one["about"], one["answer"]) for one in json.loads(result.stdout)["answers"]]


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        ("shop/deployment/web", "shop/deployment/db", "TCP/5432", "yes"),
        ("shop/Deployment/web", "shop/deployment/db", "TCP/5433", "no"),
        ("shop/deployment/db", "shop/deployment/web", "TCP/8080", "no"),
        ("ingress/deployment/edge", "shop/deployment/web", "TCP/8080", "yes"),
        ("ingress/deployment/edge", "shop/deployment/web", "TCP/8081", "no"),
        ("ingress", "shop/deployment/web", "TCP/8080", "yes"),
        ("ingress{app=edge}", "shop/deployment/web", "TCP/8080", "yes"),
        ("ingress{app=other}", "shop/deployment/web", "TCP/8080", "no"),
        # The port http is 8080 for this Deployment, and is not there for the other.
        ("ingress/deployment/edge", "shop/deployment/db", "TCP/8080", "no"),
        # No policy is enforced on pods of the node's network.
        ("ingress/deployment/edge", "shop/deployment/agent", "TCP/1", "yes"),
        ("shop/deployment/agent", "ingress/deployment/edge", "TCP/1", "yes"),
        ("shop/deployment/agent", "shop/deployment/db", "TCP/5432", "no"),
        ("shop/deployment/agent", "203.0.113.7", "TCP/1", "yes"),
        ("shop/deployment/web", "203.0.113.7", "TCP/1", "yes"),
        ("203.0.113.7", "shop/deployment/web", "TCP/8080", "no"),
    ],
)
def test_workloads(shop: Path, source: str, target: str, port: str, expected: str) -> None:
    assert answers(ask(shop, source, target, port, 0 if expected == "yes" else 1)) == [("", expected)]


def test_a_service_leads_to_its_pods_and_their_port(shop: Path) -> None:
    about = "Service shop/web, port 80"
    assert answers(ask(shop, "ingress/deployment/edge", "service/shop/web", "TCP/80")) == [(about, "yes")]
    both = answers(ask(shop, "ingress/deployment/edge", "service/shop/web", code=1))
    assert both == [(about, "yes"), ("Service shop/web, port 81", "no")]


def test_a_port_by_number_needs_no_workload(shop: Path) -> None:
    body = service("numbered", "later", {"port": 5432})
    shop.write_text(shop.read_text() + "---\n" + yaml.safe_dump(body))
    found = answers(ask(shop, "shop/deployment/web", "service/shop/numbered"))
    assert found == [("Service shop/numbered, port 5432", "yes")]


def test_an_ingress_leads_to_its_backends(shop: Path) -> None:
    found = answers(ask(shop, "ingress/deployment/edge", "ingress/shop/shop", code=1))
    assert found == [("Service shop/web, port 81", "no"), ("Service shop/web, port 80", "yes")]


def test_an_address_of_a_pod_is_the_pod(tmp_path: Path) -> None:
    pod = object_("Pod", "db", spec={"containers": []}, status={"podIP": "10.0.0.9", "phase": "Running"})
    pod["metadata"]["labels"] = {"app": "db"}
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump_all([*SHOP, pod]))
    assert answers(ask(file, "shop/deployment/web", "10.0.0.9", "TCP/5432")) == [("", "yes")]
    assert answers(ask(file, "shop/deployment/db", "10.0.0.9", "TCP/5432", code=1)) == [("", "no")]


def test_from_a_nodes_network_a_whole_namespace_is_no_answer(shop: Path) -> None:
    told = ask(shop, "shop/deployment/agent", "ingress", code=2).stderr
    assert "Deployment/agent: it is on its node's network: ask for a workload" in told


def test_with_pods_only_what_is_there_counts(shop: Path) -> None:
    text = CliRunner().invoke(app, ["reach", str(shop), "--pods"], catch_exceptions=False).stdout
    assert "shop (Deployment/web) -> shop (Deployment/db, Deployment/web): TCP 5432" in text
    assert "ingress (Deployment/edge) -> shop (Deployment/web): TCP 8080" in text
    assert "kube-system" not in text


@pytest.mark.parametrize(
    ("target", "port", "told"),
    [
        ("service/shop/gone", "", "there is no Service shop/gone"),
        ("service/shop/outside", "", "Service shop/outside selects no pods"),
        ("service/shop/lost", "", "no pod or workload that it selects is known"),
        ("service/shop/web", "TCP/82", "Service shop/web has no such port"),
        ("ingress/shop/shop", "TCP/80", "leave --port out"),
        ("shop{app}", "", "app is no label"),
        ("300.0.0.1", "", "300.0.0.1 is no address"),
    ],
)
def test_what_there_is_not_is_told(shop: Path, target: str, port: str, told: str) -> None:
    assert told in ask(shop, "ingress", target, port, 2).stderr
