"""Who we are and where the server is, and how credentials renew themselves."""

import asyncio
import base64
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from securetenant.kube import config, plain
from securetenant.kube.config import ClientConfig, ConfigError
from securetenant.kube.transport import Transport, Unauthorized
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Ref
from tests.support.fakeapi import given, kubeconfig, serving, status

REF = Ref(NAMESPACE, "", "n")
# Throw-away self-signed pairs, valid for 100 years, that nothing trusts.
KEY = """-----BEGIN EC PRIVATE KEY-----
MHcCAQEEILv5/X8SoNmZyDpW2N8qmC7Vqmg0eHgq4V7jydlYVMhOoAoGCCqGSM49
AwEHoUQDQgAEgr+Q7LvhxhlZ9YVjeYrFitC1fzZaMe/HDkF7LxWHuK2VMvJtRpyA
ZkTe63Wq1qBudjTqyDWcsQbEZarfHfvVvA==
-----END EC PRIVATE KEY-----
"""
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBeDCCAR+gAwIBAgIUXiNKsgANWGfJnGhamvsH9NPn+kEwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGY2xpZW50MCAXDTI2MTEyNDAzMzYwM1oYDzIxMjYxMDMxMDMz
NjAzWjARMQ8wDQYDVQQDDAZjbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AASCv5Dsu+HGGVn1hWN5isWK0LV/Nlox78cOQXsvFYe4rZUy8m1GnIBmRN7rdarW
oG52NOrINZyxBsRlqt8d+9W8o1MwUTAdBgNVHQ4EFgQUMEHZvM3M+pVN7GSbzdZp
wfzYvSQwHwYDVR0jBBgwFoAUMEHZvM3M+pVN7GSbzdZpwfzYvSQwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiBAYUL4De8YeE4x2aGBh4rKUA0M2Pgk
uOXoZiScCDmyQgIgA+GDSLX2bYIWZ7MOm+WxvopfNUNa7PIN38FUFlSYMJs=
-----END CERTIFICATE-----
"""
SECOND_KEY = """-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIJQBSclQGjolMk83N/cJoyPrKyYBn7OupWyb7NSOt/JWoAoGCCqGSM49
AwEHoUQDQgAEWjzxz1b1N0h+CbSK2JfkI3tfW7/9E31BtbL2/hzi9dpIRyTa9+WD
IPJ0LN6ODRLdSHJ24gztN92MoaawiKgAQA==
-----END EC PRIVATE KEY-----
"""
SECOND_CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBejCCAR+gAwIBAgIUdfXIJ5fa3QmKYhmG1uUoligD1AIwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGc2Vjb25kMCAXDTI2MTEyNDA0MjIzNFoYDzIxMjYxMDMxMDQy
MjM0WjARMQ8wDQYDVQQDDAZzZWNvbmQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARaPPHPVvU3SH4JtIrYl+Qje19bv/0TfUG1svb+HOL12khHJNr35YMg8nQs3o4N
Et1IcnbiDO033YyhprCIqABAo1MwUTAdBgNVHQ4EFgQUl95liDwyddeI7grw9N7F
mD/4I0kwHwYDVR0jBBgwFoAUl95liDwyddeI7grw9N7FmD/4I0kwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAnK/iSGfJ8XHYZC7gHdFM2/Dwd3hk
19uXPQi7KfKACuYCIQDtb+zcjs1dpMOx1gPurSy5xrFCW+60ZKnpPTIQ/1oSwQ==
-----END CERTIFICATE-----
"""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


async def load(kubeconfig: str | None = None, context: str | None = None) -> ClientConfig:
    """The configuration, with credentials that may be renewed as often as asked for."""
    client = await config.load(kubeconfig, context)
    client.renew_seconds = -1.0
    return client


def written(path: Path, body: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return str(path)


def plugin(tmp_path: Path, credentials: dict[str, str]) -> dict[str, Any]:
    """A user whose plug-in prints the credentials in a file, and notes each run."""
    given = written(tmp_path / "credentials.json", credentials)
    code = (
        "import json,sys; open(sys.argv[2],'a').write('x');"
        "print(json.dumps({'apiVersion':'client.authentication.k8s.io/v1','kind':'ExecCredential',"
        "'status':json.load(open(sys.argv[1]))}))"
    )
    version = "client.authentication.k8s.io/v1"
    args = ["-c", code, given, str(tmp_path / "runs")]
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": args, "interactiveMode": "Never"}}


async def test_several_files_and_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = written(tmp_path / "1", kubeconfig("http://one", {"token": "t1"}, "one"))
    two = written(tmp_path / "2", kubeconfig("http://two", {"token": "t2"}, "two"))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([one, two, str(tmp_path / "absent")]))
    chosen = await load(None, "one")
    assert (chosen.server, chosen.context, await chosen.authorization()) == ("http://one", "one", "Bearer t1")
    assert (await load(two)).server == "http://two"


