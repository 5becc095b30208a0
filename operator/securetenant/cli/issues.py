"""What `validate` has to say about a document, and where."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from securetenant.cli.output import printable

Level: TypeAlias = Literal["error", "warning", "note"]


# Rules beside the checks: a document that cannot be read or is not sound; a workload that the API server would refuse
# to decode; one whose rules are not known.
DOCUMENT: Final = "document"
MALFORMED: Final = "malformed"
NOT_JUDGED: Final = "notJudged"


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong, or that is only noted.

    `document`: the line of the document, `line`: that of the field. `rule`: what it breaks: a check by its ID
    ("runtime/privileged"), or one of those above. `tenant`: the tenant that the document is, or is judged for.
    `exempted_until`: the end of the exemption, for a check that is broken and exempted.
    """

    file: str
    line: int
    document: int
    kind: str
    name: str
    path: str
    message: str
    severity: Level = "error"
    rule: str = DOCUMENT
    namespace: str = ""
    tenant: str = ""
    exempted_until: str = ""

    @property
    def title(self) -> str:
        """What the document is called: a tenant by its name, a workload with its kind."""
        return self.name if self.rule == DOCUMENT else f"{self.kind} {self.name}".strip()


def located(issue: Issue) -> str:
    """One line: file:line: name: field: message (rule)."""
    parts = [f"{issue.file}:{issue.line}", issue.title, issue.path, issue.message]
    rule = f" ({issue.rule})" if "/" in issue.rule else ""
    return printable(": ".join(part for part in parts if part) + rule)
