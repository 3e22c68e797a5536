from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from tests.firstpull.harness import PLANT_ONE, PLANT_TWO, REGISTRY, make_policy

OTHER = RegistryId(str(REGISTRY).replace("acrtest", "acrother"))
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def locations(**changes: Any) -> set[str]:  # noqa: ANN401 - JSON
    """Where a policy with these changes is wrong."""
    with pytest.raises(ValidationError) as raised:
        make_policy(**changes)
    return {"/".join(str(part) for part in error["loc"]) for error in raised.value.errors()}


def test_every_wrong_field_is_named_at_once() -> None:
    assert locations(
        hubs=[],
        containerRegistries=["acrtest", REGISTRY],
        connectedRegistries=[
            {"name": "plantone"},
            {
                "name": "bad-name",
                "repositories": ["Upper", "ok", "a//b"],
                "actions": ["content/fly"],
                "endpoint": "https://edge:8000",
                "insecure": "yes",
                "ca": "-----BEGIN PRIVATE KEY-----",
                "capacity": 0,
                "colour": "red",
            },
        ],
        sites=[{"name": "", "connectedRegistries": []}],
    ) == {
        "hubs",
        "containerRegistries/0",
        "connectedRegistries/1/name",
        "connectedRegistries/1/repositories/0",
        "connectedRegistries/1/repositories/2",
        "connectedRegistries/1/actions/0",
        "connectedRegistries/1/endpoint",
        "connectedRegistries/1/insecure",
        "connectedRegistries/1/ca",
        "connectedRegistries/1/capacity",
        "connectedRegistries/1/colour",
        "sites/0/name",
        "sites/0/connectedRegistries",
    }


def test_a_site_names_no_more_than_a_record_holds() -> None:
    """A record names all connected registries of its site, in at most 1 MB."""
    names = [f"plant{number}" for number in range(501)]
    connected = [{"name": name} for name in names]
    make_policy(
        connectedRegistries=connected, sites=[{"name": "plant", "connectedRegistries": names[:500]}]
    )
    too_many = [{"name": "plant", "connectedRegistries": names}]
    assert locations(connectedRegistries=connected, sites=too_many) == {
        "sites/0/connectedRegistries"
    }


@pytest.mark.parametrize(
    "problem",
    [
        r"containerRegistries: .*acrtest",
        r"connectedRegistries: .*acrtest/plantone",
        r"connectedRegistries: .*planttwo",
        r"sites: plant: .*missing",
        r"sites: 'plant'",
    ],
)
def test_every_name_that_is_twice_or_unknown_is_in_the_message(problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        make_policy(
            containerRegistries=[REGISTRY, str(REGISTRY).replace("Site-Group", "Other-Group")],
            connectedRegistries=[
                {"name": "plantone"},
                {"name": "plantone", "containerRegistry": "acrtest"},
                {"name": "planttwo", "containerRegistry": "unlisted"},
            ],
            sites=[
                {"name": "plant", "connectedRegistries": ["missing"]},
                {"name": "plant", "connectedRegistries": ["plantone"]},
            ],
        )


CA = {"ca": "-----BEGIN CERTIFICATE-----"}
PLAIN_HTTP = {"insecure": True}


@pytest.mark.parametrize("entry", [{}, CA, PLAIN_HTTP, {**CA, "insecure": False}])
def test_a_connected_registry_has_a_certificate_authority_or_plain_http(
    entry: dict[str, Any],
) -> None:
    assert make_policy(connectedRegistries=[{"name": "plantone", **entry}], sites=[])


def test_a_certificate_authority_on_plain_http_is_refused() -> None:
    entries = [{"name": "plantone", **CA, **PLAIN_HTTP}]
    assert "connectedRegistries/0" in locations(connectedRegistries=entries, sites=[])


@pytest.mark.parametrize(
    "endpoint", ["edge:80", "edge.site.example:8000", "10.0.0.7:8000", "[fd00::7]:8000", "[::1]"]
)
def test_an_endpoint_is_a_host_with_or_without_a_port(endpoint: str) -> None:
    policy = make_policy(connectedRegistries=[{"name": "plantone", "endpoint": endpoint}], sites=[])
    assert policy.connected_registries[0].endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        *("", "http://edge", "edge/path", "user@edge", "edge:port", "edge:8000 ", "a b"),
        *("registry", "10.0.0.4:99999", "10.0.0.4:0", "x:0", "a..b", "a.b.", "-a.b", "10.0.0.400"),
        *("[::::]:80", "10..4:80", "a" * 64 + ".example.com"),
    ],
)
def test_any_other_endpoint_is_refused(endpoint: str) -> None:
    entries = [{"name": "plantone", "endpoint": endpoint}, {"name": "planttwo"}]
    assert locations(connectedRegistries=entries, sites=[]) == {"connectedRegistries/0/endpoint"}


@pytest.mark.parametrize(
    ("entry", "repositories", "actions", "forbidden"),
    [
        ({}, ["any/thing"], ["content/read"], ()),
        ({}, ["any/thing"], ["content/read", "content/write"], ("content/write",)),
        ({"repositories": ["plant/*"]}, ["plant/app", "other"], ["content/read"], ("other",)),
        ({"repositories": ["plant/*"]}, ["*"], ["content/read"], ("*",)),
        ({"repositories": []}, ["plant/app"], ["content/read"], ("plant/app",)),
        (
            {"repositories": ["a"], "actions": ["content/write"]},
            ["b"],
            ["content/read"],
            ("b", "content/read"),
        ),
    ],
)
def test_what_is_not_listed_is_forbidden(
    entry: dict[str, Any],
    repositories: list[str],
    actions: list[str],
    forbidden: tuple[str, ...],
) -> None:
    policy = make_policy(connectedRegistries=[{"name": "plantone", **entry}], sites=[])
    found = policy.connected_registries[0].forbids(repositories=repositories, actions=actions)
    assert found == forbidden


