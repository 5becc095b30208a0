"""What `checks.evaluator` says of the corpus, and of the fixtures of Pod Security."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from sandbox import apitypes
from securetenant.checks.check import CheckSet
from securetenant.checks.decoding import Malformed
from securetenant.checks.evaluator import Evaluator, Operation
from securetenant.checks.server_form import judged, target_of
from securetenant.checks.targets import POD_ANNOTATIONS, TARGETS, Target
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


_before: dict[str, dict[str, Any]] = {}


def before(case: Case) -> dict[str, Any] | None:
    """What stood before a case, in the same form; kept."""
    if case.before is None:
        return None
    if case.name not in _before:
        _before[case.name] = judged(case.before, NOW)
    return _before[case.name]


def _is_standing_pod(case: Case) -> bool:
    """Whether only the metadata of a pod changes."""
    return case.is_standing and case.body["kind"] == "Pod"


class Judge:
    """Checks, compiled for each target."""

    def __init__(
        self, sets: Sequence[CheckSet] = CHECKS, make: Callable[[Target, Sequence[CheckSet]], Evaluator] = Evaluator
    ) -> None:
        self._by_target = {target: make(target, sets) for target in TARGETS}

    def fails(self, case: Case, body: dict[str, Any]) -> frozenset[str]:
        """The IDs of the checks that fail. `body`: as `form` gives it."""
        target = POD_ANNOTATIONS if _is_standing_pod(case) else target_of(case.body)
        assert target is not None, case.name
        operation: Operation = "UPDATE" if case.is_change else "CREATE"
        found = self._by_target[target].failures(body, case.annotations, operation, before(case), case.user)
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
