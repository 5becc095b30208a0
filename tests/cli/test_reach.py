"""`securetenant reach`, as it is called: of files, with questions, and compared."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from securetenant.cli.main import app
from securetenant.model import names
from tests.support.estates import estate

ROOT = Path(__file__).parents[2]
BANK = ROOT / "examples" / "bank"
DEBUG = ROOT / "examples" / "reach" / "debug.yaml"


def reach(*args: object, text: str | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["reach", *map(str, args)], input=text, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def flows(*args: object, code: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(reach(*args, "--output", "json", code=code).stdout)["flows"]
    return found


def between(found: list[dict[str, Any]], source: str, target: str) -> list[dict[str, Any]]:
    return [one for one in found if source in one["from"]["namespaces"] and target in one["to"]["namespaces"]]


def manifests(folder: Path, text: str, name: str = "one.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


POLICY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: NAME, namespace: SPACE}
spec: SPEC
---
"""
CLOSED = "{podSelector: {}, policyTypes: [Ingress, Egress]}"


def policy(name: str, space: str, spec: str) -> str:
    return POLICY.replace("NAME", name).replace("SPACE", space).replace("SPEC", spec)


# --- what is there


def test_an_agreed_flow_has_both_rules_the_ticket_and_its_end() -> None:
    (flow,) = between(flows(BANK), "payments-prod", "ledger-prod")
    assert flow["state"] == "declared"
    assert flow["ports"] == [{"protocol": "TCP", "port": 8443, "endPort": 8443}]
    assert (flow["from"]["pods"], flow["to"]["pods"]) == (["app=gateway"], ["app=ledger"])
    rules = {(one["tenant"], one["rule"], one["ticket"], one["expires"]) for one in flow["policies"]}
    told = ("CHG-20931", "2031-03-31T00:00:00Z")
    assert rules == {("payments", "ledger", *told), ("core-banking", "payments-gateway", *told)}


def test_a_one_sided_flow_is_closed() -> None:
    assert between(flows(BANK), "treasury-legacy", "ledger-prod") == []


def test_what_a_policy_of_others_opens_is_undeclared_and_the_policy_named() -> None:
    found = between(flows(BANK), "kube-system", "treasury-legacy")
    assert {one["state"] for one in found} == {"undeclared"}
    assert {one["name"] for flow in found for one in flow["policies"]} == {"temporary-allow-all"}


def test_of_a_flow_that_is_partly_declared_only_the_rest_is_undeclared() -> None:
    found = between(flows(BANK), "treasury-legacy", "kube-system")
    dns = [one for one in found if one["to"]["pods"] == ["k8s-app=kube-dns"]]
    declared, undeclared = (next(one for one in dns if one["state"] == s) for s in ("declared", "undeclared"))
    assert [one["port"] for one in declared["ports"]] == [53, 53]
    assert {"protocol": "TCP", "port": 0, "endPort": 52} in undeclared["ports"]


def test_audit_is_not_counted_as_in_force_and_that_is_told() -> None:
    assert "treasury: mode is Audit: its policies are not counted" in reach(BANK).stderr


def test_text_shows_the_worst_tenant_first() -> None:
    lines = reach(BANK).stdout.splitlines()
    assert lines[0] == "SecureTenant treasury (treasury-legacy)"
    assert lines[1].startswith(
        "  ! all addresses outside the cluster -> treasury-legacy: all ports  (by NetworkPolicy/"
    )
    assert lines[-1] == "29 flows: 23 declared, 6 undeclared"


def test_one_tenant_and_its_neighbours() -> None:
    found = flows(BANK, "--tenant", "core-banking")
    assert found
    assert all("core-banking" in (one["from"]["tenant"], one["to"]["tenant"]) for one in found)
    assert "there is no tenant nobody; there are: core-banking," in reach(BANK, "-t", "nobody", code=2).stderr


@pytest.mark.parametrize("tenant", ["core-banking", "payments", "risk", "treasury"])
def test_one_tenant_alone_is_the_same_as_among_all(tenant: str) -> None:
    whole = [one for one in flows(BANK) if tenant in (one["from"]["tenant"], one["to"]["tenant"])]
    alone = flows(BANK, "--tenant", tenant)
    assert sorted(map(json.dumps, alone)) == sorted(map(json.dumps, whole))


TEMPLATE = """
apiVersion: securetenant.dev/v1alpha1
kind: NetworkTemplate
metadata: {name: scrape}
spec:
  parameters: [{name: from, type: Namespace, default: {namespace: monitoring}}]
  ingress:
  - {name: metrics, from: [{namespaceFrom: from}], ports: [{port: 9090}], ticket: CHG-1}
---
apiVersion: securetenant.dev/v1alpha1
kind: SecureTenant
metadata: {name: pay}
spec:
  mode: Enforce
  namespaces: [{name: pay-a}]
  network: {templates: [{template: scrape, expires: "2040-01-02T00:00:00Z"}]}
"""


