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
    """Wait until the policies answer that tell accounts apart: the API server loads them a moment after they were
    written, and not all at once."""
    metadata = {"name": "probe", "annotations": {"securetenant.dev/probe": ""}}
    about = {"apiVersion": "securetenant.dev/v1alpha1", "kind": "SecureTenant", "name": "probe"}
    probes: dict[str, tuple[str, dict[str, object]]] = {
        "namespaces": ("/api/v1/namespaces", {}),
        "posture": ("/api/v1/namespaces/securetenant-probe-deny/resourcequotas", {}),
        "operator": ("/api/v1/namespaces/default/events", {"involvedObject": about}),
        "subnets": (
            "/api/v1/namespaces/securetenant-probe-deny/configmaps",
            {"metadata": {**metadata, "name": "securetenant-probe-subnets"}},
        ),
    }

    async def answer() -> bool:
        for name, (path, body) in probes.items():
            made = {"metadata": metadata, **body}
            status, told = await admin.request("POST", path, made, params={"dryRun": "All"})
            if status != 403 or f"probe: {name}.securetenant.dev" not in told["message"]:
                return False
        return True

    await wait_for(answer, 20, "the policies to be in force")


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
