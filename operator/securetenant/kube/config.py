"""Where the API server is and who we are to it: kubeconfig or in-cluster, with credentials that renew themselves.

The `kubernetes` package's own loader reads the configuration (several files in KUBECONFIG, contexts, client
certificates, exec plug-ins, auth providers), but for the plain ones (plain.py). Of its two loaders the synchronous one
is used: it costs 0.2 s and 20 MB beside aiohttp, against 0.35 s and 21 MB for `kubernetes.aio.config`. It is imported
when a configuration is loaded, and runs in a thread, because an exec plug-in may take seconds.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from securetenant.kube import plain

log = logging.getLogger(__name__)

# Seconds between checks of a token file, a rotated certificate or a plug-in's expiry; client-go uses one minute too.
REFRESH_SECONDS: Final = 60.0
# After a 401 credentials are renewed at once, but not more often than this (seconds).
RENEW_SECONDS: Final = 5.0


class ConfigError(Exception):
    """The configuration cannot be used; the message says which and why."""


@dataclass(slots=True)
class ClientConfig:
    """An API server and our credentials for it.

    `tls` is one context for the life of the process: renewed certificates are loaded into it, so that new connections
    use them. `tls_server_name` and `proxy` are "" unless the kubeconfig sets them. `certificates` is a digest of the
    certificate files; `generation` counts the changes of the credentials. `refresh_seconds`, `renew_seconds`: as the
    constants.
    """

    server: str
    tls: ssl.SSLContext | None
    tls_server_name: str
    proxy: str
    source: str
    context: str
    certificates: str
    _authorization: str
    _reload: Callable[[bool], SimpleNamespace]
    _loaded: float
    generation: int = 0
    refresh_seconds: float = REFRESH_SECONDS
    renew_seconds: float = RENEW_SECONDS
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def authorization(self) -> str:
        """The Authorization header's value, "" if none; refreshed after `refresh_seconds`."""
        if self._is_older(self.refresh_seconds):
            async with self._lock:
                if self._is_older(self.refresh_seconds):  # else another request did it while this one waited
                    await self._refresh(force=False)
        return self._authorization

    async def renew(self, generation: int) -> bool:
        """After a 401 to credentials of this generation: get new ones, whatever the old one's expiry says.

        Returns whether they changed, so that a retry may help.
        """
        async with self._lock:
            if self.generation == generation and self._is_older(self.renew_seconds):
                await self._refresh(force=True)
        return self.generation != generation

    async def credentials(self, refused: int | None = None) -> tuple[str, int]:
        """The Authorization header's value and its generation, for a client that keeps them until they are refused:
        then they are renewed first. `refused`: the generation that was answered with 401."""
        if refused is not None:
            await self.renew(refused)
        authorization = await self.authorization()
        return authorization, self.generation

    def _is_older(self, seconds: float) -> bool:
        return time.monotonic() - self._loaded > seconds

    async def _refresh(self, *, force: bool) -> None:
        self._loaded = time.monotonic()
        try:
            self._take(await asyncio.to_thread(self._reload, force))
        except (OSError, ConfigError) as error:
            # The old credentials may still be valid; if not, the request is answered with 401.
            log.warning("credentials from %s not refreshed: %s", self.source, error)

    def _take(self, loaded: SimpleNamespace) -> None:
        authorization = _authorization(loaded)
        certificates = _certificates(loaded) if self.tls is not None else ""
        if self.tls is not None and certificates != self.certificates:
            _load_certificates(self.tls, loaded)
        self.generation += (authorization, certificates) != (self._authorization, self.certificates)
        self._authorization, self.certificates = authorization, certificates


async def load(kubeconfig: str | None = None, context: str | None = None) -> ClientConfig:
    """The configuration from `kubeconfig` (one path, or several joined like KUBECONFIG), else from $KUBECONFIG,
    else of the pod we run in, else from ~/.kube/config. Raises ConfigError."""
    paths = kubeconfig or os.environ.get("KUBECONFIG", "")
    if not paths and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        source, reload = "the pod's service account", _in_cluster()
    else:
        source = paths or str(Path.home() / ".kube" / "config")
        reload = _from_kubeconfig(source, context)
    loaded = await asyncio.to_thread(reload, True)
    return _client_config(loaded, reload, source)


def _client_config(loaded: SimpleNamespace, reload: Callable[[bool], SimpleNamespace], source: str) -> ClientConfig:
    if not loaded.host:
        raise ConfigError(f"{source}: the cluster has no server address")
    tls = _tls(loaded, source) if loaded.host.startswith("https") else None
    return ClientConfig(
        server=loaded.host,
        tls=tls,
        tls_server_name=loaded.tls_server_name or "",
        proxy=loaded.proxy or "",
        source=source,
        context=loaded.context,
        certificates=_certificates(loaded) if tls is not None else "",
        _authorization=_authorization(loaded),
        _reload=reload,
        _loaded=time.monotonic(),
    )


