"""Tries what the controls have to try in the cluster (`Control.probe`), by dry runs, and puts the answers into the
World.

It tries at the start and when something changed that the answers rest on, and again at growing intervals until a
control says that nothing more is to be found out. While nothing changes there is no request.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

import structlog

from securetenant.cache.world import World
from securetenant.controls.control import Control, Probe
from securetenant.kube.discovery import is_set
from securetenant.kube.errors import ApiError
from securetenant.kube.preflight import user
from securetenant.kube.transport import Transport
from securetenant.model.objects import Observed
from securetenant.model.probe import Answer, Probed, Trial

log = structlog.get_logger("securetenant.probe")

# Between two tries (seconds): the first pause, and the longest; each is twice the one before.
FIRST: Final = 0.25
LONGEST: Final = 30.0
# Answers count if they were asked for so long (seconds) after the last change: the API server reads its policies again
# each second, and before that may answer by the ones of before the change, whatever they are called.
SETTLES: Final = 1.5


class Prober:
    """`observe` takes every event of the caches; `run` tries, while this is the active instance, and calls `on_news`
    when the answers changed, or what they rest on. `world`: gets the answers."""

    def __init__(
        self,
        transport: Transport,
        world: World,
        controls: Iterable[Control],
        on_news: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._world = world
        self._on_news = on_news
        self._clock = clock
        self._probes = {control.name: control.probe for control in controls if control.probe is not None}
        self._changed = dict.fromkeys(self._probes, -SETTLES)  # when something changed last
        self._wanted = {name: asyncio.Event() for name in self._probes}
        self._first = asyncio.Event()
        self._user = ""
        for name in self._probes:
            world.probes[name] = Probed()

    def observe(self, new: Observed, old: Observed | None) -> None:
        """An object was added, changed or deleted (`old` is None then)."""
        for name, probe in self._probes.items():
            if probe.concerns(new, old):
                self._changed[name] = self._clock()
                self._world.probes[name] = replace(self._world.probes[name], changed=True)
                self._wanted[name].set()
                self._on_news()

    async def tried(self, within: float) -> None:
        """Return when everything was tried once since `run`, or after so many seconds."""
        await is_set(self._first, within)

    async def run(self) -> None:
        """Try now and whenever there is a reason to, until cancelled."""
        # What came with the first list did not change just now.
        for name in self._probes:
            self._changed[name] = min(self._changed[name], self._clock() - SETTLES)
            self._wanted[name].clear()
        await asyncio.gather(*(self._try_all(name) for name in self._probes))
        self._first.set()
        async with asyncio.TaskGroup() as group:
            for name, probe in self._probes.items():
                group.create_task(self._keep(name, probe), name=f"probe of {name}")

    async def _keep(self, name: str, probe: Probe) -> None:
        wait = FIRST
        while True:
            probed = self._world.probes[name]
            is_over = not probed.changed and probe.settled(self._world)
            if await is_set(self._wanted[name], None if is_over else wait):
                self._wanted[name].clear()
                wait = FIRST
                # Of many changes at once (kubectl apply) the last counts.
                continue
            await self._try_all(name)
            wait = min(2 * wait, LONGEST)

    async def _try_all(self, name: str) -> None:
        """One round. A defect in a control is logged, and leaves the answers as unknown."""
        begun = self._clock()
        try:
            self._user = self._user or await user(self._transport)
        except ApiError as error:
            log.warning("unknown as which user the operator runs", cause=str(error))
        trials = self._probes[name].trials(self._world)
        answers = tuple(await asyncio.gather(*map(self._try, trials)))
        self._put(name, Probed(answers, self._user, changed=begun - self._changed[name] < SETTLES))

    async def _try(self, trial: Trial) -> Answer:
        warnings: list[str] = []
        path, status, message = trial.kind.path(trial.namespace), 201, ""
        try:
            await self._transport.request("POST", path, body=trial.body, kind=trial.kind.name, dry_run=warnings)
        except ApiError as error:
            status, message = error.status, error.message
        return Answer(trial.name, status, message, tuple(warnings))

    def _put(self, name: str, probed: Probed) -> None:
        before, self._world.probes[name] = self._world.probes[name], probed
        if probed != before:
            self._on_news()
