"""The CustomResourceDefinitions of policies beside NetworkPolicy, as their projects publish them."""

from typing import Final

from sandbox.cni.crds import CALICO, CILIUM, CLUSTER_NETWORK_POLICY, Schema
from securetenant.model import kinds
from securetenant.model.kinds import Kind

_CALICO: Final = "libcalico-go/config/crd/crd.projectcalico.org_{}.yaml"
_CILIUM: Final = "pkg/k8s/apis/cilium.io/client/crds/v2/{}.yaml"
# The last version with these two, and not with ClusterNetworkPolicy.
_ADMIN: Final = "config/crd/standard/policy.networking.k8s.io_{}.yaml"
_OLDER: Final = ("sigs.k8s.io/network-policy-api", "v0.1.7")


def _schema(kind: Kind, module: str, version: str, path: str) -> Schema:
    return Schema(kind.plural, kind.group, kind.version, module, version, path.format(kind.plural))


SCHEMAS: Final = {
    **{
        kind: _schema(kind, CALICO.module, CALICO.version, _CALICO)
        for kind in (kinds.CALICO_NETWORK_POLICY, kinds.CALICO_GLOBAL_NETWORK_POLICY)
    },
    **{
        kind: _schema(kind, CILIUM.module, CILIUM.version, _CILIUM)
        for kind in (kinds.CILIUM_NETWORK_POLICY, kinds.CILIUM_CLUSTERWIDE_NETWORK_POLICY)
    },
    **{
        kind: _schema(kind, *_OLDER, _ADMIN)
        for kind in (kinds.ADMIN_NETWORK_POLICY, kinds.BASELINE_ADMIN_NETWORK_POLICY)
    },
    kinds.CLUSTER_NETWORK_POLICY: CLUSTER_NETWORK_POLICY,
}
