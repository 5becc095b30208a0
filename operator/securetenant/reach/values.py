"""A cluster as what decides who reaches whom, and the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from securetenant.model.objects import Ref
from securetenant.sets import kube_ovn
from securetenant.sets.blocks import Address, Network
from securetenant.sets.labels import Labels
from securetenant.sets.policy import Policy, Unclear
from securetenant.sets.ports import Ports
from securetenant.sets.tiers import TierPolicy


class Standing(NamedTuple):
    """A NetworkPolicy that stands in the cluster."""

    ref: Ref
    policy: Policy | Unclear


class Tiered(NamedTuple):
    """A ClusterNetworkPolicy, or one of the kinds before it, that stands in the cluster. `created`: when, as the API
    server writes it: of several with the same priority, Kube-OVN enforces the first alone."""

    ref: Ref
    policy: TierPolicy | Unclear
    created: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, or those of a workload's template. `name`: with the kind ("Deployment/web"). `named`: its ports by name,
    as protocol and number. `addresses`: none are known if empty. `is_host`: on its node's network, where no policy is
    enforced on it, and only its addresses select it."""

    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    is_host: bool = False


@dataclass(frozen=True, slots=True)
class Cluster:
    """What decides who reaches whom.

    `namespaces`: their labels. `policies`: the NetworkPolicies, by namespace. `pods`: by namespace; None: whichever may
    be there, so that each set of labels that a policy can tell apart is a group of its own. `subnets`: by namespace,
    the blocks that its pods' addresses lie in; `ranges`: the same for all others. Where neither is known, an ipBlock
    counts for addresses outside the cluster alone. `blocks_match_pods`: whether an ipBlock matches pods by address,
    which Kubernetes leaves to the network plug-in. `unclear`: by namespace, what (may) select its pods and is not
    understood. `tiers`: the policies above and below NetworkPolicies. `are_tiers_enforced`: whether the plug-in does
    so for certain; otherwise they may open and never close. `switches`: Kube-OVN's Subnets, if it is the plug-in; the
    addresses that are in neither `subnets` nor `ranges` are taken from them.
    """

    namespaces: Mapping[str, Mapping[str, str]]
    policies: Mapping[str, Sequence[Standing]]
    pods: Mapping[str, Sequence[Pod]] | None = None
    subnets: Mapping[str, Sequence[Network]] = field(default_factory=dict)
    ranges: Sequence[Network] = ()
    blocks_match_pods: bool = True
    unclear: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tiers: Sequence[Tiered] = ()
    are_tiers_enforced: bool = True
    plugin: Literal["KubeOVN", "Calico", "Cilium", "None"] = "None"
    switches: Sequence[kube_ovn.Subnet] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Pods that no policy tells apart, of one or several namespaces. `pods`: their labels, as sets apart from each
    other; `names`: which they are, where the pods are known; `blocks`: their addresses, where only these tell them from
    other pods of their namespace."""

    namespaces: tuple[str, ...]
    pods: tuple[Labels, ...] = ()
    names: tuple[str, ...] = ()
    blocks: tuple[Network, ...] = ()
    is_host: bool = False


@dataclass(frozen=True, slots=True)
class Outside:
    """The addresses in these blocks that are no pod's; IPv4 first, in order."""

    blocks: tuple[Network, ...]


End: TypeAlias = Group | Outside


@dataclass(frozen=True, slots=True)
class Flow:
    """New connections that pass. `leaves`, `enters`: the policies that allow them at each end, none where no policy is
    enforced there. `named`: the ports of these names are counted as all ports of their protocol, since the pods are not
    known."""

    source: End
    target: End
    ports: Ports
    leaves: tuple[Ref, ...] = ()
    enters: tuple[Ref, ...] = ()
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reachability:
    """`unknown`: by namespace, why what its pods reach, or are reached by, may differ: those flows that are known are
    here all the same."""

    flows: Sequence[Flow]
    unknown: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Between two states of a cluster."""

    opened: Sequence[Flow]
    closed: Sequence[Flow]
    unknown: Mapping[str, Sequence[str]]
