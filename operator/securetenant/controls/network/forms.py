"""How peers in the cluster are written (`network.peersBy`): by selector, by the subnets of their namespaces, or both.

A subnet stands for a namespace as a whole. Whatever it cannot say stays closed: nothing is ever opened that is wider
than what is declared.
"""

from typing import Final, NamedTuple

from securetenant.api.network import PeersBy
from securetenant.api.tenant import SecureTenant
from securetenant.controls.subnets import places, provider
from securetenant.controls.world import World
from securetenant.model.kinds import CILIUM_POD_IP_POOL
from securetenant.sets import selectors
from securetenant.sets.blocks import Block
from securetenant.sets.selectors import Selector

CILIUM: Final = (
    "network.peersBy: Subnet opens nothing with Cilium, whose policies match no pods by address: set Selector"
)
_PODS: Final = "a subnet cannot stand for some of its pods (labels are named by one of the two sides): "


class Pods(NamedTuple):
    """The selected pods of some namespaces."""

    namespaces: tuple[str, ...]
    selector: Selector


class Form(NamedTuple):
    """How a tenant's peers are written; or why they are not: what to do."""

    by: PeersBy = "Selector"
    refused: str = ""


class Ends(NamedTuple):
    """Peers as they are written. `missing`: what of them is not, and why."""

    peers: tuple[Pods | Block, ...] = ()
    missing: str = ""


def form(tenant: SecureTenant, world: World) -> Form:
    """Without a cluster always by selector: what a namespace was given is not known."""
    by = tenant.spec.network.peers_by
    if by != "Subnet" or world.platform.offline:
        return Form("Selector" if world.platform.offline else by)
    choice = provider.choose(tenant, world)
    if choice.name is None:
        return Form(by, f"network.peersBy: Subnet needs to know the network plug-in: {choice.message}")
    if choice.name == "Cilium" or (choice.name == "None" and world.serves(CILIUM_POD_IP_POOL)):
        return Form(by, CILIUM)
    return Form(by)


def ends(pods: Pods, form: Form, world: World) -> Ends:
    """These pods as peers of a policy."""
    if form.by == "Selector":
        return Ends((pods,))
    is_whole = pods.selector == selectors.ALL
    if form.by == "Both":
        return Ends((pods, *(_blocks(pods.namespaces, world)[0] if is_whole else ())))
    if form.refused:
        return Ends((), form.refused)
    if not is_whole:
        return Ends((), f"{_PODS}name all pods on both sides, or set network.peersBy: Selector")
    found, missing = _blocks(pods.namespaces, world)
    return Ends(found, f"{missing}: give it one, or set network.peersBy: Selector" if missing else "")


def _blocks(namespaces: tuple[str, ...], world: World) -> tuple[tuple[Block, ...], str]:
    """The subnets of these namespaces, and what is wrong with the first that has none."""
    known = [places.alone(namespace, world) for namespace in namespaces]
    found = tuple(Block(str(block)) for one in known for block in one.blocks)
    return found, next((one.reason for one in known if one.reason), "")