def _blank() -> SimpleNamespace:
    """The object that the loaders fill. Not their own Configuration, which takes a proxy from the environment."""
    return SimpleNamespace(
        host="",
        api_key={},
        ssl_ca_cert=None,
        ssl_ca_data=None,
        cert_file=None,
        key_file=None,
        verify_ssl=True,
        tls_server_name=None,
        proxy=None,
        refresh_api_key_hook=None,
        context="",
    )


def _in_cluster() -> Callable[[bool], SimpleNamespace]:
    def reload(_force: bool) -> SimpleNamespace:
        loaded = _blank()
        try:
            plain.in_cluster(loaded)
        except (OSError, ValueError) as error:
            raise ConfigError(f"in-cluster configuration: {error}") from error
        return loaded

    return reload


def _from_kubeconfig(paths: str, context: str | None) -> Callable[[bool], SimpleNamespace]:
    """A function that reloads the kubeconfig.

    Plug-ins and auth providers run again only when their answer expires or when forced (after a 401): the refresh hook
    of the last load does that. Everything else (a token file, certificates, an edited kubeconfig) is read again.
    """
    last: SimpleNamespace | None = None

    def reload(force: bool) -> SimpleNamespace:
        nonlocal last
        kept = last
        with _loader_errors(paths):
            if kept is None or force or not kept.is_plugin:
                last = _load_kubeconfig(paths, context)
                return last
            if kept.refresh_api_key_hook is not None:
                kept.refresh_api_key_hook(kept)
            return kept

    return reload


@contextlib.contextmanager
def _loader_errors(paths: str) -> Iterator[None]:
    """Turns the loader's errors, of many types for a malformed file, into ConfigError."""
    import yaml

    try:
        yield
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"kubeconfig {paths}: {error or type(error).__name__}") from error
    except OSError as error:
        raise ConfigError(f"kubeconfig {paths}: cannot be read: {error.strerror or error}") from error


def _load_kubeconfig(paths: str, context: str | None) -> SimpleNamespace:
    loaded = _blank()
    if plain.kubeconfig(paths, context, loaded):
        return loaded
    from kubernetes.config import ConfigException

    try:
        return _loaded_by_library(paths, context)
    except ConfigException as error:
        raise ConfigError(f"kubeconfig {paths}: {error}") from error


def _loaded_by_library(paths: str, context: str | None) -> SimpleNamespace:
    from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

    merged: Any = KubeConfigMerger(paths).config  # type: ignore[no-untyped-call]
    if merged is None:
        raise ConfigError(f"kubeconfig not found: {paths}")
    loader: Any = KubeConfigLoader(  # type: ignore[no-untyped-call]
        config_dict=merged, active_context=context, config_base_path=None
    )
    loaded = _blank()
    loader.load_and_set(loaded)
    current = loader.current_context
    loaded.context = current["name"]
    user = merged["users"].get_with_name(current["context"].get("user", ""), safe=True)
    loaded.is_plugin = user is not None and any(key in user["user"] for key in ("exec", "auth-provider"))
    if loaded.is_plugin and not (loaded.api_key or loaded.cert_file):
        # The loader logs a plug-in's failure and goes on without credentials; anonymous requests would follow.
        raise ConfigError(f"kubeconfig {paths}: the credentials plug-in of context {loaded.context} gave nothing")
    return loaded


def _authorization(loaded: SimpleNamespace) -> str:
    return str(loaded.api_key.get("BearerToken", "")).strip()


def _tls(loaded: SimpleNamespace, source: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=loaded.ssl_ca_cert, cadata=loaded.ssl_ca_data)
        if not loaded.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _load_certificates(context, loaded)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{source}: TLS certificates cannot be loaded: {error}") from error
    return context


def _load_certificates(context: ssl.SSLContext, loaded: SimpleNamespace) -> None:
    if loaded.ssl_ca_cert and loaded.verify_ssl:
        context.load_verify_locations(cafile=loaded.ssl_ca_cert)
    if loaded.ssl_ca_data and loaded.verify_ssl:
        context.load_verify_locations(cadata=loaded.ssl_ca_data)
    if loaded.cert_file:
        context.load_cert_chain(loaded.cert_file, loaded.key_file)


def _certificates(loaded: SimpleNamespace) -> str:
    """A digest of the certificates, to notice a rotation."""
    files = [path for path in (loaded.ssl_ca_cert, loaded.cert_file, loaded.key_file) if path]
    texts = [(loaded.ssl_ca_data or "").encode(), *(Path(path).read_bytes() for path in files)]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()
