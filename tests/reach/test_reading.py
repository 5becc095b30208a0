"""Objects read to a cluster: what counts, what is left out, and what is not understood."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from securetenant.model import names
from securetenant.reach import kube_ovn, reading
from securetenant.reach.reading import Malformed
from securetenant.reach.values import Pod
from securetenant.sets.policy import Policy, Unclear
from securetenant.sets.tiers import TierPolicy


def body(kind: str, name: str, version: str = "v1", namespace: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **fields.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def policy(name: str = "open", namespace: str = "shop", **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"podSelector": {}, "ingress": [{}]}
    return body("NetworkPolicy", name, "networking.k8s.io/v1", namespace, spec=spec, metadata=metadata)


def workload(kind: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return body(kind, "web", "apps/v1", "shop", spec=spec, metadata=metadata)


TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}]},
}


def test_namespaces_have_the_label_that_the_api_server_sets() -> None:
    read = reading.read([body("Namespace", "shop", metadata={"labels": {"env": "prod"}})])
    assert read.cluster.namespaces == {"shop": {"env": "prod", names.LABEL_NAMESPACE_NAME: "shop"}}


def test_that_label_is_not_for_files_to_say() -> None:
    read = reading.read([body("Namespace", "shop", metadata={"labels": {names.LABEL_NAMESPACE_NAME: "bank"}})])
    assert read.cluster.namespaces["shop"] == {names.LABEL_NAMESPACE_NAME: "shop"}


def test_a_namespace_that_only_an_object_names_is_there() -> None:
    cluster = reading.read([policy()]).cluster
    assert list(cluster.namespaces) == ["shop"]
    (standing,) = cluster.policies["shop"]
    assert isinstance(standing.policy, Policy)
    assert standing.ref.name == "open"


def test_an_object_without_a_namespace_is_in_default() -> None:
    assert list(reading.read([policy(namespace="")]).cluster.policies) == ["default"]


def test_of_two_of_one_name_the_last_counts() -> None:
    closed = {**policy(), "spec": {"podSelector": {}}}
    (standing,) = reading.read([policy(), closed]).cluster.policies["shop"]
    assert isinstance(standing.policy, Policy)
    assert standing.policy.ingress == ()


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"])
def test_a_workload_is_the_pod_of_its_template(kind: str) -> None:
    read = reading.read([workload(kind, {"template": TEMPLATE})])
    assert read.pods["shop"] == [Pod("shop", f"{kind}/web", {"app": "web"}, {"http": ("TCP", 8080)})]
    assert read.cluster.pods is None


def test_a_cron_job_is_the_pod_of_its_jobs() -> None:
    job = body("CronJob", "night", "batch/v1", "shop", spec={"jobTemplate": {"spec": {"template": TEMPLATE}}})
    assert [one.labels for one in reading.read([job]).pods["shop"]] == [{"app": "web"}]


def test_what_a_workload_makes_is_not_counted_twice() -> None:
    owner = [{"kind": "Deployment", "name": "web", "controller": True}]
    made = workload("ReplicaSet", {"template": TEMPLATE}, ownerReferences=owner)
    assert "shop" not in reading.read([made]).pods


def test_a_pod_has_its_addresses_and_network() -> None:
    status = {"phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]}
    pod = body("Pod", "agent", namespace="shop", spec={"hostNetwork": True}, status=status)
    (read,) = reading.read([pod]).pods["shop"]
    assert read.is_host
    assert read.addresses == (ip_address("10.0.0.7"), ip_address("fd00::7"))


def test_a_pod_that_has_ended_is_gone() -> None:
    pod = body("Pod", "done", namespace="shop", spec={}, status={"phase": "Succeeded", "podIP": "10.0.0.7"})
    assert reading.read([pod]).pods == {}


def test_ports_of_a_sidecar_count_and_those_of_an_init_container_do_not() -> None:
    ports = {"ports": [{"name": "admin", "containerPort": 1}]}
    sidecar = {**ports, "restartPolicy": "Always"}
    for container, expected in ((sidecar, {"admin": ("TCP", 1)}), (ports, {})):
        pod = body("Pod", "web", namespace="shop", spec={"initContainers": [container]})
        assert reading.read([pod]).pods["shop"][0].named == expected


def test_what_is_no_object_is_told() -> None:
    with pytest.raises(Malformed, match="Deployment shop/web"):
        reading.read([workload("Deployment", {"template": {"spec": {"hostNetwork": "yes"}}})])
    with pytest.raises(Malformed, match="Namespace: metadata"):
        reading.read([body("Namespace", "shop", metadata={"labels": {"a": 1}})])


def test_a_policy_that_may_be_switched_off_makes_its_namespace_unclear() -> None:
    off = policy(annotations={"ovn.kubernetes.io/network_policy_for": "nosuch/net"})
    cluster = reading.read([off, body("Namespace", "bank")]).cluster
    assert list(cluster.unclear) == ["shop"]
    assert "may be switched off" in cluster.unclear["shop"][0]


def test_another_plug_ins_policy_makes_what_it_selects_unclear() -> None:
    spec = {"endpointSelector": {}, "ingress": [{"fromEntities": ["world"]}]}
    read = reading.read(
        [
            body("Namespace", "shop"),
            body("Namespace", "bank"),
            body("CiliumNetworkPolicy", "world", "cilium.io/v2", "shop", spec=spec),
        ]
    )
    assert list(read.cluster.unclear) == ["shop"]
    assert "CiliumNetworkPolicy.cilium.io/shop/world is not counted" in read.cluster.unclear["shop"][0]


def test_one_that_is_not_understood_makes_all_namespaces_unclear() -> None:
    wide = body("CiliumClusterwideNetworkPolicy", "odd", "cilium.io/v2", spec={"news": 1})
    cluster = reading.read([body("Namespace", "shop"), body("Namespace", "bank"), wide]).cluster
    assert set(cluster.unclear) == {"shop", "bank"}


def test_calicos_kind_of_the_same_name_is_not_kubernetes() -> None:
    calico = body("NetworkPolicy", "a", "crd.projectcalico.org/v1", "shop", spec={"selector": "all()"})
    cluster = reading.read([calico]).cluster
    assert cluster.policies == {}
    assert list(cluster.unclear) == ["shop"]


def test_subnets_of_kube_ovn() -> None:
    subnet = body("Subnet", "vault", "kubeovn.io/v1", spec={"cidrBlock": "10.9.0.0/24,fd00::/64", "private": True})
    subnet["spec"]["namespaces"] = ["bank"]
    told = body("Namespace", "old", metadata={"annotations": {"ovn.kubernetes.io/cidr": "10.16.0.0/16"}})
    cluster = reading.read([subnet, told, body("Namespace", "bank")]).cluster
    blocks = (ip_network("10.9.0.0/24"), ip_network("fd00::/64"))
    assert cluster.subnets == {"old": [ip_network("10.16.0.0/16")]}
    assert kube_ovn.located(cluster).subnets == {**cluster.subnets, "bank": blocks}
    ((name, is_private),) = ((one.name, one.is_private) for one in cluster.switches)
    assert (name, is_private, cluster.plugin, cluster.are_tiers_enforced) == ("vault", True, "KubeOVN", False)


def test_policies_of_tiers() -> None:
    subject: dict[str, Any] = {"namespaces": {}}
    rule = {"action": "Deny", "from": [{"namespaces": {}}]}
    spec = {"tier": "Admin", "priority": 7, "subject": subject, "ingress": [rule]}
    old = {key: value for key, value in spec.items() if key not in ("tier", "priority")}
    baseline = body("BaselineAdminNetworkPolicy", "default", "policy.networking.k8s.io/v1alpha1", spec=old)
    created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    new = body("ClusterNetworkPolicy", "first", "policy.networking.k8s.io/v1alpha2", spec=spec, metadata=created)
    odd = body("AdminNetworkPolicy", "odd", "policy.networking.k8s.io/v1alpha1", spec={"news": 1})
    cluster = reading.read([baseline, new, odd, body("Namespace", "shop")]).cluster
    assert not cluster.unclear
    assert cluster.are_tiers_enforced
    first, second, third = sorted(cluster.tiers, key=lambda one: one.ref.name)
    assert isinstance(first.policy, TierPolicy)
    assert (first.policy.tier, first.policy.priority) == ("Baseline", None)
    assert isinstance(second.policy, TierPolicy)
    assert (second.policy.tier, second.policy.priority, second.created) == ("Admin", 7, created["creationTimestamp"])
    assert isinstance(third.policy, Unclear)


def test_ranges_are_given() -> None:
    assert reading.read([], [ip_network("10.0.0.0/8")]).cluster.ranges == (ip_network("10.0.0.0/8"),)
