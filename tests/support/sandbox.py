"""What cluster tests need of the sandbox, in one place to import from."""

from pathlib import Path

from sandbox.client import APPLY, JSON_PATCH, MERGE_PATCH, Admin, ApiError, wait_for
from sandbox.operator import NAMESPACE, Metrics, Operator, operator_kubeconfig, operator_token, run_operator
from sandbox.plane import Plane

__all__ = [
    "APPLY",
    "JSON_PATCH",
    "MERGE_PATCH",
    "MUTATING",
    "NAMESPACE",
    "ROOT",
    "Admin",
    "ApiError",
    "Metrics",
    "Operator",
    "Plane",
    "apply_crds",
    "apply_manifests",
    "operator_kubeconfig",
    "operator_token",
    "policies_in_force",
    "run_operator",
    "wait_for",
]

#: The minor of Kubernetes from which on MutatingAdmissionPolicy v1 is served.
MUTATING = 36
ROOT = Path(__file__).resolve().parents[2]
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def apply_crds(admin: Admin) -> None:
    """Apply ``crds/`` and wait until each is Established and served."""
    await admin.apply(existing(ROOT / "crds"))
    await _established(admin)


async def apply_manifests(admin: Admin) -> None:
    """``kubectl apply -k manifests/``, as an administrator would, and wait for the CRDs and the policies in it."""
    await admin.kubectl("apply", "-k", str(existing(ROOT / "manifests" / "kustomization.yaml").parent))
    await _established(admin)
    await policies_in_force(admin)


async def policies_in_force(admin: Admin) -> None:
    """Wait until the lock on namespaces answers: the API server loads policies a moment after they were written."""
    probe = {"metadata": {"name": "probe", "annotations": {"securetenant.dev/probe": ""}}}

    async def answers() -> bool:
        status, answer = await admin.request("POST", "/api/v1/namespaces", probe, params={"dryRun": "All"})
        return status == 403 and "probe: namespaces.securetenant.dev" in answer["message"]

    await wait_for(answers, 20, "the policies to be in force")


def existing(path: Path) -> Path:
    """``path``; an AssertionError that says what is missing otherwise."""
    assert path.exists(), f"{path.relative_to(ROOT)} is missing, and this test needs it"
    return path


async def _established(admin: Admin) -> None:
    async def all_established() -> bool:
        ours = [crd for crd in (await admin.get(_CRDS))["items"] if crd["spec"]["group"] == "securetenant.dev"]
        return bool(ours) and all(_is_established(crd.get("status", {})) for crd in ours)

    await wait_for(all_established, 15, "the CRDs of securetenant.dev to be Established")
    await wait_for(lambda: _served(admin), 15, "securetenants to be served")


async def _served(admin: Admin) -> bool:
    status, _ = await admin.request("GET", "/apis/securetenant.dev/v1alpha1/securetenants", params={"limit": "1"})
    return status == 200


def _is_established(status: dict[str, list[dict[str, str]]]) -> bool:
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    return conditions.get("Established") == "True" and conditions.get("NamesAccepted") == "True"
