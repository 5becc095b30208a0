"""The runtime checks that the Pod Security Standards do not have, and their parameters from `spec.runtime`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from securetenant.api.workloads import Runtime
from securetenant.checks.check import Check, CheckSet, Parameter
from securetenant.controls.runtime import podsecurity

NAME: Final = "runtime"


def _parameter(name: str, values: Callable[[Runtime], Iterable[str]]) -> Parameter:
    return Parameter(name, lambda tenant, namespace: values(tenant.spec.runtime))


def _classes(runtime: Runtime) -> Iterator[str]:
    yield from runtime.runtime_classes or ("*",)


# An empty list is the strictest value of each.
PARAMETERS: Final = (
    _parameter("podSecurity", lambda r: () if r.pod_security == "Restricted" else (r.pod_security,)),
    _parameter("writableRootFilesystem", lambda r: () if r.read_only_root_filesystem else ("allowed",)),
    _parameter("hostPaths", lambda r: (f"{p.path}:{'ro' if p.read_only else 'rw'}" for p in r.host_paths)),
    _parameter("hostPorts", lambda r: map(str, r.host_ports)),
    _parameter("addCapabilities", lambda r: r.add_capabilities),
    _parameter("serviceAccountTokens", lambda r: ("allowed",) if r.service_account_tokens else ()),
    _parameter("runtimeClasses", _classes),
    _parameter("priorityClasses", lambda r: r.priority_classes),
    _parameter("blockingBudgets", lambda r: () if r.evictable else ("allowed",)),
)

# Each entry of spec.runtime.hostPaths: what the paths that it covers begin with, and its mode ("ro", "rw"). A path is
# compared at its boundaries: with a "/" behind both. What has no mode is no entry.
_ALLOWED_PATHS: Final = (
    "variables.hostPaths.map(a, a.contains(':'), {'mode': a.split(':')[1], "
    "'start': a.split(':')[0] == '/' ? '/' : a.split(':')[0] + '/'})"
)
# The hostPath volumes, each with the entries that cover it, and their modes.
_HOST_VOLUMES: Final = (
    "variables.volumes.map(v, has(v.hostPath), {'name': dyn(v.name), "
    "'path': dyn(v.hostPath.?path.orValue('')), 'covering': dyn(variables.allowedPaths.filter(a, "
    "(v.hostPath.?path.orValue('') + '/').startsWith(a.start)))})"
    ".map(v, {'name': v.name, 'path': v.path, 'covering': v.covering, 'modes': dyn(v.covering.map(a, a.mode))})"
)
# Those below a directory that pods may write to: one of them may have put a symbolic link there, to any directory, and
# the container runtime follows it before it mounts. Where "/" is to be written to, that reaches nothing new.
_BELOW_WRITABLE: Final = (
    "v.covering.exists(a, a.mode == 'rw' && a.start != '/' && v.path != a.start && v.path + '/' != a.start)"
)
# For each container the volumes that it mounts by a part of them, or writable: each mount is looked at once.
_PARTLY: Final = "m.?subPath.orValue('') != '' || m.?subPathExpr.orValue('') != ''"
_MOUNTED: Final = "variables.containers.map(c, c.?volumeMounts.orValue([]).map(m, {}, m.name))"

CHECKS: Final = CheckSet(
    control=NAME,
    parameters=PARAMETERS,
    variables={
        **podsecurity.VARIABLES,
        "allowedPaths": _ALLOWED_PATHS,
        "hostVolumes": _HOST_VOLUMES,
        "mountedPartly": _MOUNTED.format(_PARTLY),
        "mountedWritable": _MOUNTED.format("!m.?readOnly.orValue(false)"),
    },
    checks=(
        *podsecurity.CHECKS,
        Check(
            "readOnlyRootFilesystem",
            "variables.writableRootFilesystem.size() > 0 || variables.windows ? [] : "
            "variables.containers.map(c, !c.?securityContext.?readOnlyRootFilesystem.orValue(false), "
            "'container ' + c.name)",
            "the root filesystem is writable: set securityContext.readOnlyRootFilesystem to true, and mount an "
            "emptyDir where the program writes",
            "Medium",
            ("NSA-1.2 1.1",),
        ),
        Check(
            "hostPaths",
            # The node would resolve "..", "." and "//".
            "variables.hostVolumes.map(v, v.modes.size() == 0 || v.path.matches('(^|/)[.]{1,2}(/|$)|//'), "
            "'volume ' + v.name + ' (' + v.path + ')')",
            "the directory of the node is none of spec.runtime.hostPaths of the SecureTenant: use another volume",
            "Critical",
            ("CIS-1.12 5.2.11", "MTB-PL1-BC-HI-1"),
        ),
        Check(
            "hostPathMounts",
            # subPath follows symbolic links that a container may have put there (CVE-2017-1002101, CVE-2021-25741).
            "variables.hostVolumes.map(v, variables.mountedPartly.exists(l, v.name in l) || "
            f"{_BELOW_WRITABLE} || "
            "(!('rw' in v.modes) && variables.mountedWritable.exists(l, v.name in l)), 'volume ' + v.name)",
            "a mount of a directory of the node must have no subPath, be readOnly unless the SecureTenant allows "
            "writing, and not lie below one that it allows writing to: set readOnly to true, and mount the directory "
            "itself",
            "High",
        ),
        Check(
            "hostPorts",
            "variables.containers.map(c, c.?ports.orValue([]).exists(p, p.?hostPort.orValue(0) != 0 && "
            "!(string(p.hostPort) in variables.hostPorts)), 'container ' + c.name)",
            "the port of the node is none of spec.runtime.hostPorts of the SecureTenant: remove hostPort, "
            "use a Service",
            "High",
            ("CIS-1.12 5.2.12", "MTB-PL1-BC-HI-3"),
        ),
        Check(
            "addCapabilities",
            "variables.containers.map(c, c.?securityContext.?capabilities.?add.orValue([])"
            ".exists(a, !(a in variables.addCapabilities)), 'container ' + c.name)",
            "a capability is added that is none of spec.runtime.addCapabilities of the SecureTenant: remove it",
            "High",
            ("CIS-1.12 5.2.8", "CIS-1.12 5.2.9", "MTB-PL1-BC-CPI-3"),
        ),
        Check(
            "serviceAccountTokens",
            "variables.serviceAccountTokens.size() > 0 ? [] : "
            "(variables.spec.?automountServiceAccountToken.orValue(true) ? ['spec.automountServiceAccountToken'] : [])"
            # A certificate of the pod names its ServiceAccount as well (KEP-4317).
            " + variables.volumes.map(v, v.?projected.?sources.orValue([]).exists(s, has(s.serviceAccountToken) || "
            "has(s.podCertificate)), 'volume ' + v.name)",
            "pods of this tenant may hold no token or certificate of their ServiceAccount: set "
            "automountServiceAccountToken to false, and remove the volume",
            "Medium",
            ("CIS-1.12 5.1.6", "NSA-1.2 1.11"),
        ),
        Check(
            "runtimeClasses",
            "variables.runtimeClasses == ['*'] || variables.spec.?runtimeClassName.orValue('') in "
            "(variables.runtimeClasses.size() > 0 ? variables.runtimeClasses : ['']) ? [] : ['spec.runtimeClassName']",
            "the pod must run with one of spec.runtime.runtimeClasses of the SecureTenant: set runtimeClassName to it",
            "High",
        ),
        Check(
            "priorityClasses",
            "variables.spec.?priorityClassName.orValue('') in variables.priorityClasses + [''] ? [] : "
            "['spec.priorityClassName']",
            "the priority class is none of spec.runtime.priorityClasses of the SecureTenant, so the pod might displace "
            "others: remove priorityClassName",
            "High",
            exemptible=False,
        ),
        Check(
            "nodeName",
            "variables.creating && has(variables.spec.nodeName) ? ['spec.nodeName'] : []",
            "spec.nodeName passes the scheduler by, and with it taints and quotas of nodes: use nodeSelector",
            "High",
            exemptible=False,
            at_creation=True,
        ),
        Check(
            "disruptionBudget",
            # With neither field no eviction is allowed at all. Percentages may have zeros before them.
            "variables.blockingBudgets.size() > 0 ? [] : "
            "(has(object.spec.maxUnavailable) ? (string(object.spec.maxUnavailable).matches('^0+%?$') "
            "? ['spec.maxUnavailable'] : []) : "
            "has(object.spec.minAvailable) ? (string(object.spec.minAvailable).endsWith('100%') "
            "? ['spec.minAvailable'] : []) : ['spec.maxUnavailable'])",
            "the budget allows no eviction, so no node with one of its pods can be drained: set maxUnavailable to 1 or "
            "more",
            "Medium",
            target="budgets",
        ),
    ),
)  # fmt: skip
