"""`securetenant validate`, as it is called."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from securetenant.api.tenant import SecureTenantSpec
from securetenant.cli.main import app
from tests.support import shelf

ROOT = Path(__file__).parents[2]
BANK = ROOT / "examples" / "bank"


def validate(*args: object, text: str | None = None) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, args)], input=text)


def problems(*args: object, text: str | None = None) -> list[dict[str, Any]]:
    result = validate("-o", "json", *args, text=text)
    found: list[dict[str, Any]] = json.loads(result.stdout)["problems"]
    return found


def tenant(name: str, **spec: Any) -> str:
    body = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "metadata": {"name": name}, "spec": spec}
    return "---\n" + yaml.safe_dump({**body, "spec": {"namespaces": [{"name": f"{name}-prod"}], **spec}})


def flow(direction: str, peer: str, port: int = 8443) -> dict[str, Any]:
    rule = {
        "name": "books",
        "from" if direction == "ingress" else "to": [{"tenant": peer}],
        "ports": [{"protocol": "TCP", "port": port}],
    }
    return {direction: [rule]}


def test_the_examples_are_sound() -> None:
    result = validate(BANK)
    assert result.exit_code == 0, result.output
    counted = "4 tenants, 2 NetworkTemplates, 1 workload in 6 files"
    assert f"{counted}: 0 errors, 2 warnings, 4 other documents skipped" in result.stdout
    assert "treasury: spec.network.egress[0]" in result.stdout
    assert "payments: spec.exemptions[0].expires" in result.stdout


@pytest.mark.parametrize("command", ["validate", "render"])
def test_a_sound_tenant_is_validated_once(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Parsing is the dearest part. A rule of the whole spec is judged once in each validation."""
    rule, judged = SecureTenantSpec.RULES[0], []

    def holds(spec: SecureTenantSpec, holds: Callable[[Any], bool] = rule.holds) -> bool:
        judged.append(spec.namespaces[0].name)
        return holds(spec)

    monkeypatch.setattr(rule, "holds", holds)
    text = tenant("a", network=flow("egress", "b")) + tenant("b", network=flow("ingress", "a"))
    result = CliRunner().invoke(app, [command, "-"], input=text)
    assert result.exit_code == 0, result.output
    assert judged == ["a-prod", "b-prod"]


def test_no_client_of_a_cluster_is_loaded_for_files() -> None:
    run = f"from securetenant.cli.main import app; app(['validate', {str(BANK)!r}], standalone_mode=False)"
    code = f"import sys; {run}; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_strict_makes_warnings_fail() -> None:
    assert validate("--strict", BANK).exit_code == 1
    sound = [BANK / f"{name}.yaml" for name in ("00-platform", "01-templates", "risk", "core-banking")]
    # The platform's file has a NetworkPolicy in a namespace of treasury.
    assert validate("--strict", "--tenant", BANK / "treasury.yaml", *sound).exit_code == 0


def test_strict_warns_of_platform_namespaces_that_no_file_declares(tmp_path: Path) -> None:
    def rule(name: str, *namespaces: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "from": [{"namespace": namespace} for namespace in namespaces], **more}

    path = tmp_path / "a.yaml"
    rules = [rule("edge", "kube-system", "ingress-ngnix"), rule("over", "gone", expires="2020-01-01T00:00:00Z")]
    egress = [{"name": "out", "to": [{"namespace": "logging"}, {"namespace": "b-prod"}, {"cidr": "10.0.0.0/8"}]}]
    path.write_text(tenant("a", network={"ingress": rules, "egress": egress}) + tenant("b"))

    def told(*args: object, text: str | None = None) -> set[str]:
        return {p["path"] for p in problems(*args, text=text) if "unless the namespace" in p["message"]}

    edge, out = "spec.network.ingress[0].from[1].namespace", "spec.network.egress[0].to[0].namespace"
    assert told(path) == set()
    assert told("--strict", path) == {edge, out}
    logging = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "logging"}}
    there = {"apiVersion": "v1", "kind": "List", "items": [logging]}
    assert told("--strict", path, "-", text=yaml.safe_dump(there)) == {edge}
    (line,) = (p["line"] for p in problems("--strict", path) if p["path"] == edge)
    assert path.read_text().splitlines()[line - 1].strip() == "- namespace: ingress-ngnix"


