"""Reading a document: all its problems at once, each with its field and what to write instead."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from securetenant.api.load import read
from securetenant.api.tenant import SecureTenant
from tests.support.reading import load, problems
from tests.support.specs import Document, documents

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def tenant(**spec: Any) -> Document:
    return {
        "apiVersion": "securetenant.dev/v1alpha1",
        "kind": "SecureTenant",
        "metadata": {"name": "payments", "labels": {"team": "a"}, "whatever": "the server judges"},
        "spec": {"namespaces": [{"name": "a"}], **spec},
    }


def test_structural_errors_do_not_hide_those_of_rules() -> None:
    document = tenant(
        mode="enforced",
        displayNmae="x",
        namespaces=[{"name": "kube-x"}, {"name": "a", "adopt": "yes"}, {"name": "a"}, {"name": "a"}],
        access={"bindings": [{"role": "Root", "subjects": [{"kind": "Group", "name": "system:masters"}]}]},
        network={
            "ingress": [{"name": "x", "from": [{"cidr": "10.0.0.0/33"}, {"tenant": "a", "namespace": "b"}]}],
            "egress": [
                {"name": "y", "to": [{"tenant": "a"}], "ports": [{"port": 0}, {"port": 9, "endPort": 8}, {"port": 0}]}
            ],
        },
        quota={"tenant": {"pods": "many", "foo": "1", "services": "500m"}},
        limits={"container": {"min": {"cpu": "2"}, "max": {"cpu": "1"}}},
    )
    document["metadata"]["name"] = "Payments"
    assert [problem.path for problem in problems(document)] == [
        "metadata.name",
        "spec.access.bindings[0].role",
        "spec.access.bindings[0].subjects[0].name",
        "spec.displayNmae",
        "spec.limits.container.min",
        "spec.mode",
        "spec.namespaces[0].name",
        "spec.namespaces[1].adopt",
        "spec.namespaces[2].name",
        "spec.namespaces[3].name",
        "spec.network.egress[0].ports[0].port",
        "spec.network.egress[0].ports[1].endPort",
        "spec.network.egress[0].ports[2].port",
        "spec.network.ingress[0].from[0].cidr",
        "spec.network.ingress[0].from[1]",
        "spec.quota.tenant.foo",
        "spec.quota.tenant.pods",
        "spec.quota.tenant.services",
    ]


def test_a_rule_whose_inputs_are_wrong_is_not_reported_as_well() -> None:
    """The peer has a form, if a malformed one; the except cannot be judged against it."""
    found = problems(tenant(network={"egress": [{"name": "a", "to": [{"cidr": "10/8", "except": ["11.0.0.0/8"]}]}]}))
    assert [problem.path for problem in found] == ["spec.network.egress[0].to[0].cidr"]


@pytest.mark.parametrize(
    ("document", "path", "says"),
    [
        pytest.param([], "", "not a SecureTenant", id="list"),
        pytest.param(None, "", "not a SecureTenant", id="nothing"),
        pytest.param({**tenant(), "kind": "Tenant"}, "kind", "write 'SecureTenant'", id="kind"),
        pytest.param({**tenant(), "apiVersion": "v1"}, "apiVersion", "securetenant.dev/v1alpha1", id="apiVersion"),
        pytest.param({**tenant(), "specs": {}}, "specs", 'did you mean "spec"', id="top-level-field"),
        pytest.param({k: v for k, v in tenant().items() if k != "spec"}, "spec", "required", id="no-spec"),
        pytest.param({k: v for k, v in tenant().items() if k != "metadata"}, "metadata", "required", id="no-metadata"),
        pytest.param({**tenant(), "metadata": {}}, "metadata.name", "required", id="no-name"),
        pytest.param({**tenant(), "spec": []}, "spec", "write a mapping", id="spec-is-a-list"),
        pytest.param(tenant(namespaces=[None]), "spec.namespaces[0]", "write a mapping", id="null-in-a-list"),
        pytest.param(tenant(display_name="x"), "spec.display_name", 'did you mean "displayName"', id="snake-case"),
        pytest.param(
            tenant(namespaces=[{"name": "a", "annotations": {"note": "x" * 1025}}]),
            "spec.namespaces[0].annotations.note",
            "longer than 1024 characters",
            id="long-annotation",
        ),
        pytest.param(tenant(zzz=1), "spec.zzz", "kubectl explain", id="nothing-near"),
    ],
)
def test_one_problem(document: object, path: str, says: str) -> None:
    (found,) = problems(document)
    assert (found.path, found.severity) == (path, "error")
    assert says in found.message
    assert read(document)[0] is None


def test_an_expired_rule_is_a_warning_and_only_with_a_clock() -> None:
    document = tenant(
        network={
            "ingress": [
                {"name": "open", "from": [{"tenant": "b"}], "expires": "2026-06-01T00:00:01Z"},
                {"name": "closed", "from": [{"tenant": "b"}], "expires": "2026-06-01T08:00:00+08:00"},
            ]
        }
    )
    assert problems(document) == []
    (found,) = problems(document, now=NOW)
    assert (found.path, found.severity) == ("spec.network.ingress[1].expires", "warning")
    assert "expired at 2026-06-01T00:00:00Z" in found.message
    assert load(document).spec.network.ingress[1].expires == NOW


def test_times_as_a_yaml_reader_makes_them_are_taken() -> None:
    rule = yaml.safe_load("{name: a, from: [{tenant: b}], expires: 2027-03-31T00:00:00Z}")
    assert load(tenant(network={"ingress": [rule]})).spec.network.ingress[0].expires == datetime(
        2027, 3, 31, tzinfo=UTC
    )
    rule = yaml.safe_load("{name: a, from: [{tenant: b}], expires: 2027-03-31}")
    (found,) = problems(tenant(network={"ingress": [rule]}))
    assert "is not a time" in found.message


@settings(max_examples=50)
@given(documents())
def test_generated_documents_are_good_and_keep_their_meaning(document: Document) -> None:
    made = load(document)
    again = SecureTenant.model_validate(made.model_dump(by_alias=True, mode="json", exclude_none=True))
    assert again == made


def test_the_models_import_nothing_heavy() -> None:
    """They stand in the way of every command's start."""
    code = "import sys, securetenant.api.load, securetenant.api.tenant; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"yaml", "kopf", "kubernetes", "aiohttp", "asyncio", "prometheus_client", "rich"} & set(modules)