def test_the_rules_of_templates_are_declared_with_ticket_and_end(tmp_path: Path) -> None:
    (flow,) = between(flows(manifests(tmp_path / "one", TEMPLATE)), "monitoring", "pay-a")
    assert flow["state"] == "declared"
    assert [(one["rule"], one["ticket"], one["expires"]) for one in flow["policies"]] == [
        ("scrape-metrics", "CHG-1", "2040-01-02T00:00:00Z")
    ]
    asked = ("--from", "monitoring", "--to", "pay-a", "--port", "TCP/9090")
    assert "by rule scrape-metrics, CHG-1 until 2040-01-02" in reach(tmp_path / "one", *asked).stdout


def test_without_tenants_everything_is_shown(tmp_path: Path) -> None:
    folder = manifests(tmp_path / "a", policy("deny", "shop", CLOSED))
    found = flows(folder)
    assert {one["state"] for one in found} == {"other"}
    assert between(found, "default", "kube-system")
    assert not any("shop" in one[end]["namespaces"] for one in found for end in ("from", "to"))


def test_undeclared_alone_fails_a_pipeline() -> None:
    assert {one["state"] for one in flows(BANK, "--undeclared", code=1)} == {"undeclared"}
    assert flows(BANK, "--undeclared", "--tenant", "payments") == []


def test_long_lists_are_shortened_unless_all_is_asked_for(tmp_path: Path) -> None:
    folder = manifests(tmp_path / "a", estate(120))
    shown, whole = reach(folder).stdout, reach(folder, "--all").stdout
    assert "and 10 more tenants: name one with --tenant, or see --all" in shown
    assert shown.count("SecureTenant ") == 20
    assert whole.count("SecureTenant ") == 30


def test_many_namespaces_without_policies_are_taken_together(tmp_path: Path) -> None:
    """Each with each of the others would be thousands of lines, that say the same."""
    text = estate(120)
    audited = manifests(tmp_path / "b", text.replace('"mode": "Enforce"', '"mode": "Audit"'))
    result = reach(audited, "-o", "json")
    found = json.loads(result.stdout)["flows"]
    assert len(found) < 500, "118 times 118 would be 13,924"
    assert "team-000, team-001, team-002 and 27 more: mode is Audit: " in result.stderr
    both = [one for one in found if one["from"]["tenant"] == one["to"]["tenant"] == "several tenants"]
    assert both
    assert {one["state"] for one in both} == {"undeclared"}
    assert "no NetworkPolicy stands in 118 namespaces of tenants" in result.stderr
    exact = flows(audited, "--tenant", "team-001")
    assert {"declared", "undeclared"} == {one["state"] for one in exact}


# --- questions


def asked(*args: object, code: int = 0) -> dict[str, Any]:
    (answer,) = json.loads(reach(BANK, *args, "-o", "json", code=code).stdout)["answers"]
    return answer  # type: ignore[no-any-return]


def test_yes_with_the_rules_and_the_ticket() -> None:
    answer = asked("--from", "payments-prod", "--to", "ledger-prod", "--port", "TCP/8443")
    assert answer["answer"] == "yes"
    told = "CHG-20931 until 2031-03-31"
    assert answer["reasons"] == [
        f"egress of payments-prod allows it, by rule ledger, {told}",
        f"ingress of ledger-prod allows it, by rule payments-gateway, {told}",
    ]
    (flow,) = answer["flows"]
    assert flow["from"]["pods"] == ["app=gateway"]


def test_no_with_the_side_that_blocks() -> None:
    args = ("--from", "treasury-legacy", "--to", "ledger-prod{app=ledger}", "--port", "8443")
    answer = asked(*args, code=1)
    assert answer["answer"] == "no"
    assert answer["reasons"] == [
        "egress of treasury-legacy allows it, since no policy of that direction selects these pods",
        "ingress of ledger-prod does not allow it",
    ]
    text = reach(BANK, *args, code=1).stdout
    assert text.startswith("no: egress of treasury-legacy allows it")