def test_errors_name_file_line_tenant_and_field(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        "# a comment\n"
        "apiVersion: securetenant.dev/v1alpha1\n"
        "kind: SecureTenant\n"
        "metadata: {name: shop}\n"
        "spec:\n"
        "  mod: Enforce\n"
        "  namespaces:\n"
        "  - name: kube-system\n"
    )
    result = validate(path)
    assert result.exit_code == 1
    assert f"error {path}:6: shop: spec.mod: " in result.stdout
    assert f"error {path}:8: shop: spec.namespaces[0].name: " in result.stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("written", "said"),
    [
        pytest.param("namespaces: [{name: shop, labels: {live: on}}]", "YAML does not read on as text", id="on"),
        pytest.param("displayName: no", "YAML does not read no as text", id="no"),
        pytest.param("displayName: 1e3", "YAML does not read 1e3 as text", id="number"),
        pytest.param("network: {ingress: [{name: a, expires: 2027-03-31}]}", "2027-03-31T00:00:00Z", id="date"),
    ],
)
def test_quirks_of_yaml_are_explained(written: str, said: str) -> None:
    text = f"apiVersion: securetenant.dev/v1alpha1\nkind: SecureTenant\nmetadata: {{name: a}}\nspec: {{{written}}}\n"
    assert said in " ".join(problem["message"] for problem in problems("-", text=text))


def test_text_where_a_list_belongs_is_no_quirk_of_yaml() -> None:
    for written in ("namespaces: shop", "namespaces: [{name: shop, subnet: 10.60.4.0/24}]"):
        text = (
            "apiVersion: securetenant.dev/v1alpha1\nkind: SecureTenant\nmetadata: {name: a}\nspec: {" + written + "}\n"
        )
        (problem,) = problems("-", text=text)
        assert "wrong type" in problem["message"]
        assert "YAML" not in problem["message"]


def test_an_unquoted_time_is_good() -> None:
    text = tenant("a", network={"ingress": [{"name": "r", "from": [{"cidr": "10.0.0.0/8"}], "expires": "T"}]})
    text = text.replace("expires: T", "expires: 2099-03-31T00:00:00Z")
    assert problems("-", text=text) == []


def test_an_expired_rule_is_a_warning() -> None:
    rule = {"name": "r", "from": [{"cidr": "10.0.0.0/8"}], "expires": "2020-01-01T00:00:00Z"}
    (problem,) = problems("-", text=tenant("a", network={"ingress": [rule]}))
    assert (problem["severity"], problem["path"]) == ("warning", "spec.network.ingress[0].expires")


def test_a_name_twice() -> None:
    found = problems("-", text=tenant("a") + tenant("a"))
    assert [(p["path"], p["severity"]) for p in found] == [("metadata.name", "error")]
    assert "stdin:2" in found[0]["message"]


def test_a_namespace_of_two_tenants() -> None:
    (problem,) = problems("-", text=tenant("a") + tenant("b", namespaces=[{"name": "x"}, {"name": "a-prod"}]))
    assert (problem["tenant"], problem["path"]) == ("b", "spec.namespaces[1].name")
    assert "SecureTenant a" in problem["message"]


def test_nodes_of_two_tenants() -> None:
    nodes = {"selector": {"matchLabels": {"pool": "risk"}}}
    (problem,) = problems("-", text=tenant("a", nodes=nodes) + tenant("b", nodes=nodes))
    assert (problem["tenant"], problem["path"], problem["severity"]) == ("b", "spec.nodes.selector", "error")
    other = {"selector": {"matchLabels": {"pool": "other"}}}
    assert problems("-", text=tenant("a", nodes=nodes) + tenant("b", nodes=other)) == []


