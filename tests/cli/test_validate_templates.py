"""NetworkTemplates in files: what uses them wrongly is told, and `render` has their rules."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from securetenant.cli.main import app
from tests.support.templates import WEB

USE = {"template": "web-behind-ingress", "parameters": [{"name": "web", "pods": {"matchLabels": {"app": "a"}}}]}


def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "securetenant.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def tenant(*uses: dict[str, Any], **network: Any) -> dict[str, Any]:
    return document("SecureTenant", "pay", namespaces=[{"name": "pay-a"}], network={"templates": list(uses), **network})


TEMPLATE = document("NetworkTemplate", "web-behind-ingress", **WEB)


def problems(folder: Path, *documents: dict[str, Any], strict: bool = False) -> list[tuple[str, str, str, str]]:
    path = folder / "files.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    flags = ["--strict"] if strict else []
    result = CliRunner().invoke(app, ["validate", "-o", "json", *flags, str(path)])
    found = json.loads(result.stdout)["problems"]
    return [(one["severity"], one["name"], one["path"], one["message"]) for one in found]


def test_with_the_template_nothing_is_wrong(tmp_path: Path) -> None:
    assert problems(tmp_path, tenant(USE), TEMPLATE) == []


def test_without_the_template_it_is_said_what_to_give(tmp_path: Path) -> None:
    (one,) = problems(tmp_path, tenant(USE))
    assert one[:3] == ("error", "pay", "spec.network.templates[0].template")
    assert one[3] == (
        "there is no NetworkTemplate web-behind-ingress in the files: give its file as well, or judge by those of the "
        "cluster (--cluster), or correct the name"
    )


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ({"template": "web-behind-ingress"}, "NetworkTemplate web-behind-ingress: parameter web (the pods that serve)"),
        ({**USE, "name": "taken"}, "there is another ingress rule taken-from-edge"),
    ],
    ids=["parameters", "name"],
)
def test_what_does_not_fit_is_an_error(tmp_path: Path, use: dict[str, Any], said: str) -> None:
    own = [{"name": "taken-from-edge", "from": [{"cidr": "192.0.2.0/24"}]}]
    (one,) = problems(tmp_path, TEMPLATE, tenant(use, ingress=own))
    assert one[:3] == ("error", "pay", "spec.network.templates[0]")
    assert said in one[3]


def test_a_template_that_is_wrong_is_told_by_itself(tmp_path: Path) -> None:
    broken = document("NetworkTemplate", "web-behind-ingress", **{**WEB, "parameters": []})
    (wrong,) = problems(tmp_path, broken, tenant())
    assert wrong[:3] == ("error", "web-behind-ingress", "spec")
    assert "names no parameter of type Pods" in wrong[3]


def test_flows_that_stay_closed_are_told_at_the_use(tmp_path: Path) -> None:
    spec = {"egress": [{"name": "out", "to": [{"tenant": "db"}]}]}
    db = document("SecureTenant", "db", namespaces=[{"name": "db-a"}])
    (one,) = problems(tmp_path, tenant({"template": "db"}), document("NetworkTemplate", "db", **spec), db)
    assert one[:3] == ("warning", "pay", "spec.network.templates[0]")
    assert one[3].startswith("rule 'db-out' stays closed: db declares no ingress from pay-a")


def test_namespaces_that_a_template_names_are_looked_for(tmp_path: Path) -> None:
    (one,) = problems(tmp_path, tenant(USE), TEMPLATE, strict=True)
    assert one[:3] == ("warning", "pay", "spec.network.templates[0]")
    assert "unless the namespace ingress-nginx exists" in one[3]


def test_a_use_that_has_expired_is_told(tmp_path: Path) -> None:
    (one,) = problems(tmp_path, tenant({**USE, "expires": "2020-01-01T00:00:00Z"}), TEMPLATE)
    assert one[:3] == ("warning", "pay", "spec.network.templates[0].expires")
    assert "'web-behind-ingress' expired at 2020-01-01T00:00:00Z and its rules are closed" in one[3]


def test_render_has_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "files.yaml"
    path.write_text(yaml.safe_dump_all([tenant(USE), TEMPLATE]))
    result = CliRunner().invoke(app, ["render", str(path)])
    assert result.exit_code == 0, result.output
    made = {one["metadata"]["name"]: one for one in yaml.safe_load_all(result.stdout) if one}
    (rule,) = made["securetenant-ingress-web-behind-ingress-from-edge"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8443}]
    path.write_text(yaml.safe_dump(tenant(USE)))
    result = CliRunner().invoke(app, ["render", str(path)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no NetworkTemplate web-behind-ingress in the files" in result.stderr
