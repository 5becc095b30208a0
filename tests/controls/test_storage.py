"""What of storage the corpus does not ask: claims as they stand, without what they were before, and what is written."""

from typing import Any

import pytest

from securetenant.checks.evaluator import Evaluator
from securetenant.checks.server_form import judged
from securetenant.checks.targets import CLAIMS
from securetenant.controls import storage
from securetenant.controls.registry import CHECKS
from tests.support import attacks
from tests.support.world import NOW, StaticWorld, mine, tenant

EVALUATOR = Evaluator(CLAIMS, CHECKS)
ENCRYPTED = attacks.annotations({"storage": {"classes": ["encrypted-ssd"]}})


def standing(**spec: Any) -> dict[str, Any]:
    body = attacks.claim()
    body["spec"] |= spec
    return judged(body, NOW)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        # Kubernetes names the volume when it binds the claim.
        ({"volumeName": "pv-7"}, {}),
        ({"storageClassName": "standard", "volumeName": "pv-7"}, {"classes": ('spec.storageClassName "standard"',)}),
        ({"storageClassName": None}, {"classes": ("spec.storageClassName",)}),
        ({"selector": {}}, {"chosenVolume": ("spec.selector",)}),
        ({"volumeAttributesClassName": "fast"}, {"attributesClass": ("spec.volumeAttributesClassName fast",)}),
    ],
    ids=str,
)
def test_a_claim_that_stands_is_judged_by_what_its_author_wrote(spec: dict[str, Any], found: dict[str, Any]) -> None:
    failures = EVALUATOR.failures(standing(**spec), ENCRYPTED, "UPDATE")
    assert {failure.check.name: tuple(failure.places) for failure in failures} == found


def test_what_is_written_on_the_namespaces() -> None:
    for section, expected in (
        ({}, "v1;storageClasses=*"),
        ({"classes": ["a", "", "b"]}, "v1;storageClasses=a,b;classlessClaims=allowed"),
        ({"classes": ["a"], "volumeAttributesClasses": ["c"]}, "v1;storageClasses=a;attributesClasses=c"),
    ):
        of = tenant("pay", namespaces=["a"], storage=section)
        (want,) = storage.plan(of, StaticWorld([of], mine(of)), NOW).desired
        assert want.annotations == {"securetenant.dev/storage": expected}
