"""What is understood of Calico's policies; and that nothing is guessed."""

from typing import Any

import pytest

from securetenant.controls.network.foreign import calico
from securetenant.sets.matching import Truth
from tests.support.readings import PLACE, selects, told


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        pytest.param(None, "- | all pods | allows nothing", id="empty"),
        pytest.param(
            {"order": 10.5, "tier": "platform", "selector": "all()", "ingress": [{"action": "Allow"}]},
            "tier platform, order 10.5 | all pods | allows ingress from everywhere",
            id="all",
        ),
        pytest.param(
            {"selector": "app == 'db'", "types": ["Egress"], "ingress": [{"action": "Allow"}], "egress": []},
            "- | pods with app == 'db' | allows nothing",
            id="types-leave-ingress-out",
        ),
        pytest.param(
            {
                "egress": [
                    {
                        "action": "Allow",
                        "protocol": "TCP",
                        "destination": {"nets": ["0.0.0.0/0"], "ports": [80, "1:9"]},
                    },
                    {"action": "Deny", "destination": {"nets": ["10.0.0.1"], "notNets": ["10.0.0.0/8"]}},
                    {"action": "Pass", "destination": {"domains": ["*.example"]}},
                    {"action": "Log", "icmp": {"type": 8}},
                ]
            },
            "- | all pods | allows egress to everywhere on TCP 80, 1:9; denies egress to 10.0.0.1/32 and not "
            "10.0.0.0/8; leaves to the next tier egress to the names *.example; logs egress to everywhere on ICMP 8",
            id="egress",
        ),
        pytest.param(
            {
                "ingress": [
                    {
                        "action": "Allow",
                        "source": {"selector": "app == 'web'", "namespaceSelector": "env == 'prod'"},
                        "destination": {"selector": "tier == 'a'", "notPorts": [22]},
                    },
                    {"action": "Allow", "source": {"serviceAccounts": {"names": ["ci"]}, "selector": "all()"}},
                    {"action": "Allow", "source": {"notSelector": "has(bad)", "namespaceSelector": "all()"}},
                    {
                        "action": "Allow",
                        "protocol": 6,
                        "source": {"services": {"name": "s"}, "ports": [5]},
                        "ipVersion": 4,
                    },
                ]
            },
            "- | all pods | allows ingress from pods with app == 'web' in namespaces with env == 'prod' on ports not "
            "22 (to pods with tier == 'a' in this namespace), ServiceAccounts ci and pods in this namespace, pods with "
            "!(has(bad)) in all namespaces and 1 more",
            id="selectors",
        ),
        pytest.param(
            {"ingress": [{"action": "Allow", "source": {"selector": "app =="}}, {"action": "Allow", "what": 1}]},
            "- | all pods | allows ingress from not understood",
            id="unknown-in-a-rule",
        ),
        pytest.param(
            {"ingress": [{"action": "Mirror"}]},
            "- | all pods | does something to ingress from not understood",
            id="unknown-action",
        ),
    ],
)
def test_it_is_told(spec: Any, what: str) -> None:
    assert told(calico.read(spec, everywhere=False)) == what


@pytest.mark.parametrize(
    ("spec", "truth", "named"),
    [
        ({}, True, None),
        ({"selector": "all()"}, True, None),
        ({"selector": "app == 'db'"}, None, None),
        ({"selector": "has(host-endpoint)"}, None, None),
        ({"selector": "!all()"}, False, None),
        ({"namespaceSelector": "env == 'prod'"}, True, None),
        ({"namespaceSelector": "env == 'test'"}, False, None),
        ({"namespaceSelector": "env != 'test' && !has(gone)"}, True, None),
        ({"namespaceSelector": "projectcalico.org/name == 'a'"}, True, {"a"}),
        ({"namespaceSelector": "projectcalico.org/name in {'b', 'c'}"}, False, {"b", "c"}),
        ({"namespaceSelector": f"{PLACE} == 'a'", "selector": "app == 'db'"}, None, {"a"}),
        ({"namespaceSelector": "env == 'test'", "selector": "app == 'db'"}, False, None),
        ({"selector": "projectcalico.org/namespace == 'a'"}, True, {"a"}),
        ({"selector": "projectcalico.org/namespace != 'a' && app == 'db'"}, False, None),
        ({"selector": "pcns.env == 'prod'"}, True, None),
        ({"selector": "pcns.projectcalico.org/name == 'b'"}, False, {"b"}),
        ({"namespaceSelector": "global()"}, None, None),
        ({"serviceAccountSelector": "team == 'x'"}, None, None),
        ({"serviceAccountSelector": "team == 'x'", "namespaceSelector": "env == 'test'"}, False, None),
    ],
)
def test_which_namespaces_a_global_one_selects(spec: Any, truth: Truth, named: set[str] | None) -> None:
    found = calico.read(spec, everywhere=True)
    assert (selects(found), found.named) == (truth, named)


@pytest.mark.parametrize(
    "spec",
    [
        # Calico itself leaves such a selector of namespaces out, and so selects all.
        pytest.param({"namespaceSelector": "env = 'test'"}, id="a-selector-of-namespaces"),
        pytest.param({"selector": "env == 'test' or all()", "namespaceSelector": "env == 'test'"}, id="a-selector"),
        pytest.param({"namespaceSelector": "env == 'test'", "exceptions": []}, id="a-field"),
        pytest.param({"namespaceSelector": "env == 'test'", "types": ["Forward"]}, id="a-type"),
        pytest.param("all", id="no-object"),
    ],
)
def test_what_is_not_understood_may_select_any_pod(spec: Any) -> None:
    found = calico.read(spec, everywhere=True)
    assert (selects(found), found.named) == (None, None)
    assert "not understood (" in told(found)
