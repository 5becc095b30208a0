"""What is understood of Cilium's policies; and that nothing is guessed."""

from typing import Any, Final

import pytest

from securetenant.controls.network.foreign import cilium
from securetenant.sets.matching import Truth
from tests.support.readings import PLACE, selects, told

OWN: Final = "io.kubernetes.pod.namespace"
OF: Final = "io.cilium.k8s.namespace.labels."


def endpoints(**labels: str) -> dict[str, Any]:
    return {"endpointSelector": {"matchLabels": labels} if labels else {}}


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        pytest.param({"ingress": [{}]}, "allows nothing", id="closes"),
        pytest.param({"ingress": [{"fromEndpoints": []}]}, "allows nothing", id="nobody"),
        pytest.param({"ingress": [{"fromCIDR": [], "toPorts": [{}]}]}, "allows nothing", id="no-addresses"),
        pytest.param(
            {"ingress": [{"fromEndpoints": [{}]}]}, "allows ingress from all pods in this namespace", id="local"
        ),
        pytest.param(
            {"ingress": [{"fromEndpoints": [{"matchLabels": {f"k8s:{OWN}": "b"}}]}]},
            f"allows ingress from pods with k8s:{OWN}=b",
            id="another-namespace",
        ),
        pytest.param(
            {"ingress": [{"toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}, {"port": "0"}]}]}]},
            "allows ingress from everywhere on TCP 80, all ports",
            id="ports-and-no-peers",
        ),
        pytest.param(
            {"egress": [{"icmps": [{"fields": [{"type": 8}]}]}]}, "allows egress to everywhere on ICMP", id="icmp"
        ),
        pytest.param(
            {
                "ingress": [{"fromEntities": ["all"]}],
                "ingressDeny": [{"fromEntities": ["world", "cluster", "host", "none"]}],
            },
            "allows ingress from everywhere; "
            "denies ingress from outside of the cluster, all of the cluster, the entity host",
            id="entities",
        ),
        pytest.param(
            {
                "egress": [
                    {"toCIDR": ["0.0.0.0/0"]},
                    {"toCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}, {"cidrGroupRef": "g"}]},
                ],
                "egressDeny": [{"toCIDR": ["fd00::/8"]}],
            },
            "allows egress to everywhere, 10.0.0.0/8 without 10.1.0.0/16, the CiliumCIDRGroup g; "
            "denies egress to fd00::/8",
            id="addresses",
        ),
        pytest.param(
            {
                "egress": [
                    {"toFQDNs": [{"matchPattern": "*.example"}], "toPorts": [{"ports": [{"port": "1", "endPort": 9}]}]},
                    {"toServices": [{"k8sService": {"serviceName": "s", "namespace": "n"}}]},
                    {"toNodes": [{}]},
                ]
            },
            "allows egress to the name *.example on 1-9, Service n/s, nodes with any labels",
            id="names-services-nodes",
        ),
        pytest.param(
            {"ingress": [{"fromEntities": ["all"], "toPorts": [{"ports": [{"port": "80"}], "rules": {"http": [{}]}}]}]},
            "allows ingress from everywhere on 80 (some requests)",
            id="layer-7",
        ),
        pytest.param(
            {"ingress": [{"fromEntities": ["all"], "unless": 1}, {"toFQDNs": []}], "egress": [{"toCIDR": ["all"]}, 1]},
            "allows ingress from not understood; allows egress to not understood",
            id="unknown-in-a-rule",
        ),
    ],
)
def test_it_is_told(spec: dict[str, Any], what: str) -> None:
    assert (
        told(cilium.read({**endpoints(app="db"), **spec}, None, everywhere=False)) == f"- | pods with app=db | {what}"
    )


def test_several_in_one_object() -> None:
    first: Any = {**endpoints(), "ingress": [{"fromEntities": ["all"]}]}
    second: Any = {**endpoints(app="db"), "egressDeny": [{"toCIDR": ["10.0.0.0/8"]}]}
    found = cilium.read(first, [second], everywhere=False)
    assert told(found) == "- | all pods, pods with app=db | allows ingress from everywhere; denies egress to 10.0.0.0/8"


@pytest.mark.parametrize(
    ("labels", "truth", "named"),
    [
        ({}, True, None),
        ({"app": "db"}, None, None),
        ({"k8s:app": "db", OWN: "b"}, False, {"b"}),
        ({f"k8s:{OWN}": "a"}, True, {"a"}),
        ({f"any:{OWN}": "a", "app": "db"}, None, {"a"}),
        ({f"k8s:{OF}env": "prod"}, None, None),  # Cilium may be told to leave the label out
        ({f"k8s:{OF}env": "test"}, False, None),
        ({f"k8s:{OF}{PLACE}": "b"}, False, {"b"}),
        ({"reserved:init": ""}, None, None),
    ],
)
def test_which_namespaces_a_clusterwide_one_selects(
    labels: dict[str, str], truth: Truth, named: set[str] | None
) -> None:
    spec: Any = {"endpointSelector": {"matchLabels": labels}, "ingress": [{}]}
    found = cilium.read(spec, None, everywhere=True)
    assert (selects(found), found.named) == (truth, named)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"nodeSelector": {}, "ingress": [{}]}, id="nodes"),
        pytest.param(endpoints(), id="no-rules"),
        pytest.param({**endpoints(), "ingress": [], "description": "none"}, id="empty-lists"),
    ],
)
def test_what_concerns_no_pod(spec: dict[str, Any]) -> None:
    assert cilium.read(spec, None, everywhere=True).parts == []
    assert cilium.read(spec, None, everywhere=True).named == frozenset()


@pytest.mark.parametrize(
    ("spec", "specs"),
    [
        pytest.param({**endpoints(**{OWN: "b"}), "ingress": [{}], "forward": []}, None, id="a-field"),
        pytest.param({"ingress": [{}]}, None, id="no-selector"),
        pytest.param({"endpointSelector": {"matchNames": []}, "ingress": [{}]}, None, id="a-selector"),
        pytest.param(None, {"all": True}, id="specs"),
        pytest.param(None, ["all"], id="one-of-specs"),
    ],
)
def test_what_is_not_understood_may_select_any_pod(spec: Any, specs: Any) -> None:
    found = cilium.read(spec, specs, everywhere=True)
    assert (selects(found), found.named) == (None, None)
    assert "not understood (" in told(found)
