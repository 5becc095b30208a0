"""Checks of a tenant's rules that need only files, for `securetenant validate`."""

from collections.abc import Iterator
from datetime import datetime

from securetenant.api.load import Problem
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import Need, Reference
from securetenant.controls.network import templates, whitelist
from securetenant.controls.world import World
from securetenant.model.kinds import NETWORK_TEMPLATE
from securetenant.model.objects import Ref
from securetenant.sets.policy import PEERS


def references(tenant: SecureTenant, now: datetime) -> Iterator[Reference]:
    """The namespaces that its rules name as peers, except expired rules."""
    for direction, others in PEERS.items():
        for index, (rule, _, peers) in enumerate(whitelist.rules(tenant, direction)):
            for number, peer in enumerate(peers):
                if peer.namespace is not None and not whitelist.has_expired(rule.expires, now):
                    path = templates.place(rule, tenant) or (
                        f"spec.network.{direction}[{index}].{others}[{number}].namespace"
                    )
                    yield Reference(path, peer.namespace, f"rule {rule.name!r} stays closed")


def needs(tenant: SecureTenant) -> Iterator[Need]:
    """The templates that it uses."""
    for index, use in enumerate(tenant.spec.network.templates):
        yield Need(f"spec.network.templates[{index}].template", Ref(NETWORK_TEMPLATE, "", use.template))


def review(tenant: SecureTenant, world: World, now: datetime) -> Iterator[Problem]:
    """Uses of templates that make no rule, and flows that stay closed."""
    for one in templates.expansion(tenant, world).refused:
        if one.reason != "NoTemplate":  # which `needs` tells
            yield Problem(f"spec.network.templates[{one.entry}]", one.message)
    yield from one_sided(tenant, world, now)


def one_sided(tenant: SecureTenant, world: World, now: datetime) -> Iterator[Problem]:
    """Flows that stay closed, because of the other side (if that tenant is in this world) or of the rule itself."""
    for declared in whitelist.declarations(tenant, ownership.held(tenant, world), world, now):
        peer = declared.peer.tenant
        if declared.expired or declared.opened.flows or (peer is not None and world.tenant(peer) is None):
            continue
        rules = whitelist.rules(tenant, declared.direction)
        index = next(i for i, (rule, _, _) in enumerate(rules) if rule is declared.rule)
        message = f"rule {declared.rule.name!r} stays closed: {declared.opened.reason}"
        path = templates.place(declared.rule, tenant) or f"spec.network.{declared.direction}[{index}]"
        yield Problem(path, message, "warning")