def test_no_with_the_ports_that_are_open_instead() -> None:
    answer = asked("--from", "payments-prod", "--to", "ledger-prod", "--port", "TCP/8444", code=1)
    assert answer["reasons"] == [
        "egress of payments-prod does not allow it on these ports, but on TCP 8443",
        "ingress of ledger-prod does not allow it on these ports, but on TCP 8443",
    ]


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        ("payments-prod{app=gateway}", "ledger-prod{app=ledger}", "TCP/8443", "yes"),
        ("payments-prod{app=gateway}", "ledger-prod{app=ledger}", "TCP/8444", "no"),
        ("payments-prod{app=gateway}", "ledger-prod{app=ledger}", "UDP/8443", "no"),
        ("payments-prod{app=gateway}", "ledger-prod{app=ledger}", "TCP/8440-8450", "partly"),
        ("payments-prod{app=teller}", "ledger-prod", "TCP/8443", "no"),
        ("payments-prod{app=clearing}", "203.0.113.7", "TCP/5005", "yes"),
        ("payments-prod{app=clearing}", "203.0.114.7", "TCP/5005", "no"),
        ("payments-prod{app=gateway}", "203.0.113.7", "TCP/5005", "no"),
        ("10.8.1.1", "payments-prod{app=teller}", "TCP/9443", "yes"),
        ("10.8.9.1", "payments-prod{app=teller}", "TCP/9443", "no"),
        ("risk-lab", "risk-engine", "TCP/1", "yes"),
        ("payments-test", "payments-prod", "TCP/1", "no"),
        ("payments-prod", "kube-system{k8s-app=kube-dns}", "UDP/53", "yes"),
    ],
)
def test_questions(source: str, target: str, port: str, expected: str) -> None:
    code = 0 if expected == "yes" else 1
    assert asked("--from", source, "--to", target, "--port", port, code=code)["answer"] == expected


def test_not_for_the_same_pods(tmp_path: Path) -> None:
    """Each end allows something, and no pair of pods both."""
    out = "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}"
    into = "{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {}, podSelector: PODS}]}]}"
    text = policy("deny", "shop", CLOSED) + policy("out", "shop", out)
    folder = manifests(tmp_path / "a", text + policy("in", "bank", into.replace("PODS", "{matchLabels: {app: b}}")))
    stdout = reach(folder, "--from", "shop", "--to", "bank", code=1).stdout
    assert "egress of shop allows it, by NetworkPolicy/shop/out, which no SecureTenant declares" in stdout
    assert "ingress of bank allows it" in stdout
    assert stdout.strip().endswith("but not for the same pods and ports")


def test_unknown_is_told_as_unknown(tmp_path: Path) -> None:
    """A policy of another kind may open what NetworkPolicies close: no is not the answer."""
    cilium = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: x, namespace: shop}, spec: {}}\n"
    folder = manifests(tmp_path / "a", policy("deny", "shop", CLOSED) + cilium)
    stdout = reach(folder, "--from", "default", "--to", "shop", code=3).stdout
    assert stdout.startswith("unknown: ")
    assert "? shop: CiliumNetworkPolicy" in stdout
    assert reach(folder, "--undeclared", code=3).stdout.count("Unknown: there may be more, or less") == 1


# --- compared


def test_what_is_no_longer_enforced_opens_undeclared_flows(tmp_path: Path) -> None:
    text = estate(52, undeclared=0)
    enforced = manifests(tmp_path / "a", text)
    audited = manifests(tmp_path / "b", text.replace('"mode": "Enforce"', '"mode": "Audit"'))
    opened = flows(audited, "--against", enforced, code=1)
    assert {(one["change"], one["state"]) for one in opened} == {("opened", "undeclared")}


def test_what_a_change_opens_and_closes(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    for file in BANK.glob("*.yaml"):
        text = file.read_text()
        if file.name == "core-banking.yaml":
            text = text.replace("port: 8443", "port: 8444", 1)
        manifests(folder, text, file.name)
    found = flows(folder, "--against", BANK)
    assert [(one["change"], one["state"]) for one in found] == [("closed", "declared")]
    assert "0 flows open, 1 flow closes" in reach(folder, "--against", BANK).stdout
    opened = flows(BANK, "--against", folder, code=1)
    assert [(one["change"], one["state"]) for one in opened] == [("opened", "declared")]
    assert opened[0]["policies"][0]["ticket"] == "CHG-20931"
    assert flows(BANK, "--against", folder, "--undeclared") == []


def test_a_policy_that_opens_what_nobody_declares_is_refused() -> None:
    found = flows(BANK, DEBUG, "--against", BANK, "--undeclared", code=1)
    assert {(one["change"], one["state"]) for one in found} == {("opened", "undeclared")}
    assert {one["name"] for flow in found for one in flow["policies"]} == {"debug"}
    ports = {(port["protocol"], port["port"]) for flow in found for port in flow["ports"]}
    assert ports == {("TCP", 9090)}
    text = reach(BANK, DEBUG, "--against", BANK, code=1).stdout
    assert "3 flows open, 0 flows close; no SecureTenant declares 3 of those that open" in text


@pytest.mark.parametrize("tenant", ["risk", "payments", "nobody"])
def test_a_policy_of_the_files_counts_whatever_its_labels_say(tmp_path: Path, tenant: str) -> None:
    """Whoever writes a file can copy the operator's labels."""
    body = yaml.safe_load(DEBUG.read_text())
    body["metadata"]["labels"] = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_TENANT: tenant}
    folder = manifests(tmp_path / "forged", yaml.safe_dump(body))
    found = flows(BANK, folder, "--against", BANK, "--undeclared", code=1)
    assert {one["name"] for flow in found for one in flow["policies"]} == {"debug"}


