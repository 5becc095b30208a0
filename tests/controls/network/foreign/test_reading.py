"""What is understood of a policy of each kind: which pods, what it does; and that nothing is guessed."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from securetenant.controls.network.foreign import calico, cilium, reading, upstream
from securetenant.controls.network.foreign.reading import Reading
from securetenant.sets.matching import Truth

PLACE: Final = "kubernetes.io/metadata.name"
PROD: Final = {PLACE: "a", "env": "prod"}


def told(found: Reading) -> str:
    pods = ", ".join(part.pods for part in found.parts)
    return f"{found.about or '-'} | {pods} | {reading.told(found.parts)}"


def selects(found: Reading, name: str = "a", labels: Mapping[str, str] = PROD) -> Truth:
    (part,) = found.parts
    return part.selects(name, labels)


def admin(**spec: Any) -> Reading:
    return upstream.read({"priority": 10, "subject": {"namespaces": {}}, **spec})


def rule(action: str = "Allow", way: str = "from", **fields: Any) -> dict[str, Any]:
    return {"action": action, way: [{"namespaces": {}}], **fields}


class TestUpstream:
    @pytest.mark.parametrize(
        ("spec", "what"),
        [
            pytest.param({}, "priority 10 | all pods | allows nothing", id="no-rules"),
            pytest.param(
                {"ingress": [rule()]}, "priority 10 | all pods | allows ingress from all namespaces", id="ingress"
            ),
            pytest.param(
                {"tier": "Admin", "egress": [rule("Accept", "to"), rule("Deny", "to")]},
                "tier Admin, priority 10 | all pods | allows egress to all namespaces; denies egress to all namespaces",
                id="a-tier",
            ),
            pytest.param(
                {"egress": [{"action": "Allow", "to": [{"networks": ["0.0.0.0/0", "10.0.0.1/8"]}]}]},
                "priority 10 | all pods | allows egress to everywhere, 10.0.0.0/8",
                id="networks",
            ),
            pytest.param(
                {"egress": [{"action": "Pass", "to": [{"nodes": {}}, {"domainNames": ["*.example"]}]}]},
                "priority 10 | all pods | leaves to NetworkPolicies egress to all nodes, the name *.example",
                id="nodes-and-names",
            ),
            pytest.param(
                {
                    "subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "db"}}}},
                    "ingress": [
                        {
                            "action": "Deny",
                            "from": [
                                {
                                    "pods": {
                                        "namespaceSelector": {"matchLabels": {PLACE: "b"}},
                                        "podSelector": {"matchLabels": {"app": "web"}},
                                    }
                                }
                            ],
                            "ports": [
                                {"portNumber": {"protocol": "TCP", "port": 80}},
                                {"portRange": {"protocol": "UDP", "start": 1, "end": 9}},
                                {"namedPort": "web"},
                            ],
                        }
                    ],
                },
                "priority 10 | pods with app=db | denies ingress from pods with app=web in namespace b "
                "on TCP 80, UDP 1-9, port web",
                id="pods-and-ports",
            ),
            pytest.param(
                {
                    "ingress": [
                        rule(
                            "Accept",
                            protocols=[
                                {"tcp": {"destinationPort": {"number": 80}}},
                                {"udp": {"destinationPort": {"range": {"start": 1, "end": 2}}}},
                                {"sctp": {}},
                                {"destinationNamedPort": "web"},
                            ],
                        )
                    ]
                },
                "priority 10 | all pods | allows ingress from all namespaces "
                "on TCP 80, UDP 1-2, all SCTP ports, port web",
                id="protocols",
            ),
            pytest.param(
                {"ingress": [rule(), rule(only="on Sundays"), rule("Deny", protocols=[{}])]},
                "priority 10 | all pods | allows ingress from not understood, all namespaces; "
                "denies ingress from not understood",
                id="unknown-in-a-rule",
            ),
            pytest.param(
                {"ingress": [rule("Redirect"), {"action": "Allow"}, "all"]},
                "priority 10 | all pods | does something to ingress from not understood; "
                "allows ingress from not understood",
                id="unknown-action",
            ),
        ],
    )
    def test_it_is_told(self, spec: dict[str, Any], what: str) -> None:
        assert told(admin(**spec)) == what

    @pytest.mark.parametrize(
        ("subject", "truth", "named"),
        [
            ({"namespaces": {}}, True, None),
            ({"namespaces": {"matchLabels": {"env": "prod"}}}, True, None),
            ({"namespaces": {"matchLabels": {"env": "test"}}}, False, None),
            ({"namespaces": {"matchLabels": {PLACE: "a"}}}, True, {"a"}),
            ({"namespaces": {"matchLabels": {PLACE: "b"}}}, False, {"b"}),
            ({"namespaces": {"matchExpressions": [{"key": PLACE, "operator": "In", "values": ["a", "b"]}]}}, True, {"a", "b"}),
            ({"namespaces": {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}}, False, None),
            ({"namespaces": {"matchExpressions": [{"key": "gone", "operator": "DoesNotExist"}]}}, True, None),
            ({"pods": {"namespaceSelector": {"matchLabels": {"env": "test"}}, "podSelector": {}}}, False, None),
            ({"pods": {"podSelector": {"matchLabels": {"app": "db"}}}}, True, None),
        ],
    )  # fmt: skip
    def test_its_subject(self, subject: dict[str, Any], truth: Truth, named: set[str] | None) -> None:
        found = admin(subject=subject)
        assert (selects(found), found.named) == (truth, named)

    @pytest.mark.parametrize(
        "spec",
        [
            pytest.param({"subject": {"namespaces": {"matchFields": {}}}}, id="a-selector"),
            pytest.param({"subject": {"serviceAccounts": {}}}, id="a-subject"),
            pytest.param({"subject": {}}, id="none"),
            pytest.param(
                {"subject": {"namespaces": {"matchLabels": {"env": "test"}}}, "tier": "Platform"}, id="a-tier"
            ),
            pytest.param({"subject": {"namespaces": {"matchLabels": {"env": "test"}}}, "except": {}}, id="a-field"),
        ],
    )
    def test_what_is_not_understood_may_select_any_pod(self, spec: dict[str, Any]) -> None:
        found = admin(**spec)
        assert (selects(found), found.named) == (None, None)
        assert "not understood (" in told(found)

    def test_which_decide_after_network_policies(self) -> None:
        assert not admin().last
        assert not admin(tier="Admin").last
        assert admin(tier="Baseline").last
        assert upstream.read({"subject": {"namespaces": {}}}, baseline=True).last
        assert upstream.read("nonsense", baseline=True).last


class TestCalico:
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
                        {"action": "Allow", "protocol": "TCP", "destination": {"nets": ["0.0.0.0/0"], "ports": [80, "1:9"]}},
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
                        {"action": "Allow", "protocol": 6, "source": {"services": {"name": "s"}, "ports": [5]}, "ipVersion": 4},
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
    )  # fmt: skip
    def test_it_is_told(self, spec: Any, what: str) -> None:
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
    def test_which_namespaces_a_global_one_selects(self, spec: Any, truth: Truth, named: set[str] | None) -> None:
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
    def test_what_is_not_understood_may_select_any_pod(self, spec: Any) -> None:
        found = calico.read(spec, everywhere=True)
        assert (selects(found), found.named) == (None, None)
        assert "not understood (" in told(found)


OWN: Final = "io.kubernetes.pod.namespace"
OF: Final = "io.cilium.k8s.namespace.labels."


def endpoints(**labels: str) -> dict[str, Any]:
    return {"endpointSelector": {"matchLabels": labels} if labels else {}}


class TestCilium:
    @pytest.mark.parametrize(
        ("spec", "what"),
        [
            pytest.param({"ingress": [{}]}, "allows nothing", id="closes"),
            pytest.param({"ingress": [{"fromEndpoints": []}]}, "allows nothing", id="nobody"),
            pytest.param({"ingress": [{"fromCIDR": [], "toPorts": [{}]}]}, "allows nothing", id="no-addresses"),
            pytest.param({"ingress": [{"fromEndpoints": [{}]}]}, "allows ingress from all pods in this namespace", id="local"),
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
            pytest.param({"egress": [{"icmps": [{"fields": [{"type": 8}]}]}]}, "allows egress to everywhere on ICMP", id="icmp"),
            pytest.param(
                {"ingress": [{"fromEntities": ["all"]}], "ingressDeny": [{"fromEntities": ["world", "cluster", "host", "none"]}]},
                "allows ingress from everywhere; denies ingress from outside of the cluster, all of the cluster, the entity "
                "host",
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
                "allows egress to everywhere, 10.0.0.0/8 without 10.1.0.0/16, the CiliumCIDRGroup g; denies egress to fd00::/8",
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
    )  # fmt: skip
    def test_it_is_told(self, spec: dict[str, Any], what: str) -> None:
        assert (
            told(cilium.read({**endpoints(app="db"), **spec}, None, everywhere=False))
            == f"- | pods with app=db | {what}"
        )

    def test_several_in_one_object(self) -> None:
        first = {**endpoints(), "ingress": [{"fromEntities": ["all"]}]}
        second = {**endpoints(app="db"), "egressDeny": [{"toCIDR": ["10.0.0.0/8"]}]}
        found = cilium.read(first, [second], everywhere=False)
        assert (
            told(found)
            == "- | all pods, pods with app=db | allows ingress from everywhere; denies egress to 10.0.0.0/8"
        )

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
        self, labels: dict[str, str], truth: Truth, named: set[str] | None
    ) -> None:
        found = cilium.read({"endpointSelector": {"matchLabels": labels}, "ingress": [{}]}, None, everywhere=True)
        assert (selects(found), found.named) == (truth, named)

    @pytest.mark.parametrize(
        "spec",
        [
            pytest.param({"nodeSelector": {}, "ingress": [{}]}, id="nodes"),
            pytest.param(endpoints(), id="no-rules"),
            pytest.param({**endpoints(), "ingress": [], "description": "none"}, id="empty-lists"),
        ],
    )
    def test_what_concerns_no_pod(self, spec: dict[str, Any]) -> None:
        assert cilium.read(spec, None, everywhere=True).parts == []
        assert cilium.read(spec, None, everywhere=True).named == set()

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
    def test_what_is_not_understood_may_select_any_pod(self, spec: Any, specs: Any) -> None:
        found = cilium.read(spec, specs, everywhere=True)
        assert (selects(found), found.named) == (None, None)
        assert "not understood (" in told(found)