def test_a_connected_registry_belongs_to_the_first_container_registry_unless_it_says_so() -> None:
    policy = make_policy(
        containerRegistries=[REGISTRY, OTHER],
        connectedRegistries=[
            {"name": "plantone"},
            {"name": "planttwo", "containerRegistry": "acrother"},
            {"name": "plantone", "containerRegistry": "acrother", "capacity": 7},
        ],
        sites=[],
    )
    first, second, third = policy.connected_registries
    assert policy.ref_of(first) == PLANT_ONE
    assert policy.ref_of(second) == ConnectedRegistryRef(registry=OTHER, name="planttwo")
    assert policy.connected_registry("plantone", registry=None) == first
    assert policy.connected_registry("plantone", registry=OTHER) == third
    assert policy.connected_registry("planttwo", registry=REGISTRY) is None
    assert policy.entry_for(policy.ref_of(third)) == third
    assert policy.entry_for(PLANT_TWO) is None


def test_names_compare_without_case_as_azure_compares_them() -> None:
    policy = make_policy(
        containerRegistries=[REGISTRY, OTHER],
        connectedRegistries=[
            {"name": "PlantOne", "containerRegistry": "ACRTest"},
            {"name": "planttwo", "containerRegistry": "AcrOther"},
        ],
        sites=[{"name": "Plant", "connectedRegistries": ["plantONE", "PLANTTWO"]}],
    )
    first, second = policy.connected_registries
    site = policy.site("pLANT")
    assert site is not None
    assert policy.connected_registries_of(site) == (first, second)
    assert policy.connected_registry("plantone", registry=None) == first
    assert policy.connected_registry("PLANTONE", registry=REGISTRY) == first
    assert policy.entry_for(PLANT_ONE) == first
    assert policy.ref_of(first) == PLANT_ONE
    assert hash(policy.ref_of(first)) == hash(PLANT_ONE)
    assert policy.registry_id("ACROTHER") == OTHER


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"connectedRegistries": [{"name": "plantone"}, {"name": "PlantOne"}], "sites": []},
            "connectedRegistries: 'acrtest/plantone' is listed twice",
        ),
        (
            {
                "sites": [
                    {"name": "plant", "connectedRegistries": ["plantone"]},
                    {"name": "Plant", "connectedRegistries": ["plantone"]},
                ]
            },
            "sites: 'plant' is listed twice",
        ),
    ],
)
def test_names_that_differ_in_case_alone_are_the_same_name(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        make_policy(**changes)


@pytest.mark.parametrize(
    "name", ["contoso-abc123", "contoso-abc123.azurecr.io", "contoso.azurecr.us"]
)
def test_a_login_server_in_the_place_of_a_registrys_name_is_explained(name: str) -> None:
    explained = "is a login server; the resource is named without its hash and domain: contoso"
    entries = [{"name": "plantone", "containerRegistry": name}]
    with pytest.raises(ValidationError, match=f"plantone: containerRegistry {explained}"):
        make_policy(connectedRegistries=entries, sites=[])
    with pytest.raises(ValidationError, match=explained):
        make_policy(containerRegistries=[str(REGISTRY).replace("acrtest", name)])
    with pytest.raises(ValidationError, match=explained):
        make_policy(containerRegistries=[name])


@pytest.mark.parametrize(
    ("listed", "called"),
    [
        ("contoso.azure-devices.net", "contoso.azure-devices.net"),
        ("Contoso.Service.Azure-Devices.net", "contoso.service.azure-devices.net"),
        ("contoso.device.azure-devices.net", "contoso.service.azure-devices.net"),
    ],
)
def test_the_three_names_of_a_hub_are_one_hub(listed: str, called: str) -> None:
    policy = make_policy(hubs=["other.azure-devices.net", listed])
    _, hub = policy.hubs
    assert (hub.host, hub.service_host) == ("contoso.azure-devices.net", called)
    for label in ("", ".device", ".service", ".DEVICE"):
        assert policy.hub(f"contoso{label}.azure-devices.net") == hub
    assert policy.hub_named("CONTOSO") == hub
    for stranger in ("device.azure-devices.net", "contoso.edge.azure-devices.net", "contoso"):
        assert policy.hub(stranger) is None


def test_names_that_are_not_listed_are_not_found() -> None:
    policy = make_policy()
    assert policy.registry_id("unlisted") is None
    assert policy.registry_id(None) == policy.registry_id("acrtest") == REGISTRY
    assert policy.site("nowhere") is None
    assert policy.connected_registry("nowhere", registry=None) is None


def test_an_entry_grants_the_least_by_default() -> None:
    entry = make_policy().connected_registries[0]
    assert (entry.actions, entry.repositories) == (("content/read",), None)
    assert (entry.capacity, entry.insecure, entry.ca, entry.endpoint) == (50, False, None, None)


def test_a_certificate_that_a_twin_cannot_hold_is_refused() -> None:
    entries = [{"name": "plantone", "ca": "# Gerät\n" * 1000 + PEM}, {"name": "planttwo"}]
    assert locations(connectedRegistries=entries, sites=[]) == {"connectedRegistries/0/ca"}


def test_a_certificate_is_taken_as_it_is() -> None:
    policy = make_policy(connectedRegistries=[{"name": "plantone", "ca": PEM}], sites=[])
    assert policy.connected_registries[0].ca == PEM
