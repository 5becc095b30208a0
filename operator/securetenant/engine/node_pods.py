"""The pods on dedicated nodes: a watch for each node that carries a tenant's label, of the pods' metadata alone.

The API server has pods by their node, since every kubelet watches its own so. Of the cluster's other pods nothing is
read, and while nothing changes on these nodes nothing is sent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securetenant.controls.world import Pods
from securetenant.kube.informer import Event, Informer
from securetenant.kube.transport import Transport
from securetenant.model.kinds import POD
from securetenant.model.objects import Observed

# Pods that have ended hold nothing on their node.
_SELECTOR: Final = "spec.nodeName={},status.phase!=Succeeded,status.phase!=Failed"


@dataclass(frozen=True, slots=True)
class _Watch:
    informer: Informer
    task: "asyncio.Task[None]"


class NodePods:
    """`on_pod` is called with the node's name for each change of a pod there, `on_known` once all are known, and once
    it is known that they may not be read."""

    def __init__(
        self, transport: Transport, on_pod: Callable[[str, Observed], None], on_known: Callable[[str], None]
    ) -> None:
        self._transport = transport
        self._on_pod = on_pod
        self._on_known = on_known
        self._wanted: set[str] = set()
        self._watches: dict[str, _Watch] = {}
        self._group: asyncio.TaskGroup | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Watch from now on, as tasks of the group."""
        self._group = group
        for node in self._wanted:
            self._watch(node)

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """A node was added, changed or deleted: watch its pods while it carries a tenant's label."""
        if new is not None and new.tenant:
            self._wanted.add(new.ref.name)
            if self._group is not None and new.ref.name not in self._watches:
                self._watch(new.ref.name)
        elif old is not None and old.ref.name in self._wanted:
            self._wanted.discard(old.ref.name)
            if watch := self._watches.pop(old.ref.name, None):
                watch.task.cancel()

    def on(self, node: str) -> Pods:
        watch = self._watches.get(node)
        if watch is None:
            return Pods(is_known=False)
        informer = watch.informer
        if informer.forbidden:
            return Pods(is_known=False, failure=informer.failure)
        return Pods(informer.objects(), is_known=informer.synced.is_set())

    def _watch(self, node: str) -> None:
        assert self._group is not None

        def on_event(event: Event) -> None:
            self._on_pod(node, event.object)

        informer = Informer(
            self._transport,
            POD,
            on_event=on_event,
            # The right to watch them may come or go by itself, when they are listed already.
            on_forbidden=lambda: self._on_known(node),
            field_selector=_SELECTOR.format(node),
        )
        task = self._group.create_task(self._run(node, informer), name=f"pods on {node}")
        self._watches[node] = _Watch(informer, task)

    async def _run(self, node: str, informer: Informer) -> None:
        async with asyncio.TaskGroup() as group:
            known = group.create_task(self._note_once_known(node, informer))
            try:
                await informer.run()
            finally:
                known.cancel()

    async def _note_once_known(self, node: str, informer: Informer) -> None:
        await informer.synced.wait()
        self._on_known(node)
