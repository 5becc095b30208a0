"""What `checks.evaluator` says of the corpus, and of the fixtures of Pod Security."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from sandbox import apitypes
from securetenant.checks.check import CheckSet
from securetenant.checks.decoding import Malformed
from securetenant.checks.evaluator import Evaluator
from securetenant.checks.server_form import judged, target_of
from securetenant.checks.targets import PODS, WORKLOADS, Target
from securetenant.controls.registry import CHECKS
from securetenant.controls.runtime.podsecurity import BASELINE_CAPABILITIES, RESTRICTED_CAPABILITIES, VERSION
from tests.support import attacks
from tests.support.attacks import Case
from tests.support.world import NOW

_RUNTIME: Final = {"readOnlyRootFilesystem": False, "serviceAccountTokens": True}
#: The sections of a tenant that demands what the level of that name does, and nothing else.
LEVELS: Final[Mapping[str, Mapping[str, Any]]] = {
    level: {
        "images": None,
        "runtime": {**_RUNTIME, "podSecurity": level.title(), "addCapabilities": sorted(capabilities)},
    }
    for level, capabilities in (("baseline", BASELINE_CAPABILITIES), ("restricted", RESTRICTED_CAPABILITIES))
}


@functools.cache
def form(number: int) -> dict[str, Any] | Malformed:
    """The body of the case of this number in the form in which it is judged, or why it is not."""
    try:
        return judged(attacks.cases()[number].body, NOW)
    except Malformed as error:
        return error


class Judge:
    """Checks, compiled for pods and for what holds them."""

    def __init__(
        self, sets: Sequence[CheckSet] = CHECKS, make: Callable[[Target, Sequence[CheckSet]], Evaluator] = Evaluator
    ) -> None:
        self._by_target = {target: make(target, sets) for target in (PODS, WORKLOADS)}

    def fails(self, case: Case, body: dict[str, Any]) -> frozenset[str]:
        """The IDs of the checks that fail. `body`: as `form` gives it."""
        target = target_of(case.body)
        assert target is not None, case.name
        found = self._by_target[target].failures(body, case.annotations, "UPDATE" if case.is_running else "CREATE")
        return frozenset(failure.identifier for failure in found)

    def of(self, body: Mapping[str, Any], annotations: Mapping[str, str]) -> frozenset[str]:
        """The same for a manifest that is created."""
        target = target_of(body)
        assert target is not None, body
        found = self._by_target[target].failures(judged(body, NOW), annotations)
        return frozenset(failure.identifier for failure in found)


def fixtures() -> Iterator[tuple[str, str, bool, dict[str, Any]]]:
    """Level, name, whether it must pass, and the pod, of each fixture of the version that namespaces are pinned to.

    FileNotFoundError if Go's module cache has them not.
    """
    folder = apitypes.module("k8s.io/pod-security-admission") / "test" / "testdata"
    for level in LEVELS:
        for path in sorted((folder / level / VERSION).glob("*/*.yaml")):
            yield level, f"{level}-{path.parent.name}-{path.stem}", path.parent.name == "pass", _loaded(path)


def _loaded(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded
