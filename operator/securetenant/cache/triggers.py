"""Which events concern which tenant, as tokens: an event looks its tokens up, and walks no tenants.

ns:X          the tenant declares namespace X          platform:X    a rule names namespace X as a peer
peer:T        a rule names tenant T                    node:k=v      the first label of the tenant's node selector
subject:S     a ClusterRoleBinding of S widens it      apiserver     it may reach the API server, or has egress
usage:X       the tenant shares a quota out to X                     to addresses, which the API server's are taken from
role:R        its people hold the ClusterRole R
"""

from collections.abc import Iterable, Iterator

from securetenant.api.tenant import SecureTenant
from securetenant.controls.access import control as access
from securetenant.controls.network import whitelist

API_SERVER = "apiserver"
# Of one token: above it, a tuple that is copied for each that joins costs more than a set.
FEW = 8


def of_tenant(tenant: SecureTenant) -> frozenset[str]:
    """All tokens of a tenant."""
    return frozenset(_tokens(tenant))


def _tokens(tenant: SecureTenant) -> Iterator[str]:
    spec = tenant.spec
    namespaces = [entry.name for entry in spec.namespaces]
    yield from (f"ns:{name}" for name in namespaces)
    for peer in [p for rule in spec.network.ingress for p in rule.from_] + [
        p for rule in spec.network.egress for p in rule.to
    ]:
        if peer.tenant is not None:
            yield f"peer:{peer.tenant}"
        if peer.namespace is not None:
            yield f"platform:{peer.namespace}"
    if spec.nodes is not None:
        yield node(min(spec.nodes.selector.match_labels.items()))
    yield from (f"subject:{key}" for key in access.subject_keys(tenant, namespaces))
    yield from (f"role:{name}" for name in access.bound_roles(tenant))
    if spec.quota.tenant:
        yield from (f"usage:{name}" for name in namespaces)
    if spec.network.api_server or whitelist.reaches_addresses(tenant):
        yield API_SERVER


def node(label: tuple[str, str]) -> str:
    return f"node:{label[0]}={label[1]}"


class Interests:
    """An index from token to tenants, kept while tenants come, change and go.

    Tuples, for most tokens are of one tenant alone, and a set is 2 KB more for each tenant; sets where there are many
    (of a role, all tenants).
    """

    def __init__(self) -> None:
        self._by_token: dict[str, tuple[str, ...] | set[str]] = {}
        self._by_tenant: dict[str, tuple[str, ...]] = {}

    def replace(self, tenant: str, tokens: frozenset[str]) -> None:
        """Set the tenant's tokens; an empty set forgets it."""
        before = self.tokens(tenant)
        self._by_tenant.pop(tenant, None)
        for token in before - tokens:
            self._leave(token, tenant)
        for token in tokens - before:
            self._join(token, tenant)
        if tokens:
            self._by_tenant[tenant] = tuple(tokens)

    def _join(self, token: str, tenant: str) -> None:
        members = self._by_token.get(token, ())
        if isinstance(members, set):
            members.add(tenant)
        else:
            self._by_token[token] = {*members, tenant} if len(members) >= FEW else (*members, tenant)

    def _leave(self, token: str, tenant: str) -> None:
        members = self._by_token[token]
        if isinstance(members, set):
            members.discard(tenant)
        else:
            members = self._by_token[token] = tuple(other for other in members if other != tenant)
        if not members:
            del self._by_token[token]

    def tokens(self, tenant: str) -> frozenset[str]:
        return frozenset(self._by_tenant.get(tenant, ()))

    def tenants(self, tokens: Iterable[str]) -> set[str]:
        """Every tenant that has one of these tokens."""
        return {tenant for token in tokens for tenant in self._by_token.get(token, ())}


def touched_by_change(tenant: str, before: frozenset[str], after: frozenset[str]) -> set[str]:
    """The tokens whose tenants a change of this tenant's spec concerns: peers, rivals, users of its namespaces."""
    tokens = {f"peer:{tenant}"}
    for token in before | after:
        kind, _, value = token.partition(":")
        if kind in ("ns", "node"):
            tokens.add(token)
        if kind == "ns":
            tokens.add(f"platform:{value}")
    return tokens


def named_peers(tokens: Iterable[str]) -> set[str]:
    """The tenants that these tokens name as peers."""
    return {token.removeprefix("peer:") for token in tokens if token.startswith("peer:")}