def test_a_one_sided_flow_is_a_warning() -> None:
    one_sided = tenant("a", network=flow("egress", "b")) + tenant("b")
    (problem,) = problems("-", text=one_sided)
    assert (problem["tenant"], problem["path"], problem["severity"]) == ("a", "spec.network.egress[0]", "warning")
    assert "b declares no ingress" in problem["message"]
    assert validate("-", text=one_sided).exit_code == 0

    agreed = tenant("a", network=flow("egress", "b")) + tenant("b", network=flow("ingress", "a"))
    assert problems("-", text=agreed) == []
    other_port = tenant("a", network=flow("egress", "b")) + tenant("b", network=flow("ingress", "a", 9443))
    assert [p["tenant"] for p in problems("-", text=other_port)] == ["a", "b"]


def test_a_peer_that_is_not_among_the_files_is_nobodys_fault() -> None:
    assert problems("-", text=tenant("a", network=flow("egress", "elsewhere"))) == []


def test_no_tenant_at_all_is_fine() -> None:
    result = validate("-", text="kind: ConfigMap\n")
    assert result.exit_code == 0
    assert "1 other document skipped" in result.stdout


def test_unreadable_is_usage() -> None:
    result = validate("/nowhere/at/all.yaml")
    assert result.exit_code == 2
    assert result.stderr == "error: /nowhere/at/all.yaml: No such file or directory\n"


def test_a_bad_environment_is_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURETENANT_DNS_PORT", "x")
    result = validate(BANK)
    assert result.exit_code == 2
    assert "SECURETENANT_DNS_PORT" in result.stderr


def test_a_second_resource_is_judged_by_its_own_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, shelf_ = tmp_path / "s.yaml", shelf.document
    sound = [shelf_("oak", boards=3), shelf_("pay", boards=3, reserved=3)]
    path.write_text(tenant("pay") + yaml.safe_dump_all(sound, explicit_start=True))
    assert "kind: 'Shelf' is not supported: write 'SecureTenant'" in validate(path).stdout
    shelf.add(monkeypatch)
    assert validate(path).stdout == "1 tenant, 2 Shelves in 1 file: 0 errors, 0 warnings\n"
    assert json.loads(validate("-o", "json", path).stdout)["shelves"] == 2
    rendered = CliRunner().invoke(app, ["render", str(path)])
    assert rendered.stderr == "note: 2 Shelves checked: there is nothing to render\n"
    assert "kind: Namespace" in rendered.stdout
    planned = CliRunner().invoke(app, ["plan", str(path), "--kubeconfig", str(tmp_path / "none")])
    assert planned.stderr.startswith("note: 2 Shelves checked: there is nothing to plan\n")

    path.write_text(path.read_text() + "---\n" + yaml.safe_dump(shelf_("elm", boards=3, reserved=4, bords=1)))
    lines = path.read_text().splitlines()
    found = problems(path)
    assert [(one["path"], one["kind"], one["name"], one["tenant"]) for one in found] == [
        ("spec.bords", "Shelf", "elm", ""),
        ("spec.reserved", "Shelf", "elm", ""),
    ]
    assert [lines[one["line"] - 1].strip() for one in found] == ["bords: 1", "reserved: 4"]
    assert 'did you mean "boards"?' in found[0]["message"]
    assert "more is reserved than there is" in found[1]["message"]
    assert f"error {path}:{found[1]['line']}: elm: spec.reserved: more is reserved" in validate(path).stdout

    (again,) = problems("-", text=yaml.safe_dump({"kind": "ShelfList", **listed(sound[0], sound[0])}))
    assert again["message"] == "Shelf oak is in stdin:3 as well: only the last applied counts"
    (header,) = problems("-", text=tenant("pay").replace("kind: SecureTenant", "kind: Shef"))
    assert header["message"] == (
        "'Shef' is not supported: write 'SecureTenant' or 'SubnetPool' or 'NetworkTemplate' or 'Shelf'"
    )


def listed(*items: dict[str, object]) -> dict[str, object]:
    bare = [{key: item[key] for key in ("metadata", "spec")} for item in items]
    return {"apiVersion": shelf.SHELF.kind.api_version, "items": bare}


def test_nothing_of_a_file_steers_the_terminal() -> None:
    text = tenant("a").replace("spec:", 'spec:\n  "\\e]0;owned\\a": 1')
    result = validate("-", text=text)
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert "\x07" not in result.output
