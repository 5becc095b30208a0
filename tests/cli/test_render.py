"""`securetenant render`, as it is called."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from securetenant.cli.main import app
from securetenant.cli.render import objects as rendered
from securetenant.controls.control import Plan
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Ref
from tests.support.world import tenant

BANK = Path(__file__).parents[2] / "examples" / "bank"
HEAD = "apiVersion: securetenant.dev/v1alpha1\nkind: SecureTenant\n"


def render(*args: object, text: str | None = None) -> Result:
    return CliRunner().invoke(app, ["render", *map(str, args)], input=text)


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def keys(result: Result) -> list[tuple[str, str, str]]:
    return [(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in objects(result)]


def test_namespaces_come_first_then_what_closes() -> None:
    kinds = [(kind, name) for kind, _, name in keys(render(BANK, "--tenant", "payments"))]
    ranks = [0 if k == "Namespace" else 1 if n == "securetenant-default-deny" else 2 for k, n in kinds]
    assert ranks == sorted(ranks)
    assert [len(list(group)) for _, group in itertools.groupby(ranks)][:2] == [2, 2]


def test_it_is_the_same_each_time() -> None:
    first = render(BANK)
    assert first.stdout == render(BANK).stdout
    assert len(keys(first)) == len(set(keys(first))) > 60


def test_peers_among_the_files_count() -> None:
    both = keys(render(BANK, "-t", "payments"))
    alone = keys(render(BANK / "payments.yaml"))
    flow = ("NetworkPolicy", "payments-prod", "securetenant-egress-ledger")
    assert flow in both
    assert flow not in alone
    assert "stays" not in render(BANK, "-t", "payments").stderr
    assert "core-banking" in render(BANK / "payments.yaml").stderr


def test_every_object_says_what_it_is_and_carries_our_marks() -> None:
    result = render(BANK, "-t", "risk")
    made = objects(result)
    assert result.stdout.count("\n# risk: ") == len(made)
    for each in made:
        assert each["metadata"]["labels"][names.LABEL_TENANT] == "risk"
        assert names.ANNOTATION_APPLIED not in each["metadata"].get("annotations", {})


def test_the_record_is_there_for_a_tenant_with_a_uid() -> None:
    text = f"{HEAD}metadata: {{name: a, uid: 1234, resourceVersion: '7'}}\nspec: {{namespaces: [{{name: shop}}]}}\n"
    text = text.replace("uid: 1234", "uid: abcd-1234")
    assert all(names.ANNOTATION_APPLIED in o["metadata"]["annotations"] for o in objects(render("-", text=text)))


def test_what_only_a_cluster_knows_is_named() -> None:
    stderr = render(BANK, "-t", "risk").stderr
    assert "note: risk: label and taint of the nodes with pool=risk are not rendered" in stderr
    text = f"{HEAD}metadata: {{name: a}}\nspec: {{namespaces: [{{name: shop}}], network: {{apiServer: true}}}}\n"
    assert "apiServer: true is not rendered" in render("-", text=text).stderr
    egress = "[{name: out, to: [{cidr: 10.0.0.0/8}]}]"
    text = f"{HEAD}metadata: {{name: a}}\nspec: {{namespaces: [{{name: shop}}], network: {{egress: {egress}}}}}\n"
    assert "egress to a cidr is rendered without excluding" in render("-", text=text).stderr


def test_what_is_only_not_there_yet_needs_no_note() -> None:
    """Such as a quota that nobody has counted."""
    notes = render(BANK).stderr.splitlines()
    named = [note.split(":")[1].strip() for note in notes]
    assert named == ["payments", "payments", "risk", "treasury", "treasury"], notes


def test_paused_writes_nothing() -> None:
    result = render("-", text=f"{HEAD}metadata: {{name: a}}\nspec: {{mode: Paused, namespaces: [{{name: shop}}]}}\n")
    assert objects(result) == []
    assert "Paused" in result.stderr


def test_platform_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURETENANT_DNS_PORT", "5353")
    assert "port: 5353" in render(BANK / "payments.yaml").stdout


def test_words_that_yaml_would_misread_stay_text() -> None:
    text = f"{HEAD}metadata: {{name: a}}\nspec: {{namespaces: [{{name: shop, labels: {{live: 'on', v: '1e3'}}}}]}}\n"
    (namespace, *_) = objects(render("-", text=text))
    assert namespace["metadata"]["labels"].items() >= {"live": "on", "v": "1e3"}.items()
    assert 'v: "1e3"' in render("-", text=text).stdout


def test_what_several_controls_want_of_an_object_is_one_document() -> None:
    ref = Ref(NAMESPACE, "", "shop")
    wants = [Desired(ref, "namespaces", labels={"a": "b"}), Desired(ref, "another", labels={"c": "d"})]
    [text] = rendered(tenant("pay"), [Plan(desired=[want]) for want in wants])
    assert yaml.safe_load(text)["metadata"]["labels"].items() >= {"a": "b", "c": "d"}.items()


def test_errors_and_unknown_tenants() -> None:
    bad = render("-", text=f"{HEAD}metadata: {{name: a}}\nspec: {{mod: x}}\n")
    assert (bad.exit_code, bad.stdout) == (1, "")
    assert "error: stdin:4: a: spec.mod: " in bad.stderr
    missing = render(BANK, "-t", "nobody")
    assert missing.exit_code == 1
    assert "core-banking, payments, risk, treasury" in missing.stderr
