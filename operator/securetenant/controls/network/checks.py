"""Which annotations go around the tenant's subnets and policies: on pods, in whatever way they get there, and on
NetworkPolicies. `checks.cni` has the keys.

At creation their presence is refused. Once a pod runs, its plug-in has written some of them, so that only a difference
counts, and only one that is not the plug-in's own: labels, drains, finalizers and deletion go on.
"""

from typing import Final

from securetenant.checks import cni
from securetenant.checks.check import Check, CheckSet
from securetenant.checks.targets import NETWORK_POLICIES, POD_ANNOTATIONS

NAME: Final = "network"

_ADDRESS: Final = cni.listed(cni.ADDRESS, but=cni.FREE)
_EITHER: Final = cni.listed(cni.ADDRESS, cni.FURTHER, but=cni.FREE)


def _on_pod(is_listed: str) -> str:
    # What runs has them by right, and no change of its spec brings one.
    return f"variables.creating ? variables.podAnnotations.map(k, {is_listed}, 'annotation ' + k) : []"


CHECKS: Final = CheckSet(
    control=NAME,
    variables={
        "byCni": "request.operation == 'UPDATE' && request.userInfo.username in variables.cniAccounts",
        "changedKeys": cni.changed("variables.newAnnotations", "variables.oldAnnotations", _EITHER),
    },
    checks=(
        Check(
            "cniAnnotations",
            _on_pod(_ADDRESS),
            "the annotation can give the pod an address outside of the tenant's subnet, and so what is open to that "
            "address: remove it",
            "Critical",
            exemptible=False,
            at_creation=True,
        ),
        Check(
            "furtherNetworks",
            _on_pod(cni.listed(cni.FURTHER)),
            "the annotation gives the pod further networks, which no NetworkPolicy looks at: remove it",
            "High",
            at_creation=True,
        ),
        Check(
            "cniAnnotationsChanged",
            "variables.byCni ? [] : variables.changedKeys.map(k, 'annotation ' + k)",
            "only the network plug-in writes the annotation of a pod that is there, since it can change the pod's "
            "address: leave it as it is",
            "Critical",
            exemptible=False,
            target=POD_ANNOTATIONS.name,
        ),
        Check(
            "policySwitchedOff",
            f"variables.newAnnotations.map(k, ({cni.listed(cni.SWITCHES)}) && variables.newAnnotations[?k] != "
            "variables.oldAnnotations[?k], 'annotation ' + k)",
            "the annotation switches the NetworkPolicy off, in part or as a whole: remove it",
            "Critical",
            exemptible=False,
            target=NETWORK_POLICIES.name,
        ),
    ),
)  # fmt: skip
