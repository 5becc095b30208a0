"""Places that checks name, as paths of fields."""

from typing import Any

import pytest

from securetenant.api.load import dotted
from securetenant.cli.places import of_finding, of_path
from tests.support.workloads import workload

MORE: dict[str, Any] = {
    "initContainers": [{"name": "setup"}],
    "ephemeralContainers": [{"name": "debug", "image": "x"}],
    "volumes": [{"name": "a", "image": {"reference": "x"}}, {"name": "b"}],
    "tolerations": [{"key": "x"}],
}


@pytest.mark.parametrize(
    ("place", "message", "path"),
    [
        ("container web", "remove it", "spec.containers[0]"),
        ("container web (x:1)", "the image is old", "spec.containers[0].image"),
        ("container setup", "the image is old", "spec.initContainers[0]"),
        ("container setup", "set securityContext.runAsUser", "spec.initContainers[0].securityContext.runAsUser"),
        ("container debug", "imagePullPolicy and image", "spec.ephemeralContainers[0].image"),
        ("container gone", "remove it", "spec"),
        ("volume a (x)", "the image is old", "spec.volumes[0].image"),
        ("volume b", "none of spec.runtime.hostPaths", "spec.volumes[1]"),
        ("annotation a.b/c", "remove it", "metadata.annotations[a.b/c]"),
        ("pod", "set securityContext.runAsUser", "spec.securityContext.runAsUser"),
        ("spec.hostPID", "remove it", "spec.hostPID"),
        ("spec.tolerations (key a.b, value c)", "remove it", "spec.tolerations"),
        ("kernel.sem", "remove it", "spec"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "above"),
    [("Pod", ""), ("Deployment", "spec.template."), ("CronJob", "spec.jobTemplate.spec.template.")],
)
def test_of_finding(kind: str, above: str, place: str, message: str, path: str) -> None:
    assert dotted(of_finding(workload(kind, **MORE), place, message)) == above + path


def test_of_a_claim_and_of_templates_of_claims() -> None:
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"annotations": {"a.b/c": "x"}}, "spec": {"selector": {}}}
    for place, path in (
        ('spec.storageClassName "gold"', "spec.storageClassName"),
        ('annotation a.b/c "gold"', "metadata.annotations[a.b/c]"),
    ):
        assert dotted(of_finding(claim, place, "set storageClassName")) == path
    templates = [{"metadata": {"name": "data"}}, {"metadata": None}, {"metadata": {"name": "log"}}]
    for given, path in ((templates, "spec.volumeClaimTemplates[2]"), (None, "spec.volumeClaimTemplates")):
        body = {"kind": "StatefulSet", "spec": {"volumeClaimTemplates": given}}
        assert dotted(of_finding(body, 'volumeClaimTemplate log (storageClassName "gold")', "set it")) == path


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", ()),
        ("spec.containers[0].image", ("spec", "containers", 0, "image")),
        ("metadata.labels[a.b/c]", ("metadata", "labels", "a.b/c")),
    ],
)
def test_of_path(path: str, place: tuple[str | int, ...]) -> None:
    assert of_path(path) == place