async def test_home(tmp_path: Path) -> None:
    written(tmp_path / "home" / ".kube" / "config", kubeconfig("http://home", {"token": "t"}))
    assert (await load()).server == "http://home"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "not found", id="absent"),
        pytest.param("", "", id="empty"),
        pytest.param("{", "", id="not-yaml"),
        pytest.param("[1]", "", id="not-a-mapping"),
        pytest.param(json.dumps({"clusters": []}), "", id="nothing-in-it"),
        pytest.param(json.dumps({**kubeconfig("http://x", {}), "current-context": "other"}), "other", id="no-context"),
        pytest.param(json.dumps(kubeconfig("", {})), "server", id="no-server"),
        pytest.param(
            json.dumps(kubeconfig("https://x", {}, **{"certificate-authority": "/absent"})), "/absent", id="no-ca"
        ),
        pytest.param(
            json.dumps(kubeconfig("https://x", {}, **{"certificate-authority-data": "AAAA"})), "TLS", id="bad-ca"
        ),
        pytest.param(
            json.dumps(kubeconfig("http://x", {"exec": {"apiVersion": "v1", "command": "/absent"}})),
            "plug-in",
            id="no-plug-in",
        ),
    ],
)
async def test_what_cannot_be_used_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        await load(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


async def test_a_folder_is_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        await load(str(tmp_path))


async def test_token_file_is_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    path = written(tmp_path / "config", kubeconfig("http://x", {"tokenFile": str(token)}))
    client = await load(path)
    assert await client.authorization() == "Bearer first"
    token.write_text("second\n")
    assert await client.authorization() == "Bearer first"  # within the minute
    client.refresh_seconds = -1.0
    assert await client.authorization() == "Bearer second"
    token.unlink()  # for a moment, while it is rotated
    assert await client.authorization() == "Bearer second"


async def test_in_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "token", "first\n")
    written(tmp_path / "ca.crt", CERTIFICATE)
    monkeypatch.setattr(plain, "ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    client = await load()
    assert (client.server, await client.authorization()) == ("https://[fd00::1]:443", "Bearer first")
    assert client.tls is not None
    assert client.tls.verify_mode == ssl.CERT_REQUIRED
    written(tmp_path / "token", "second\n")
    client.refresh_seconds = -1.0
    assert await client.authorization() == "Bearer second"


async def test_in_cluster_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(ConfigError, match=r"in-cluster configuration: .*token"):
        await load()
    written(tmp_path / "token", "first")
    written(tmp_path / "ca.crt", CERTIFICATE)
    with pytest.raises(ConfigError, match="KUBERNETES_SERVICE_PORT is empty"):
        await load()


_DATA = base64.b64encode(CERTIFICATE.encode()).decode()


@pytest.mark.parametrize(
    "cluster",
    [{"certificate-authority-data": _DATA}, {"certificate-authority": "ca.crt", "tls-server-name": "kubernetes"}],
)
@pytest.mark.parametrize("user", [{"token": "one"}, {"tokenFile": "token"}])
def test_a_plain_file_is_read_as_the_library_reads_it(
    cluster: dict[str, str], user: dict[str, str], tmp_path: Path
) -> None:
    written(tmp_path / "ca.crt", CERTIFICATE)
    written(tmp_path / "token", "two\n")
    body = kubeconfig("https://10.0.0.1:6443", user)
    body["clusters"][0]["cluster"] |= cluster
    path = written(tmp_path / "config", body)
    ours = config._blank()
    assert plain.kubeconfig(path, None, ours)
    theirs = config._loaded_by_library(path, None)
    assert (ours.host, ours.context, ours.tls_server_name) == (theirs.host, theirs.context, theirs.tls_server_name)
    assert config._authorization(ours) == config._authorization(theirs)
    assert ours.is_plugin is theirs.is_plugin is False
    text = ours.ssl_ca_data or Path(ours.ssl_ca_cert).read_text()
    assert text == Path(theirs.ssl_ca_cert).read_text()


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({}, {"token": "one", "tokenFile": "token"}),
        ({}, {"token": ""}),
        ({}, {"token": "one", "as": "somebody"}),
        ({}, {"client-certificate-data": _DATA, "client-key-data": _DATA}),
        ({}, {"exec": {"command": "x"}}),
        ({"insecure-skip-tls-verify": True}, {"token": "one"}),
        ({"proxy-url": "http://proxy:1"}, {"token": "one"}),
        ({"certificate-authority": "ca.crt"}, {"token": "one"}),
        ({"certificate-authority-data": "not base64"}, {"token": "one"}),
        ({"server": "http://10.0.0.1"}, {"token": "one"}),
        ({"certificate-authority-data": ""}, {"token": "one"}),
        ({"certificate-authority-data": 7}, {"token": "one"}),
        ({"tls-server-name": 7}, {"token": "one"}),
        ({}, {"token": "one\ntwo"}),
        ({}, {"token": 7}),
    ],
)
def test_all_other_files_are_the_librarys(cluster: dict[str, Any], user: dict[str, Any], tmp_path: Path) -> None:
    body = kubeconfig("https://10.0.0.1:6443", user)
    body["clusters"][0]["cluster"] |= {"certificate-authority-data": _DATA} | cluster
    assert not plain.kubeconfig(written(tmp_path / "config", body), None, config._blank())


