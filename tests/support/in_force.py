"""Admission as the operator's probe finds it, for tests of the pure core: the answers of an API server in which some of
our bindings act."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from securetenant.controls.admission import probes
from securetenant.controls.admission.shipped import Shipped, shipped
from securetenant.controls.admission.standing import Comparison
from securetenant.controls.lookup import NAMED
from securetenant.controls.registry import CHECKS
from securetenant.model.kinds import MUTATING_BINDING, NETWORK_POLICY
from securetenant.model.probe import Answer, Probed, Trial
from tests.support.world import StaticWorld

SHIPS: Final = shipped(CHECKS)
BASE: Final = tuple(one for one in SHIPS if not one.is_optional)
INJECTION: Final = tuple(one for one in SHIPS if one.is_optional)
COMPARISON: Final = Comparison(SHIPS)
NAME: Final = NAMED["admission"].name
USER: Final = "system:serviceaccount:securetenant-system:securetenant"


def answers(
    acting: Iterable[Shipped] = BASE, version: Callable[[Shipped], str] = lambda one: one.version
) -> tuple[Answer, ...]:
    """As kube-apiserver 1.37.2 answers, word for word."""
    bindings = [one for one in acting if not one.is_policy]
    return tuple(_answer(trial, bindings, version) for trial in probes.trials(StaticWorld(), SHIPS))


def _answer(trial: Trial, bindings: list[Shipped], version: Callable[[Shipped], str]) -> Answer:
    here = [one for one in bindings if probes.is_of(trial, one) and _selects(one, trial)]
    injected = [version(one) for one in here if one.ref.kind is MUTATING_BINDING]
    tail = f", injected {injected[0]}" if injected else ""
    texts = {
        one: f"ValidatingAdmissionPolicy '{one.policy}' with binding '{one.ref.name}'{{}}: "
        f"probe: {one.policy} {version(one)} is in force{tail}"
        for one in here
        if one.ref.kind is not MUTATING_BINDING
    }
    warnings = tuple(f"Validation failed for {text.format('')}" for one, text in texts.items() if "Warn" in one.actions)
    denied = [text.format(" denied request") for one, text in texts.items() if "Deny" in one.actions]
    subject = f'{trial.kind.plural} "{probes.NAME}" is forbidden: '
    if denied:
        return Answer(trial.name, 403, subject + denied[0], warnings)
    if trial.kind is probes.BINDING:
        return Answer(trial.name, 404, f'pods "{probes.NAME}" not found', warnings)
    if trial.namespace and trial.kind is not NETWORK_POLICY:
        quota = "exceeded quota: nothing, requested: pods=1, used: pods=0, limited: pods=0"
        return Answer(trial.name, 403, subject + quota, warnings)
    return Answer(trial.name, 201, "", warnings)


def _selects(one: Shipped, trial: Trial) -> bool:
    resources: Any = one.spec.get("matchResources")
    if not isinstance(resources, dict) or not trial.namespace:
        return True
    mode = "Deny" if trial.namespace.endswith("deny") else "Warn"
    (wanted,) = resources["namespaceSelector"]["matchExpressions"]
    return wanted["operator"] == "Exists" or mode in wanted["values"]


def probed(given: Iterable[Answer] | None = None, *, user: str = USER, changed: bool = False) -> Probed:
    return Probed(answers() if given is None else tuple(given), user, changed)
