"""docs/controls/network.md, beside what test_reference.py has for each control: the Admin tier, and its component."""

import yaml

from securetenant.controls.network import admin_tier
from securetenant.settings import Settings, variable
from tests.docs.test_reference import DOCS, rules
from tests.support.markdown import code, table
from tests.support.sandbox import ROOT

COMPONENT = ROOT / "manifests" / "components" / "admin-tier"


def test_the_component_grants_what_install_says() -> None:
    verbs = frozenset({"get", "create", "update", "delete"})
    assert rules("components/admin-tier/role.yaml") == [("", frozenset({"clusternetworkpolicies"}), verbs)]
    (line,) = [
        one
        for one in (DOCS / "install.md").read_text().splitlines()
        if one.startswith("`manifests/components/admin-tier/role.yaml`")
    ]
    assert verbs <= set(code(line))


def test_the_component_switches_it_on() -> None:
    (patch,) = yaml.safe_load((COMPONENT / "kustomization.yaml").read_text())["patches"]
    (operation,) = yaml.safe_load(patch["patch"])
    given = operation["value"]
    assert given["name"] == variable("admin_tier")
    assert Settings(admin_tier=given["value"]).platform().admin_tier


def test_the_names_are_those_of_the_code() -> None:
    told = [code(row[0])[0] for row in table(DOCS / "controls" / "network.md", "ClusterNetworkPolicy", "when")]
    assert told == [admin_tier.name("<namespace>"), f"{admin_tier.name('<namespace>')}.<hash>"]
