"""The life of an instance: up, status, down, an outage on purpose, and every unclean end."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox import audit, build, nodes, process, versions
from sandbox.plane import end_detached, read_state
from sandbox.programs import ORDER
from tests.support.sandbox import ROOT, Admin, Plane, wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(os.environ.get("SECURETENANT_TEST_KUBECONFIG")), reason="another cluster is used"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for one instance, which does not outlive the test."""
    yield tmp_path
    end_detached(tmp_path)


def sandbox(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox", *arguments]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False, env=env)


def parent(folder: Path) -> subprocess.Popen[str]:
    """A process that starts an instance in ``folder``, says so and waits."""
    code = (
        "import sys; from pathlib import Path; from sandbox import plane\n"
        "plane.start(Path(sys.argv[1])); print('serves', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def going_up(folder: Path) -> subprocess.Popen[bytes]:
    """The command ``up``, not waited for."""
    command = [sys.executable, "-m", "sandbox", "up", "--dir", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)


def members(state: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """name -> (pid, start) of the supervisor and the programs."""
    known = {"supervisor": state["supervisor"], **state["programs"]}
    return {name: (entry["pid"], entry["since"]) for name, entry in known.items()}


def survivors(of: dict[str, tuple[int, str]]) -> list[str]:
    return [name for name, (pid, since) in of.items() if process.alive(pid, since)]


async def test_up_status_and_down(folder: Path) -> None:
    first = sandbox("up", "--dir", str(folder), "--audit")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == f"export KUBECONFIG={folder}/kubeconfig"
    assert sandbox("up", "--dir", str(folder)).stdout == first.stdout, "up is not idempotent"
    state = read_state(folder)
    assert state is not None
    running = build.kubernetes(Path(state["assets"]))
    assert f"Kubernetes {running} at " in first.stderr
    other = next(minor for minor in versions.SUPPORTED if not running.startswith(f"{minor}."))
    refused = sandbox("up", "--dir", str(folder), SANDBOX_KUBERNETES=other)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"is Kubernetes {running}, and SANDBOX_KUBERNETES asks for {other}: stop it" in refused.stderr
    assert list(state["programs"]) == list(ORDER)
    assert (folder / "audit.log").stat().st_size > 0
    assert state["audit_log"] == f"{folder}/audit.log"

    told = sandbox("status", "--dir", str(folder))
    assert told.returncode == 0
    assert all(str(state["programs"][name]["pid"]) in told.stdout for name in ORDER)
    os.kill(state["programs"]["kwok"]["pid"], signal.SIGKILL)
    await wait_for(lambda: "kwok" not in survivors(members(state)), 5, "kwok's end")
    assert sandbox("status", "--dir", str(folder)).returncode == 1

    assert sandbox("down", "--dir", str(folder)).returncode == 0
    assert survivors(members(state)) == []
    assert sandbox("status", "--dir", str(folder)).returncode == 3
    log = (folder / "logs" / "supervisor.log").read_text()
    ended = re.findall(r"(\S+) (?:stopped|killed) after", log)
    assert ended[-2:] == ["kube-apiserver", "etcd"], ended
    assert set(ended) == set(ORDER)
    assert not (folder / "etcd").exists(), "the data stayed"


async def test_nothing_is_left_when_the_parent_is_killed(folder: Path) -> None:
    with parent(folder) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == "serves\n"
        state = read_state(folder)
        assert state is not None
        started = members(state)
        assert survivors(started) == ["supervisor", *ORDER]

        asker.kill()

    await wait_for(lambda: not survivors(started), 20, "the end of all of it")
    assert not (folder / "etcd").exists(), "the data stayed"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends children with their parent")
async def test_nothing_is_left_when_the_supervisor_is_killed(folder: Path) -> None:
    with parent(folder) as asker:
        state = await wait_for(lambda: read_state(folder), 10, "the first program")
        started = members(state)
        assert "etcd" in started

        os.kill(state["supervisor"]["pid"], signal.SIGKILL)

        await wait_for(lambda: not survivors(started), 5, "the end of all of it")
        assert asker.wait(10) != 0, "the asker was not told"
    assert read_state(folder) is None, "a stale state counts as running"


async def test_ctrl_c_while_it_starts_leaves_nothing(folder: Path) -> None:
    with going_up(folder) as asker:
        state = await wait_for(lambda: read_state(folder), 10, "the first program")

        asker.send_signal(signal.SIGINT)

        assert asker.wait(20) != 0
    assert survivors(members(state)) == []


async def test_the_api_server_goes_away_and_comes_back(plane: Plane, admin: Admin) -> None:
    name = "sandbox-outage"
    await admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    url = plane.url

    plane.stop_apiserver()
    with pytest.raises(aiohttp.ClientConnectionError):
        await admin.get("/readyz")
    plane.start_apiserver()

    async with Admin(plane) as again:
        assert plane.url == url
        assert (await again.get(f"/api/v1/namespaces/{name}"))["metadata"]["name"] == name
        await again.delete(f"/api/v1/namespaces/{name}")


async def test_a_pod_runs_on_a_node_that_is_no_machine(plane: Plane, admin: Admin) -> None:
    names = nodes.create(plane, 2, {"pool": "sandbox-test"}, prefix="sandbox-test")
    pod = "/api/v1/namespaces/default/pods/sandbox-test"
    spec = {"nodeSelector": {"pool": "sandbox-test"}, "containers": [{"name": "c", "image": "none"}]}
    await admin.create("/api/v1/namespaces/default/pods", {"metadata": {"name": "sandbox-test"}, "spec": spec})

    async def running() -> Any:
        found = await admin.get(pod)
        return found if found["status"].get("phase") == "Running" else None

    found = await wait_for(running, 20, "the Pod to run")

    assert found["spec"]["nodeName"] in names
    assert found["status"]["podIP"]
    await admin.delete(pod)
    for node in names:
        await admin.delete(f"/api/v1/nodes/{node}")


async def test_roles_are_enforced_and_requests_audited(plane: Plane, admin: Admin) -> None:
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await admin.create("/api/v1/namespaces/default/serviceaccounts/default/token", token)

    async with Admin(plane, token=answer["status"]["token"]) as nobody:
        status, body = await nobody.request("GET", "/api/v1/namespaces")

    user = "system:serviceaccount:default:default"
    assert status == 403
    assert user in json.dumps(body)
    assert plane.audit_log is not None
    asked, after = audit.requests(plane.audit_log, user)
    assert asked[-1:] == ["list /api/v1/namespaces"]
    assert audit.requests(plane.audit_log, user, after)[0] == []
