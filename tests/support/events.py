"""What Events are told of in tests, and where they go instead of to an API server."""

from dataclasses import dataclass, field
from typing import Any

from securetenant.telemetry.events import Events, Subject, tenant_subject

PATH = "/api/v1/namespaces/default/events"
PAYMENTS = tenant_subject("payments", "uid-1")
LEDGER = tenant_subject("ledger", "uid-2")
POLICY = "NetworkPolicy payments-prod/securetenant-default-deny"


@dataclass
class Clock:
    """Stands still unless it is moved. `looked`: how often it was looked at."""

    now: float = 1_800_000_000.0
    looked: int = 0

    def __call__(self) -> float:
        self.looked += 1
        return self.now


@dataclass
class Sink:
    """Where events are sent to; fails as long as `failures` last."""

    sent: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    failures: int = 0

    async def __call__(self, method: str, path: str, body: dict[str, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("connection refused")
        self.sent.append((method, path, body))

    def take(self) -> list[tuple[str, str, dict[str, Any]]]:
        taken, self.sent = self.sent, []
        return taken


def drift(told: Events, subject: Subject = PAYMENTS, object_: str = POLICY, message: str = "deleted") -> None:
    told.emit(subject, "Warning", "DriftDetected", message, control="network", object_=object_)


def rolled(told: Events, subject: Subject = PAYMENTS, object_: str = "") -> None:
    told.emit(subject, "Normal", "RolledOut", "3 objects", object_=object_, trails=True)
