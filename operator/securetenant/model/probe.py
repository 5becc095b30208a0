"""What the operator tries in the cluster because it can be found out in no other way: dry-run requests, which change
nothing."""

from dataclasses import dataclass
from typing import NamedTuple

from securetenant.model.kinds import Kind
from securetenant.model.objects import Json


class Trial(NamedTuple):
    """The creation of an object, as a dry run. `name`: tells the trials of a control apart."""

    name: str
    kind: Kind
    namespace: str
    body: Json


class Answer(NamedTuple):
    """What the API server answered to a trial. `status`: the HTTP status; 0 without an answer. `message`: why it was
    refused. `warnings`: the texts of its Warning headers, in their order."""

    trial: str
    status: int
    message: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probed:
    """The answers to a control's trials. `user`: who asked; "" if that is not known. `changed`: something that the
    answers rest on changed since, so that they do not count until the trials were repeated."""

    answers: tuple[Answer, ...] = ()
    user: str = ""
    changed: bool = False
