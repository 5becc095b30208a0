"""The settings: where they come from, and what is said of bad ones."""

import os

import pytest

from securetenant.model import names
from securetenant.model.platform import Platform
from securetenant.settings import NODE_LOCAL, PREFIX, Settings, variable


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_the_defaults_are_those_of_the_platform() -> None:
    settings = Settings.load()
    assert settings.platform() == Platform(cluster_cidrs=NODE_LOCAL)
    assert settings.operator_namespace == names.OPERATOR_NAMESPACE
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 8080)
    assert (settings.workers, settings.requests_in_flight, settings.lease_duration) == (16, 16, 15.0)
    assert settings.kubeconfig is None


def test_every_field_says_what_it_is_for() -> None:
    assert [name for name, info in Settings.model_fields.items() if not info.description] == []


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        pytest.param("workers", "3", 3, id="number"),
        pytest.param("http_port", "0", 0, id="free-port"),
        pytest.param("lease_duration", "1.5", 1.5, id="fraction"),
        pytest.param("log_level", "DEBUG", "debug", id="any-case"),
        pytest.param(
            "dns_pod_labels",
            "k8s-app=dns, example.com/tier=a",
            {"k8s-app": "dns", "example.com/tier": "a"},
            id="labels",
        ),
        pytest.param("dns_pod_labels", '{"k8s-app": "dns"}', {"k8s-app": "dns"}, id="labels-json"),
        pytest.param("dns_pod_labels", "app=", {"app": ""}, id="labels-empty-value"),
        pytest.param("dns_cidrs", "169.254.20.10/32,fd00::/64", ("169.254.20.10/32", "fd00::/64"), id="cidrs"),
        pytest.param("dns_cidrs", '["10.0.0.10/32"]', ("10.0.0.10/32",), id="cidrs-json"),
        pytest.param("dns_cidrs", "169.254.20.10", ("169.254.20.10/32",), id="bare-address"),
        pytest.param("expires_soon", "30d, 36h,90m,45s,7", (2_592_000, 129_600, 5_400, 45, 7), id="spans"),
        pytest.param("expires_soon", '["2d"]', (172_800,), id="spans-json"),
        pytest.param("expires_soon", "[]", (), id="no-spans"),
        pytest.param("context", "", None, id="empty-is-not-given"),
    ],
)
def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch, field: str, text: str, value: object) -> None:
    monkeypatch.setenv(variable(field), text)
    assert getattr(Settings.load(), field) == value


def test_a_flag_wins_over_its_variable_and_none_is_no_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURETENANT_WORKERS", "3")
    monkeypatch.setenv("SECURETENANT_HTTP_PORT", "9000")
    settings = Settings.load(workers=5, http_port=None)
    assert (settings.workers, settings.http_port) == (5, 9000)


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        pytest.param("workers", "0", "must be a whole number from 1 to 256; it is '0'.", id="too-small"),
        pytest.param("workers", "many", "must be a whole number from 1 to 256; it is 'many'.", id="no-number"),
        pytest.param("lease_duration", "nan", "must be a number from 1 to 300; it is 'nan'.", id="nan"),
        pytest.param("http_port", "tcp://10.0.0.1:80", "must be a whole number from 0 to 65535;", id="service-link"),
        pytest.param("log_format", "xml", "must be 'json', 'console' or 'auto'; it is 'xml'.", id="choice"),
        pytest.param(
            "dns_pod_labels",
            "a=b,c",
            "must be labels as k=v,k=v or as a JSON object; 'c' has no '='",
            id="labels-no-equals",
        ),
        pytest.param("dns_pod_labels", "{", "must be well-formed JSON: ", id="labels-bad-json"),
        pytest.param("dns_pod_labels", "{}", "must have at least 1 item", id="no-labels-would-select-all-pods"),
        pytest.param("dns_pod_labels", "a b=c", "must have label keys ", id="label-key"),
        pytest.param("dns_pod_labels", "a=b c", "must have label values", id="label-value"),
        pytest.param("dns_cidrs", "10.0.0.1/8", "must be CIDRs such as ", id="host-bits"),
        pytest.param("expires_soon", "2w", "must be spans of 1s to 366d such as 14d,", id="no-span"),
        pytest.param("expires_soon", "0", "must be spans of 1s to 366d such as 14d,", id="no-time"),
        pytest.param("expires_soon", "400d", "must be spans of 1s to 366d such as 14d,", id="span-too-long"),
        pytest.param("dns_namespace", "Kube", "must be a namespace's name", id="namespace"),
        pytest.param("operator_namespace", "a" * 64, "must be a namespace's name", id="namespace-too-long"),
    ],
)
def test_a_bad_variable_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, field: str, text: str, said: str
) -> None:
    monkeypatch.setenv(variable(field), text)
    with pytest.raises(ValueError, match="SECURETENANT_") as caught:
        Settings.load()
    message = str(caught.value)
    assert message.startswith(f"{variable(field)}: {said}")
    assert message.endswith(str(Settings.model_fields[field].description))
    assert len(message.splitlines()) == 1


def test_every_bad_value_has_its_line_and_a_flag_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURETENANT_WORKERS", "0")
    with pytest.raises(ValueError, match="SECURETENANT_WORKERS") as caught:
        Settings.load(http_port=-1, nonsense=1)
    starts = sorted(line.split(":")[0] for line in str(caught.value).splitlines())
    assert starts == ["--http-port", "--nonsense", "SECURETENANT_WORKERS"]


def test_the_identity_is_the_pod_and_never_twice_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "securetenant-7f")
    first, second = Settings.load().identity, Settings.load().identity
    assert first.startswith("securetenant-7f_")
    assert first != second


def test_the_platform_carries_what_the_team_set() -> None:
    settings = Settings.load(
        dns_namespace="dns",
        dns_pod_labels="b=2,a=1",
        dns_cidrs="10.0.0.10/32",
        dns_port=5353,
        operator_namespace="ops",
        expires_soon="2h",
        cluster_cidrs="172.20.0.0/16",
    )
    assert settings.platform() == Platform(
        dns_namespace="dns",
        dns_pod_labels=(("a", "1"), ("b", "2")),
        dns_cidrs=("10.0.0.10/32",),
        dns_port=5353,
        operator_namespace="ops",
        expires_soon=(7200,),
        cluster_cidrs=(*NODE_LOCAL, "172.20.0.0/16"),
    )
