"""The parameters of a control's checks on the tenant's namespaces, where the admission policies read them."""

from collections.abc import Iterable, Iterator, Mapping

from securetenant.api.tenant import SecureTenant
from securetenant.checks.check import CheckSet, encoded
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Ref


def on_namespaces(
    checks: CheckSet, tenant: SecureTenant, held: Iterable[str], labels: Mapping[str, str] | None = None
) -> Iterator[Desired]:
    """The control's part of each namespace: its annotation, and these labels."""
    for namespace in held:
        yield Desired(
            Ref(NAMESPACE, "", namespace),
            checks.control,
            labels=labels or {},
            annotations={checks.annotation: encoded(checks, tenant, namespace)},
        )
