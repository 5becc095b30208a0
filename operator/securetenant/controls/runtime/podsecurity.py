"""The Pod Security Standards as checks, at the version that the namespaces are pinned to.

The API server enforces them itself where nothing in the spec goes beyond the level. These are the same rules once more,
for `securetenant validate`, and for namespaces in which one part of the level is relaxed (a host path, an exemption):
Pod Security knows whole levels only. tests/checks runs the fixtures of k8s.io/pod-security-admission through them.

hostPath volumes, host ports and added capabilities are not here: `workloads` judges them by lists of the spec.
"""

import re
from typing import Final

from securetenant.checks.check import Check

VERSION: Final = "v1.37"

# Capabilities that may be added at each level.
BASELINE_CAPABILITIES: Final = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP"),
        *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
RESTRICTED_CAPABILITIES: Final = frozenset({"NET_BIND_SERVICE"})

_SYSCTLS: Final = (
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies"),
    *("net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
    *("net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"),
)
_VOLUMES: Final = (
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected"),
    "secret",
)

# What the checks share. `restricted`, `baseline`: whether the rules of that level hold.
VARIABLES: Final = {
    "restricted": "variables.podSecurity == []",
    "baseline": "!('Privileged' in variables.podSecurity)",
    "hostUsers": "variables.spec.?hostUsers.orValue(true)",
    "podContext": "variables.spec.?securityContext.orValue({})",
    # The pod's own security context first, then each container's, with the place of each.
    "contexts": "[{'at': dyn('pod'), 'context': dyn(variables.podContext)}] + variables.containers"
    ".map(c, {'at': dyn('container ' + c.name), 'context': dyn(c.?securityContext.orValue({}))})",
    # Each probe and lifecycle handler that may name a host.
    "handlers": "variables.containers.map(c, {'at': dyn('container ' + c.name), 'of': "
    "dyn([c.?livenessProbe.orValue({}), c.?readinessProbe.orValue({}), c.?startupProbe.orValue({}), "
    "c.?lifecycle.?postStart.orValue({}), c.?lifecycle.?preStop.orValue({})])})",
}


_CONTEXT: Final = re.compile(r"\bs\.")


def _containers(condition: str) -> str:
    """The containers `c` of which the condition is true."""
    return f"variables.containers.map(c, {condition}, 'container ' + c.name)"


def _contexts(condition: str) -> str:
    """The security contexts `s`, of pod and containers, of which the condition is true."""
    of_context = _CONTEXT.sub("x.context.", condition)
    return f"variables.contexts.map(x, {of_context}, x.at)"


def _at(level: str, found: str) -> str:
    return f"variables.{level} ? ({found}) : []"


CHECKS: Final = (
    Check(
        "privileged",
        _at("baseline", _containers("c.?securityContext.?privileged.orValue(false)")),
        "privileged containers own the node: remove securityContext.privileged",
        "Critical",
        ("CIS-1.12 5.2.2", "NSA-1.2 1.2", "MTB-PL1-BC-CPI-5"),
    ),
    Check(
        "hostNamespaces",
        _at(
            "baseline",
            "['hostNetwork', 'hostPID', 'hostIPC'].map(f, variables.spec[?f].orValue(false), 'spec.' + f)",
        ),
        "the namespaces of the host are not for tenants: remove the field",
        "Critical",
        ("CIS-1.12 5.2.3", "CIS-1.12 5.2.4", "CIS-1.12 5.2.5", "NSA-1.2 1.4", "NSA-1.2 1.5", "MTB-PL1-BC-HI-3"),
    ),
    Check(
        "hostProcess",
        _at("baseline", _contexts("s.?windowsOptions.?hostProcess.orValue(false)")),
        "a Windows host process owns the node: remove securityContext.windowsOptions.hostProcess",
        "Critical",
        ("CIS-1.12 5.2.10",),
    ),
    Check(
        "hostProbes",
        _at(
            "baseline",
            "variables.handlers.map(h, h.of.exists(p, p.?httpGet.?host.orValue('') != '' || "
            "p.?tcpSocket.?host.orValue('') != ''), h.at)",
        ),
        "a probe or lifecycle handler names a host, so that the kubelet reaches it from the node: remove host",
        "High",
    ),
    Check(
        "appArmor",
        _at(
            "baseline",
            _contexts("has(s.appArmorProfile) && !(s.appArmorProfile.type in ['RuntimeDefault', 'Localhost'])")
            + " + variables.podAnnotations.map(k, "
            "k.startsWith('container.apparmor.security.beta.kubernetes.io/') && "
            "variables.podAnnotations[k] != '' && variables.podAnnotations[k] != 'runtime/default' && "
            "!variables.podAnnotations[k].startsWith('localhost/'), 'annotation ' + k)",
        ),
        "the AppArmor profile must be RuntimeDefault or Localhost: set it, or remove it",
        "High",
    ),
    Check(
        "seLinux",
        _at(
            "baseline",
            _contexts(
                "has(s.seLinuxOptions) && (!(s.seLinuxOptions.?type.orValue('') in "
                "['', 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t']) || "
                "s.seLinuxOptions.?user.orValue('') != '' || s.seLinuxOptions.?role.orValue('') != '')"
            ),
        ),
        "seLinuxOptions must have no user, no role, and a type of containers (container_t): remove the others",
        "High",
    ),
    Check(
        "procMount",
        _at(
            "baseline",
            "!variables.restricted && !variables.hostUsers ? [] : "
            + _containers("c.?securityContext.?procMount.orValue('Default') != 'Default'"),
        ),
        "procMount must be Default: remove it",
        "High",
    ),
    Check(
        "seccomp",
        _at(
            "baseline",
            # Pod Security takes a profile without a name; kubelets once ran it unconfined (CVE-2023-2431).
            _contexts(
                "has(s.seccompProfile) && s.seccompProfile.type != 'RuntimeDefault' && "
                "(s.seccompProfile.type != 'Localhost' || s.seccompProfile.?localhostProfile.orValue('') == '')"
            )
            + " + (variables.restricted && !variables.windows && !has(variables.podContext.seccompProfile) ? "
            + _containers("!has(c.securityContext) || !has(c.securityContext.seccompProfile)")
            + " : [])",
        ),
        "securityContext.seccompProfile.type must be RuntimeDefault or Localhost: set it for the pod or each container",
        "High",
        ("CIS-1.12 5.6.2", "NSA-1.2 1.10"),
    ),
    Check(
        "sysctls",
        _at(
            "baseline",
            f"variables.podContext.?sysctls.orValue([]).map(s, !(s.name in {list(_SYSCTLS)}), s.name)",
        ),
        "the sysctl may reach beyond the pod: remove it",
        "High",
    ),
    Check(
        "volumeTypes",
        # hostPath is judged by spec.runtime.hostPaths.
        _at(
            "restricted",
            "variables.volumes.map(v, !has(v.hostPath) && !"
            f"{list(_VOLUMES)}.exists(t, t in v), 'volume ' + v.name)",
        ),
        f"the volume must be one of {', '.join(_VOLUMES)}: use a PersistentVolumeClaim for others",
        "Medium",
    ),
    Check(
        "privilegeEscalation",
        _at("restricted", "variables.windows ? [] : "
            + _containers("c.?securityContext.?allowPrivilegeEscalation.orValue(true)")),
        "privileges may grow through setuid programs: set securityContext.allowPrivilegeEscalation to false",
        "High",
        ("CIS-1.12 5.2.6", "NSA-1.2 1.7", "MTB-PL1-BC-CPI-6"),
    ),
    Check(
        "runAsNonRoot",
        _at(
            "restricted",
            "!variables.hostUsers ? [] : (variables.podContext.?runAsNonRoot.orValue(true) ? [] : ['pod']) + "
            + _containers(
                "!c.?securityContext.?runAsNonRoot.orValue(variables.podContext.?runAsNonRoot.orValue(false))"
            ),
        ),
        "the container may run as root: set securityContext.runAsNonRoot to true, for the pod or each container",
        "High",
        ("CIS-1.12 5.2.7", "NSA-1.2 1.0", "MTB-PL1-BC-CPI-4"),
    ),
    Check(
        "runAsUser",
        _at("restricted", "!variables.hostUsers ? [] : " + _contexts("s.?runAsUser.orValue(1) == 0")),
        "user 0 is root: set securityContext.runAsUser to another one, or remove it",
        "High",
        ("CIS-1.12 5.2.7",),
    ),
    Check(
        "dropCapabilities",
        _at(
            "restricted",
            "variables.windows ? [] : "
            + _containers("!c.?securityContext.?capabilities.?drop.orValue([]).exists(d, d == 'ALL')"),
        ),
        'the container keeps the runtime\'s default capabilities: set securityContext.capabilities.drop to ["ALL"]',
        "Medium",
        ("CIS-1.12 5.2.8", "CIS-1.12 5.2.9"),
    ),
)  # fmt: skip

# Those of the level Restricted alone: what breaks only them, the level Baseline admits.
RESTRICTED_ONLY: Final = frozenset(check.name for check in CHECKS if check.found.startswith("variables.restricted ?"))
