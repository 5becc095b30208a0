"""The demo as its reader runs it: everything happens as told, and nothing is left of it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from demo.attacks import attacks
from demo.scenes import scenes
from sandbox.cluster import KUBECONFIG
from tests.support.sandbox import ROOT, Admin, Plane

pytestmark = pytest.mark.cluster

DEPLOYMENT: Final = "/apis/apps/v1/namespaces/securetenant-system/deployments/securetenant"
BANK: Final = "/apis/securetenant.dev/v1alpha1/securetenants/payments"


def demo(folder: Path, **environment: str) -> tuple[int, str]:
    """Run it with its temporary files in `folder`, on a wide screen; the exit code, and all that it said."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SECURETENANT_TEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=inherited | {"HOLD": "0", "COLUMNS": "300", "TMPDIR": str(folder)} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout


def left_running(folder: Path) -> list[str]:
    """The processes that still run and have to do with `folder`: it is in their command line, or their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:  # ended meanwhile, or another's
            continue
        if str(folder).encode() in command + environment:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def part(output: str, title: str) -> str:
    """What was printed of one act, or one section: from its title to the next empty line."""
    begin = output.index(f"\n{title}\n")
    return output[begin : output.index("\n\n", begin)]


def section(output: str, heading: str) -> str:
    """What was printed from a heading on."""
    return output[output.index(f"\n{heading} ") :]


@pytest.mark.skipif(bool(os.environ.get(KUBECONFIG)), reason="another cluster is used, and the demo would play on it")
def test_all_happens_as_told_and_nothing_is_left(tmp_path: Path) -> None:
    code, output = demo(tmp_path)
    assert code == 0, output
    assert "all of it happened as told" in output
    acts = scenes("risk-0")
    assert len(acts) == 7
    for number, scene in enumerate(acts, 1):
        printed = part(output, f"{number}/7 {scene.title}")
        assert f"found: {scene.reason} {scene.object}" in printed
        assert f"{scene.outcome} after" in printed
    intruder = section(output, "An intruder on a dedicated node")
    assert "NodesExclusive=False: 1 pod of others on the tenant's nodes: ingress-nginx/debug on risk-1." in intruder
    assert 'securetenant_node_intruders{tenant="risk"} 1' in intruder
    assert_refusals(section(output, "An exemption and attacks, with the operator stopped"))
    pipeline = section(output, "The same rules in a pipeline, without a cluster")
    assert "error examples/workloads/other-registry.yaml:15: " in pipeline
    assert "exit code 1" in pipeline
    assert "it tells that an exemption of payments ended" in section(pipeline, "The operator runs again")
    assert left_running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def assert_refusals(output: str) -> None:
    """The exempted pod is let in first and refused last; in between each attack is, by the rule that is meant."""
    assert "admitted at" in part(output, "1/8 a developer of payments creates a pod with that label, before the end")
    acts = attacks()
    assert len(acts) == 6
    for number, act in enumerate(acts, 2):
        printed = part(output, f"{number}/8 {act.title}")
        assert "refused 403:" in printed
        assert act.rule in printed
    last = part(output, "8/8 the developer creates such a pod again, until it is refused")
    assert re.search(r"refused at [0-9:]{8}Z, 403:\n", last)
    assert "runtime/readOnlyRootFilesystem at container batch" in last


async def test_an_installed_operator_is_left_alone(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> None:
    """Attached to a cluster that has it, the demo says what to do and touches nothing."""
    before = await admin.get(DEPLOYMENT)
    code, output = demo(tmp_path, **{KUBECONFIG: str(plane.kubeconfig)})
    assert code == 2, output
    assert "has the Deployment securetenant-system/securetenant already" in output
    assert "Play on another cluster" in output
    assert (await admin.get(DEPLOYMENT))["spec"] == before["spec"]
    assert await admin.find(BANK) is None
    assert left_running(tmp_path) == []
