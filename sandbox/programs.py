"""The five programs of an instance and how each is started. Pure: nothing here runs or opens anything."""

from dataclasses import dataclass
from pathlib import Path

#: In the order of starting. Stopping goes the other way round: clients, the API server, then etcd.
ORDER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
CLIENTS = ("kwok", "kube-scheduler", "kube-controller-manager")

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{{level: {level}}}]
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of one instance on 127.0.0.1."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int
    kwok: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of one instance are."""

    folder: Path

    @property
    def etcd_data(self) -> Path:
        return self.folder / "etcd"

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def ca_file(self) -> Path:
        """The API server's own certificate with the authority that signed it, which it makes on its first start."""
        return self.certificates / "apiserver.crt"

    @property
    def service_account_key(self) -> Path:
        return self.folder / "service-account.key"

    @property
    def token_file(self) -> Path:
        return self.folder / "tokens.csv"

    @property
    def audit_policy(self) -> Path:
        return self.folder / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    def log(self, program: str) -> Path:
        return self.folder / "logs" / f"{program}.log"

    def kubeconfig(self, user: str = "admin") -> Path:
        """The administrator's file is ``kubeconfig``; a program's has its user's name."""
        return self.folder / ("kubeconfig" if user == "admin" else f"{user.removeprefix('system:')}.kubeconfig")


def command(
    program: str, assets: Path, layout: Layout, ports: Ports, *, audit: bool, one_account: bool = False
) -> list[str]:
    """The command line of ``program`` (one of :data:`ORDER`), whose binary is in ``assets``.

    ``one_account``: all controllers of kube-controller-manager write as ``system:kube-controller-manager``.
    """
    arguments = {
        "etcd": _etcd,
        "kube-apiserver": _apiserver,
        "kube-controller-manager": _controller_manager,
        "kube-scheduler": _scheduler,
        "kwok": _kwok,
    }[program](assets, layout, ports)
    if program == "kube-controller-manager":
        arguments += [f"--use-service-account-credentials={str(not one_account).lower()}"]
    if audit and program == "kube-apiserver":
        # Blocking (the default mode): what was answered is in the log, so that a test may read it at once.
        arguments += [f"--audit-policy-file={layout.audit_policy}", f"--audit-log-path={layout.audit_log}"]
        arguments += ["--audit-log-maxsize=100000"]  # MB: never rotated, so that an offset into it stays good
    return [str(assets / program), *arguments]


def _etcd(_assets: Path, layout: Layout, ports: Ports) -> list[str]:
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        "--name=sandbox",
        f"--data-dir={layout.etcd_data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=sandbox={peer}",
        "--unsafe-no-fsync",  # the data is thrown away
        "--watch-progress-notify-interval=5s",  # as kubeadm does: without it quiet kinds get no bookmarks
        "--quota-backend-bytes=4294967296",
        "--log-level=warn",
    ]


def _apiserver(_assets: Path, layout: Layout, ports: Ports) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.apiserver}",
        # Endpoints may not be loopback addresses: with this one of the documentation range (RFC 5737) the Service
        # `kubernetes` has endpoints as on a real cluster, and a machine without any network is no obstacle.
        "--advertise-address=192.0.2.10",
        f"--cert-dir={layout.certificates}",
        f"--token-auth-file={layout.token_file}",
        f"--service-account-key-file={layout.service_account_key}",
        f"--service-account-signing-key-file={layout.service_account_key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        # Priority and fairness stays on, as on a real cluster. It shares out the sum of these two among its levels;
        # at the defaults (400 + 200) a benchmark's writers could wait on their level's seats instead of on the
        # server, and the figures would be the server's throttle.
        "--max-requests-inflight=2000",
        "--max-mutating-requests-inflight=1000",
        # Claims whose data is another namespace's: without it the API server drops the field before any policy.
        "--feature-gates=CrossNamespaceVolumeDataSource=true",
    ]


def _controller_manager(_assets: Path, layout: Layout, ports: Ports) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig('system:kube-controller-manager')}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.controller_manager}",
        f"--service-account-private-key-file={layout.service_account_key}",
        f"--root-ca-file={layout.ca_file}",
        "--leader-elect=false",
        # Namespaces with many objects go in seconds; the default is 20 requests a second.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def _scheduler(_assets: Path, layout: Layout, ports: Ports) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig('system:kube-scheduler')}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.scheduler}",
        "--leader-elect=false",
    ]


def _kwok(assets: Path, layout: Layout, ports: Ports) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig('kwok')}",
        f"--config={assets / 'kwok-stages.yaml'}",
        "--manage-all-nodes",
        "--node-lease-duration-seconds=40",
        "--cidr=10.244.0.0/16",
        "--node-ip=192.0.2.1",
        f"--server-address=127.0.0.1:{ports.kwok}",
    ]