def test_the_same_state_opens_nothing() -> None:
    stdout = reach(BANK, "--against", BANK).stdout
    assert stdout.splitlines() == ["0 flows open, 0 flows close"]


# --- matrix, csv


def test_a_matrix_of_tenants() -> None:
    rows = list(csv.reader(reach(BANK, "--matrix", "-o", "csv").stdout.splitlines()))
    cells = {(row[0], to): text for row in rows[1:] for to, text in zip(rows[0][1:], row[1:], strict=True)}
    assert cells["payments", "core-banking"] == "TCP 8443"
    assert cells["core-banking", "payments"] == ""
    assert cells["(no tenant)", "treasury"] == "! all ports"
    assert cells["(outside)", "payments"] == "TCP 9443"


def test_a_matrix_as_json_has_the_cells_that_are_not_empty() -> None:
    cells = json.loads(reach(BANK, "--matrix", "-o", "json").stdout)["cells"]
    by = {(one["from"], one["to"]): one for one in cells}
    assert by["payments", "core-banking"]["ports"] == [{"protocol": "TCP", "port": 8443, "endPort": 8443}]
    assert ("core-banking", "payments") not in by
    assert by["(no tenant)", "treasury"]["undeclared"]


def test_a_matrix_of_namespaces_with_many_columns_is_a_list() -> None:
    lines = reach(BANK, "--matrix", "--by", "namespace").stdout.splitlines()
    of_prod = lines[lines.index("payments-prod") + 1 : lines.index("payments-test")]
    assert of_prod == [
        "  -> kube-system: TCP 53, UDP 53",
        "  -> ledger-prod: TCP 8443",
        "  -> payments-prod: all ports",
        "  -> (outside): TCP 5000-5010",
    ]


def test_a_matrix_as_a_table_has_aligned_columns() -> None:
    lines = reach(BANK, "--matrix").stdout.splitlines()
    at = lines[0].index("risk")
    risk = next(line for line in lines if line.startswith("risk"))
    assert risk[at:].startswith("all ports")


def test_csv_has_every_flow_and_no_formula(tmp_path: Path) -> None:
    rows = list(csv.DictReader(reach(BANK, "-o", "csv").stdout.splitlines()))
    assert len(rows) == len(flows(BANK))
    (row,) = (one for one in rows if one["from"] == "payments-prod" and one["to"] == "ledger-prod")
    assert row["tickets"] == "CHG-20931 until 2031-03-31"


@pytest.mark.parametrize("args", [(), ("--matrix",)])
def test_csv_has_every_field_in_quotes(args: tuple[str, ...]) -> None:
    """Whatever separator a spreadsheet takes, a field stays one."""
    for line in reach(BANK, *args, "-o", "csv").stdout.splitlines():
        assert next(csv.reader([line], quoting=csv.QUOTE_ALL)) == line[1:-1].split('","')


# --- wrong usage


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--from", "payments-prod"), "--from and --to belong together"),
        (("--port", "TCP/1"), "--port belongs to --from and --to"),
        (("--from", "a", "--to", "b", "--matrix"), "ask about one state"),
        (("--matrix", "-o", "svg"), "a matrix is text, json or csv"),
        (("--from", "payments-prod", "--to", "ledger-prod", "-o", "svg"), "an answer is text or json"),
        (("--from", "payments-prd", "--to", "ledger-prod"), "no namespace payments-prd is known; there are: "),
        (("--from", "payments-prod", "--to", "ledger-prod", "--port", "http"), "--port http is none: write TCP/8443"),
        (("--from", "Payments!", "--to", "ledger-prod"), "is not understood: write a namespace"),
        (("--from", "payments-prod/deployment/web", "--to", "ledger-prod"), "no deployment/web is known"),
        (("--from", "service/a/b", "--to", "ledger-prod"), "connections begin at pods"),
        (("--against", "nowhere"), "nowhere: No such file"),
        (("--from", "192.0.2.1", "--to", "192.0.2.2"), "192.0.2.1/32 and 192.0.2.2/32 are both outside the cluster"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], told: str) -> None:
    assert told in reach(BANK, *args, code=2).stderr


def test_errors_of_the_files_are_told(tmp_path: Path) -> None:
    bad = "{apiVersion: securetenant.dev/v1alpha1, kind: SecureTenant, metadata: {name: a}, spec: {namespace: []}}\n"
    folder = manifests(tmp_path / "a", bad)
    assert "one.yaml:1: a: spec.namespace" in reach(folder, code=2).stderr
