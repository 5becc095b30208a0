"""The CEL variables around the checks: those of the target, the parameters on the namespace, what is exempted.

A namespace without parameters, or with some in a format that is not known, gets empty lists: the strictest values.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from securetenant.checks.check import FORMATS, Check, CheckSet
from securetenant.checks.targets import PODS, Target
from securetenant.model import names

# How an expression names a variable.
VARIABLE: Final = re.compile(r"\bvariables\.([A-Za-z]+)")
EXEMPTIONS: Final = f"{names.GROUP}/exemptions"


_TIME: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"


def judging(target: Target, sets: Iterable[CheckSet]) -> list[tuple[CheckSet, Check]]:
    """The checks that objects of a target are judged by, each with its control's."""
    return [(one, check) for one in sets for check in one.checks if check.target == target.checked_as]


def variables(target: Target, sets: Sequence[CheckSet]) -> dict[str, str]:
    """Those that the checks of a target use, by name, in the order in which they must be evaluated."""
    made = {"annotations": "namespaceObject.metadata.?annotations.orValue({})", **target.variables}
    made["exempted"] = _exempted()
    for checks in sets:
        for name, cel in _of(checks).items():
            if name in made:
                raise ValueError(f"the variable {name} is defined twice, the second time by control {checks.control}")
            made[name] = cel
    return _used(made, (check.found for _, check in judging(target, sets)))


def of_injections(sets: Sequence[CheckSet]) -> dict[str, str]:
    """The variables of the policy that injects into pods: the parameters, and which checks a pod may be exempted from.
    That policy does not see when a pod is created, so an exemption that has ended stops the injection until the
    operator takes it away; the check itself is in force again at its end."""
    every = variables(PODS, sets) | {"exempted": _exempted(until="true")}
    return _used(every, (injection.patches for checks in sets for injection in checks.injections))


def _used(every: Mapping[str, str], texts: Iterable[str]) -> dict[str, str]:
    """What is exempted, and what these texts need."""
    used = {"exempted"} | {name for text in texts for name in VARIABLE.findall(text)}
    while more := {name for each in used for name in VARIABLE.findall(every[each])} - used:
        used |= more
    return {name: text for name, text in every.items() if name in used}


def _of(checks: CheckSet) -> Mapping[str, str]:
    """The variables of one control: its parameters, and its own."""
    return {**parameters(checks), **checks.variables}


def parameters(checks: CheckSet) -> dict[str, str]:
    """The variables of a control's annotation and of each parameter in it, read from the variable `annotations`.

    An annotation in a known format becomes ";a=1,2;b=3;", all others "". A parameter that is not there costs one look:
    a list that is filtered for each would cost more than the checks.
    """
    raw = f"{checks.control}Parameters"
    text = f"variables.annotations[?'{checks.annotation}'].orValue('')"
    known = " || ".join(f"{text}.startsWith('{one};')" for one in FORMATS)
    made = {raw: f"{known} ? {text}.substring({text}.indexOf(';')) + ';' : ''"} if checks.parameters else {}
    for parameter in checks.parameters:
        start = f"';{parameter.name}='"
        made[parameter.name] = (
            f"variables.{raw}.contains({start}) ? variables.{raw}.split({start})[1].split(';')[0]"
            ".split(',').filter(e, e != '') : []"
        )
    return made


def _exempted(until: str = "string(object.metadata.?creationTimestamp.orValue('9')) < e.split('|')[1]") -> str:
    """The IDs of the checks that do not hold for this request, from "v1;runtime/hostPorts|<until>|app=web,tier=x;...".

    It ends by the API server's own clock: on CREATE the server has set creationTimestamp, in the form in which the end
    is written, so that texts compare as times do and nothing can fail. Never on UPDATE, where that time is the old one.
    """
    known = ", ".join(f"'{one}'" for one in FORMATS)
    entries = f"variables.annotations[?'{EXEMPTIONS}'].orValue('').split(';')"
    labels = (
        "e.split('|')[2].split(',').all(l, l == '' || "
        "(l.split('=')[0] in variables.labels && variables.labels[l.split('=')[0]] == l.split('=')[1]))"
    )
    return (
        f"request.operation == 'CREATE' && {entries}[0] in [{known}] ? {entries}"
        f".filter(e, e.matches('^[a-z]+/[A-Za-z]+[|]{_TIME}[|]([^|=,;]+=[^|=,;]*(,[^|=,;]+=[^|=,;]*)*)?$') && "
        f"{until} && {labels})"
        f".map(e, e.split('|')[0]) : []"
    )
