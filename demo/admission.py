"""What is refused without the operator: exemptions and attacks against the API server alone, and manifests in a
pipeline."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from demo import attacks, screen, stage
from demo.attacks import DEVELOPER, PODS, Attack, Person
from sandbox.client import Admin, wait_for
from sandbox.plane import Plane

# How long the exemption lasts (seconds): the operator writes it and is stopped within this time, and the reader waits
# for the rest of it.
LASTS = 8
# How long any answer may take (seconds).
PATIENCE = 15.0
_NAMESPACE = "/api/v1/namespaces/payments-test"
_POD_PATH = PODS.format("payments-test")


async def exempt(admin: Admin, problems: list[str]) -> datetime:
    """Declare the exemption, and wait until the operator has written it; its end, by the API server's clock."""
    end = await _server_time(admin) + timedelta(seconds=LASTS)
    path = f"{stage.TENANTS}/payments"
    declared = (await admin.get(path))["spec"].get("exemptions", [])
    one = attacks.exemption(_written(end))
    await admin.patch(path, {"spec": {"exemptions": [*declared, one]}}, params={"fieldManager": "kubectl-edit"})

    async def is_written() -> bool:
        annotations = (await admin.get(_NAMESPACE))["metadata"]["annotations"]
        return _written(end) in annotations["securetenant.dev/exemptions"]

    try:
        await wait_for(is_written, PATIENCE, "the exemption to be on payments-test")
    except AssertionError as error:
        problems.append(str(error))
    pods = ",".join(f"{key}={value}" for key, value in one["pods"].items())
    screen.tell(
        f"payments declares an exemption ({one['ticket']}, {one['reason']}): {one['control']}/{one['check']}"
        f" does not hold in {one['namespace']} for pods with {pods} until {_clock(end)}"
    )
    return end


async def alone(plane: Plane, admin: Admin, end: datetime, problems: list[str]) -> None:
    """Use the exemption, attack, and use it after its end. The operator must be stopped."""
    acts = attacks.attacks()
    total = len(acts) + 2
    try:
        screen.opening("a developer of payments creates a pod with that label, before the end", 1, total)
        await _admitted(plane, end)
    except AssertionError as error:
        problems.append(f"the exempted pod: {error}")
    for number, act in enumerate(acts, 2):
        screen.opening(act.title, number, total)
        try:
            screen.refused(*await _refused(plane, act))
        except AssertionError as error:
            problems.append(f"{act.title}: {error}")
    try:
        screen.opening("the developer creates such a pod again, until it is refused", total, total)
        await _until_refused(plane, admin, end)
    except AssertionError as error:
        problems.append(f"the exempted pod, after the end: {error}")


async def pipeline(problems: list[str]) -> None:
    """`securetenant validate` of the manifest that the API server refused, without a cluster."""
    file = attacks.manifest("other-registry").relative_to(stage.ROOT)
    arguments = ["validate", "--tenant", "examples/bank/", str(file)]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "securetenant", *arguments, cwd=stage.ROOT, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    output = (await child.communicate())[0].decode()
    screen.command(f"securetenant {' '.join(arguments)}", output, child.returncode or 0)
    if child.returncode != 1 or "images/registries" not in output:
        problems.append(f"securetenant validate: exit code {child.returncode}, and not for images/registries")


async def _admitted(plane: Plane, end: datetime) -> None:
    status, answer = await _as(plane, DEVELOPER, "POST", _POD_PATH, attacks.exempted_pod("hotfix"))
    assert status == 201, f"{status}: {answer}"
    created = answer["metadata"]["creationTimestamp"]
    screen.admitted(f"at {_clock(_read(created))}; the exemption ends at {_clock(end)}")


async def _until_refused(plane: Plane, admin: Admin, end: datetime) -> None:
    """Try the pod every second, as a dry run while it is let in, and say so."""
    admitted: list[datetime] = []

    async def is_refused() -> bool:
        status, answer = await _as(
            plane, DEVELOPER, "POST", _POD_PATH, attacks.exempted_pod("again"), {"dryRun": "All"}
        )
        if status == 201:
            admitted.append(_read(answer["metadata"]["creationTimestamp"]))
            screen.admitted(f"at {_clock(admitted[-1])}, as a dry run")
        return status != 201

    await wait_for(is_refused, LASTS + PATIENCE, "the pod to be refused", 1.0)
    now = await _server_time(admin)
    assert all(time < end for time in admitted), f"admitted at {admitted[-1]}, and the exemption ended at {end}"
    assert now >= end, f"refused at {now}, before the end at {end}"
    act = Attack("", DEVELOPER, "POST", _POD_PATH, attacks.exempted_pod("again"), "application/json", "readOnlyRoot")
    screen.refused(*await _refused(plane, act), f"at {_clock(now)}, ")


async def _refused(plane: Plane, act: Attack) -> tuple[int, str]:
    """The status and the message of the API server's answer."""
    status, answer = await _as(plane, act.who, act.method, act.path, act.body, content_type=act.content_type)
    message = answer["message"] if status >= 400 else "admitted"
    is_refused = status in (403, 422) and act.rule in message
    assert is_refused, f"not refused by {act.rule!r}: {status}: {message}"
    return status, message


async def _as(
    plane: Plane,
    who: Person,
    method: str,
    path: str,
    body: Any,
    params: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> tuple[int, Any]:
    async with Admin(plane, user=who.name, groups=who.groups) as person:
        return await person.request(method, path, body, content_type=content_type, params=params)


async def _server_time(admin: Admin) -> datetime:
    """Now, in whole seconds: what the API server sets as the creation of an object that it does not keep."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "clock"}}
    status, answer = await admin.request(
        "POST", "/api/v1/namespaces/default/configmaps", body, params={"dryRun": "All"}
    )
    assert status == 201, f"{status}: {answer}"
    return _read(answer["metadata"]["creationTimestamp"])


def _read(time: str) -> datetime:
    return datetime.fromisoformat(time.replace("Z", "+00:00"))


def _written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clock(time: datetime) -> str:
    return f"{time.astimezone(UTC):%H:%M:%S}Z"
