"""Which tenants are to be looked at again because something changed in namespaces of others.

A tenant whose namespaces are as planned depends on nobody's policies. Where a policy of others opens them, it depends
on the other end whether that opens a flow, and there every change counts, our own writes included.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Observed
from securetenant.reach.holds import Holds
from securetenant.sets import labels
from securetenant.sets.selectors import Selector

Key = TypeVar("Key")


class Neighbours:
    """`note` is called by each pass, `change` for each change of the caches."""

    def __init__(self, enqueue: Callable[[set[str]], None]) -> None:
        self._enqueue = enqueue
        self._noted: dict[str, Holds] = {}
        self._by_namespace: dict[str, set[str]] = {}
        self._by_selector: dict[Selector, set[str]] = {}

    def note(self, tenant: str, holds: Holds) -> None:
        """What a pass looked at."""
        self.forget(tenant)
        if not holds.others and not holds.selectors:
            return
        self._noted[tenant] = holds
        for name in holds.others:
            self._by_namespace.setdefault(name, set()).add(tenant)
        for where in holds.selectors:
            self._by_selector.setdefault(where, set()).add(tenant)

    def forget(self, tenant: str) -> None:
        holds = self._noted.pop(tenant, None)
        if holds is None:
            return
        for name in holds.others:
            _leave(self._by_namespace, name, tenant)
        for where in holds.selectors:
            _leave(self._by_selector, where, tenant)

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """An object was added (no old), changed, or deleted (no new)."""
        if not self._noted:
            return
        states = [each for each in (old, new) if each is not None]
        ref = states[0].ref
        # Of a policy of the whole cluster it is not asked whom it selects.
        found = set(self._by_namespace.get(ref.place, ())) if ref.place else set(self._noted)
        if ref.kind is NAMESPACE:
            if old is not None and new is not None and old.labels == new.labels:
                return
            found |= self._selecting(states)
        if found:
            self._enqueue(found)

    def beside(self, edited: set[str], tokens: Callable[[str], Iterable[str]]) -> set[str]:
        """These tenants, whose specs changed, and those that looked at their namespaces: which policies there are kept
        as planned depends on the mode, for one. `tokens`: of a tenant (cache/triggers.py)."""
        if not self._by_namespace:
            return edited
        names = (token.removeprefix("ns:") for name in edited for token in tokens(name) if token.startswith("ns:"))
        return edited.union(*(self._by_namespace.get(name, ()) for name in names))

    def _selecting(self, states: Iterable[Observed]) -> set[str]:
        """The tenants that looked at what selects a namespace, as it is or as it was."""
        known = [each.labels for each in states]
        return {
            tenant
            for where, tenants in self._by_selector.items()
            if (terms := labels.terms(where)) is not None and any(labels.matched(terms, each) for each in known)
            for tenant in tenants
        }


def _leave(by: dict[Key, set[str]], key: Key, tenant: str) -> None:
    by[key].discard(tenant)
    if not by[key]:
        del by[key]
