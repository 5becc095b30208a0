"""What is looked for before the start."""

from pathlib import Path

import pytest
from aiohttp import web

from securetenant.api.definitions import DEFINITIONS
from securetenant.kube.preflight import missing
from tests.support import shelf
from tests.support.fakeapi import page, serving, status
from tests.support.kube import transport_to


async def test_the_crd_of_every_definition_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        for one in DEFINITIONS:
            if request.path.endswith(f"/{one.kind.plural}"):
                return page([], 1, kind=one.kind.name)
        return status(404, "NotFound")

    async with serving(answer, tmp_path) as kubeconfig, transport_to(kubeconfig) as transport:
        assert not any("apply the CRD" in said for said in await missing(transport, "default", []))
        shelf.add(monkeypatch)
        said = await missing(transport, "default", [])
    assert [one for one in said if "does not know shelves.securetenant.dev (v1alpha1): apply the CRD first" in one]
    assert not any("securetenants.securetenant.dev" in one for one in said)
