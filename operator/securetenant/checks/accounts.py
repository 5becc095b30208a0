"""The accounts of the platform that admission policies tell apart: who the operator is, who may break the glass, and
who writes for the network plug-in.

They stand in one text, an account a line: "operator=system:serviceaccount:securetenant-system:securetenant",
"breakGlassGroup=securetenant:break-glass". A kind may have several lines, other lines say nothing. A policy that needs
accounts has the text twice: as its variable `accounts`, which counts, and as its annotation `securetenant.dev/accounts`
(`ANNOTATION`), for people and for the operator, which compares it with its own identity (`read`). An overlay sets both
from one file (manifests/components/accounts). The version of a policy is that of its text with `DEFAULT`: whoever
compares a policy with what ships brings it into that form first (`with_defaults`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from securetenant.model import names

# All of Kubernetes' controllers in one, where kube-controller-manager runs without --use-service-account-credentials.
CONTROLLER_MANAGER: Final = "system:kube-controller-manager"

ANNOTATION: Final = f"{names.GROUP}/accounts"
VARIABLE: Final = "accounts"
OPERATORS: Final = "operatorAccounts"
# What stands around the text in CEL, so that kustomize can exchange what is between. It cannot hold this itself.
QUOTE: Final = "'''"
_OPERATOR: Final = "operator="
_BREAK_GLASS: Final = "breakGlassGroup="
_CNI: Final = "cni="


@dataclass(frozen=True, slots=True)
class Accounts:
    """`operators`: full names of users, as in `request.userInfo.username`: more than one while the account is being
    renamed. `break_glass_groups`: groups of users. `cni`: full names of users, those of the network plug-ins."""

    operators: tuple[str, ...]
    break_glass_groups: tuple[str, ...]
    cni: tuple[str, ...] = ()


DEFAULT: Final = Accounts(
    operators=(f"system:serviceaccount:{names.OPERATOR_NAMESPACE}:securetenant",),
    break_glass_groups=("securetenant:break-glass",),
    # Those that write a key of `checks.cni` into pods: Kube-OVN's controller and daemon, and Calico's plug-in, which
    # had the account of calico-node up to version 3.25. Cilium and Multus only read such keys. None of the four writes
    # with the kubelet's credentials: no node is among them.
    cni=tuple(
        f"system:serviceaccount:{namespace}:{name}"
        for namespace, accounts_of in (
            ("kube-system", ("ovn", "kube-ovn-cni", "calico-cni-plugin", "calico-node")),
            ("calico-system", ("calico-cni-plugin", "calico-node")),
        )
        for name in accounts_of
    ),
)


def text(accounts: Accounts) -> str:
    """An account a line, each line with its end."""
    lines = [f"{_OPERATOR}{one}" for one in accounts.operators]
    lines += [f"{_BREAK_GLASS}{one}" for one in accounts.break_glass_groups]
    lines += [f"{_CNI}{one}" for one in accounts.cni]
    return "".join(f"{line}\n" for line in lines)


def read(given: str) -> Accounts:
    """The accounts in a text, as the policies read it."""
    lines = [line.strip() for line in given.split("\n")]
    return Accounts(_values(lines, _OPERATOR), _values(lines, _BREAK_GLASS), _values(lines, _CNI))


def _values(lines: list[str], start: str) -> tuple[str, ...]:
    return tuple(value for line in lines if line.startswith(start) and (value := line[len(start) :]))


def variables() -> dict[str, str]:
    """The CEL variables `accounts`, `operatorAccounts`, `breakGlassGroups` and `cniAccounts`."""
    return {
        VARIABLE: _expression(text(DEFAULT)),
        OPERATORS: _of_kind(_OPERATOR),
        "breakGlassGroups": _of_kind(_BREAK_GLASS),
        "cniAccounts": _of_kind(_CNI),
    }


def _expression(given: str) -> str:
    return f"r{QUOTE}{given}{QUOTE}.split('\\n').map(l, l.trim())"


def _of_kind(start: str) -> str:
    return (
        f"variables.{VARIABLE}.filter(l, l.startsWith('{start}') && l != '{start}').map(l, l.substring({len(start)}))"
    )


def with_defaults(policy: Mapping[str, Any]) -> dict[str, Any]:
    """A policy with the default accounts in place of those that its annotation names, or unchanged where the annotation
    is not what the policy goes by."""
    given = policy["metadata"].get("annotations", {}).get(ANNOTATION)
    # A text that ends the quotes could go on as an expression that names accounts which nobody reads in it.
    counted = {"name": VARIABLE, "expression": _expression(given)}
    listed = policy["spec"].get("variables", [])
    if given is None or QUOTE in given or counted not in listed:
        return dict(policy)
    default = {"name": VARIABLE, "expression": _expression(text(DEFAULT))}
    annotations = policy["metadata"]["annotations"] | {ANNOTATION: text(DEFAULT)}
    return {
        **policy,
        "metadata": {**policy["metadata"], "annotations": annotations},
        "spec": {**policy["spec"], "variables": [default if one == counted else one for one in listed]},
    }
