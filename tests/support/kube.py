"""Transports and informers for tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from securetenant.kube import config
from securetenant.kube.informer import Informer
from securetenant.kube.transport import OnRequest, Transport


@contextlib.asynccontextmanager
async def transport_to(
    kubeconfig: Path | str,
    *,
    server: str = "",
    on_request: OnRequest = lambda verb, kind, code, seconds: None,
    timeout: float = 10.0,  # noqa: ASYNC109
) -> AsyncIterator[Transport]:
    """A transport with a kubeconfig's credentials, to another `server` (a proxy before it) if given."""
    client = await config.load(str(kubeconfig))
    client.server = server or client.server
    async with Transport(client, timeout=timeout, on_request=on_request) as transport:
        yield transport


@contextlib.asynccontextmanager
async def running(*informers: Informer) -> AsyncIterator[None]:
    """The informers run, until the block ends."""
    tasks = [asyncio.create_task(informer.run()) for informer in informers]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait until the condition holds; AssertionError with `what` after `seconds`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        assert loop.time() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)  # sleep: how often it is looked