def test_the_library_is_not_loaded_for_a_token_nor_for_kopf(tmp_path: Path) -> None:
    body = kubeconfig("https://10.0.0.1:6443", {"token": "one"})
    body["clusters"][0]["cluster"]["certificate-authority-data"] = _DATA
    path = written(tmp_path / "config", body)
    program = f"""
import asyncio, sys
from securetenant import memory
from securetenant.kube import config, plain
asyncio.run(config.load({path!r}))
with memory.left_out("kubernetes"):
    import kopf
assert not any(name.partition(".")[0] in ("kubernetes", "requests") for name in sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_plugin_is_asked_once_until_it_expires(tmp_path: Path) -> None:
    path = written(tmp_path / "config", kubeconfig("http://x", plugin(tmp_path, {"token": "first"})))
    client = await load(path)
    client.refresh_seconds = -1.0
    for _ in range(3):
        assert await client.authorization() == "Bearer first"
    assert (tmp_path / "runs").read_text() == "x"

    written(tmp_path / "credentials.json", {"token": "second", "expirationTimestamp": "2020-01-01T00:00:00Z"})
    assert await client.renew(client.generation)  # a 401
    assert await client.authorization() == "Bearer second"
    written(tmp_path / "credentials.json", {"token": "third"})
    assert await client.authorization() == "Bearer third"  # the second had expired


async def test_plugin_with_certificates(tmp_path: Path) -> None:
    given = {"clientCertificateData": CERTIFICATE, "clientKeyData": KEY}
    path = written(tmp_path / "config", kubeconfig("https://x", plugin(tmp_path, given)))
    client = await load(path)
    before = client.certificates
    written(tmp_path / "credentials.json", {**given, "clientCertificateData": CERTIFICATE + "\n"})
    assert await client.renew(client.generation)
    assert client.certificates != before


async def test_rotated_client_certificate_is_used_on_a_new_connection(tmp_path: Path) -> None:
    """The kept connection stands on the old certificate, which the server does not take any more."""
    pair = written(tmp_path / "cert", CERTIFICATE), written(tmp_path / "key", KEY)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*pair)
    tls.load_verify_locations(cadata=CERTIFICATE + SECOND_CERTIFICATE)
    tls.verify_mode = ssl.CERT_REQUIRED
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        name = dict(field[0] for field in request.transport.get_extra_info("peercert")["subject"])["commonName"]
        seen.append(name)
        return given("Namespace") if "second" in seen or len(seen) == 1 else status(401, "Unauthorized")

    async with serving(handler, tmp_path, tls=tls) as path:
        body = json.loads(path.read_text())
        cluster = {**body["clusters"][0]["cluster"], "insecure-skip-tls-verify": True}
        user = {"client-certificate": pair[0], "client-key": pair[1]}
        client = await load(written(path, kubeconfig(user=user, **cluster)))
        async with Transport(client) as transport:
            await transport.get(NAMESPACE, REF)
            written(tmp_path / "cert", SECOND_CERTIFICATE)
            written(tmp_path / "key", SECOND_KEY)
            await transport.get(NAMESPACE, REF)
    assert seen == ["client", "client", "second"]


async def test_client_certificate_and_server_name(tmp_path: Path) -> None:
    encoded = {
        "client-certificate-data": base64.b64encode(CERTIFICATE.encode()).decode(),
        "client-key-data": base64.b64encode(KEY.encode()).decode(),
    }
    cluster: dict[str, Any] = {
        "tls-server-name": "other",
        "proxy-url": "http://proxy:1",
        "insecure-skip-tls-verify": True,
    }
    path = written(tmp_path / "config", kubeconfig("https://x", encoded, **cluster))
    client = await load(path)
    assert (client.tls_server_name, client.proxy) == ("other", "http://proxy:1")
    assert client.tls is not None
    assert client.tls.verify_mode == ssl.CERT_NONE


async def test_401_renews_once_for_all_requests(tmp_path: Path) -> None:
    """Twenty requests meet an expired token: the plug-in runs once, and all are sent again."""
    asked: list[str] = []
    all_there = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        if len(asked) == 20:
            all_there.set()
        await all_there.wait()
        good = request.headers["Authorization"] == "Bearer good"
        return given("Namespace") if good else status(401, "Unauthorized")

    async with serving(handler, tmp_path) as path:
        server = json.loads(path.read_text())["clusters"][0]["cluster"]["server"]
        user = plugin(tmp_path, {"token": "expired"})
        client = await load(written(tmp_path / "config", kubeconfig(server, user)))
        written(tmp_path / "credentials.json", {"token": "good"})
        async with Transport(client) as transport:
            await asyncio.gather(*[transport.create(NAMESPACE, "", {}) for _ in range(20)])
            assert (tmp_path / "runs").read_text() == "xx"
            assert sorted(asked) == ["Bearer expired"] * 20 + ["Bearer good"] * 20

            written(tmp_path / "credentials.json", {"token": "bad"})
            assert await client.renew(client.generation)
            del asked[:]
            with pytest.raises(Unauthorized):
                await transport.get(NAMESPACE, REF)
            assert asked == ["Bearer bad"]  # nothing new to try with
