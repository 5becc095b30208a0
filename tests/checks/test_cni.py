"""The annotations of network plug-ins: reference values, each of which must be known, and others that must not."""

from typing import Final

import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from securetenant.checks import accounts, cni

_ENVIRONMENT: Final = cel.NewEnv(variables={"k": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()])
_POD: Final = cni.listed(cni.ADDRESS, but=cni.FREE)

#: Those that were seen to move a pod, or that the plug-ins' documentation names.
KNOWN: Final = (
    *(
        f"{domain}ovn.kubernetes.io/{name}"
        for domain in ("", "net1.payments.")
        for name in (
            *("logical_switch", "ip_address", "ip_pool", "mac_address", "routed", "allocated", "default_route"),
            *("logical_router", "vpc", "cidr", "gateway", "eip", "snat", "vip", "aaps", "north_gateway", "routes"),
            *("security_groups", "port_security", "port_vips", "layer2_forward", "port_name", "chassis"),
        )
    ),
    *(
        f"cni.projectcalico.org/{name}"
        for name in ("ipv4pools", "ipv6pools", "ipAddrs", "ipAddrsNoIpam", "floatingIPs", "podIP", "podIPs", "hwAddr")
    ),
    *(f"ipam.cilium.io/{name}" for name in ("ip-pool", "ipv4-pool", "ipv6-pool", "require-pool-match")),
    "v1.multus-cni.io/default-network",
)
#: Those of Kubernetes and of others that pods have.
OTHERS: Final = (
    *("kubectl.kubernetes.io/last-applied-configuration", "kubectl.kubernetes.io/restartedAt"),
    *("kubernetes.io/config.source", "kubernetes.io/config.hash", "kubernetes.io/psp", "kubernetes.io/limit-ranger"),
    *("container.apparmor.security.beta.kubernetes.io/gateway", "seccomp.security.alpha.kubernetes.io/pod"),
    *("cluster-autoscaler.kubernetes.io/safe-to-evict", "batch.kubernetes.io/job-completion-index"),
    *("k8s.v1.cni.cncf.io/network-status", "prometheus.io/port", "sidecar.istio.io/inject", "note", "ip_address"),
    *("ovn.kubernetes.io/ingress_rate", "net1.payments.ovn.kubernetes.io/egress_rate", "io.cilium/global-service"),
)


def holds(expression: str, key: str) -> bool:
    return bool(_ENVIRONMENT.compile(expression).eval(data={"k": key}).plain_value())


@pytest.mark.parametrize("key", KNOWN)
def test_what_moves_a_pod_is_known(key: str) -> None:
    assert holds(_POD, key)


@pytest.mark.parametrize("key", OTHERS)
def test_what_others_write_is_free(key: str) -> None:
    assert not holds(cni.listed(cni.ADDRESS, cni.FURTHER, but=cni.FREE), key)


@pytest.mark.parametrize("one", [*cni.ADDRESS, *cni.FURTHER, *cni.SWITCHES], ids=lambda one: one.keys[0])
def test_each_pattern_says_what_it_looks_like(one: cni.Keys) -> None:
    assert one.source
    assert one.reads
    group = cni.listed((one,))
    for key in one.keys:
        example = key.replace("*.", "net1.payments.").replace("/*", "/x")
        assert holds(group, example)
        assert not holds(group, f"{example.split('/')[0]}.example.com/x")


def test_the_accounts_are_full_names_of_service_accounts_of_the_platform() -> None:
    for account in accounts.DEFAULT.cni:
        kind, of, namespace, name = account.split(":")
        assert (kind, of) == ("system", "serviceaccount")
        assert namespace in ("kube-system", "calico-system")
        assert name
