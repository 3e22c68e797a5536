"""The policy: the hubs, registries, connected registries and sites that requests may name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from firstpull.config.fields import (
    ActionName,
    DeliveryName,
    OnboardingTarget,
    RepositoryName,
    StrictModel,
)
from firstpull.model.address import (
    is_host,
    is_of_cloud,
    is_registry_address,
    without_default_port,
)
from firstpull.model.azure_resources import ConnectedRegistry, ConnectedRegistryRef, RegistryId
from firstpull.model.delivery_kinds import DEFAULT_KIND, kind_named
from firstpull.model.scope_actions import DEFAULT_ACTION, covers
from firstpull.model.strict_json import read_strictly, repeated

DEFAULT_CAPACITY = 50
"""The most clients of a connected registry (intro-connected-registry; older pages say 20)."""


_LOGIN_SERVER = re.compile(
    r"(?P<name>[a-z0-9]+)(?:-[a-z0-9]+)?\.azurecr\.[a-z.]+|(?P<labelled>[a-z0-9]+)-[a-z0-9]+",
    re.IGNORECASE,
)
_FOR_ONE_SIDE = re.compile(r"\.(?:device|service)\.(?=azure-devices\.)")
_FOR_DEVICES = re.compile(r"\.device\.(?=azure-devices\.)")


def _registry_id(value: RegistryId) -> RegistryId:
    if problem := _is_login_server(value.name):
        raise ValueError(problem)
    if not value.is_complete:
        raise ValueError(
            "is not the ARM id of a container registry: /subscriptions/…/resourceGroups/…"
            "/providers/Microsoft.ContainerRegistry/registries/<name>"
        )
    return value


def _host(value: str) -> str:
    if not is_host(value):
        raise ValueError("is not host or host:port, without a scheme")
    return value


def _is_login_server(name: str) -> str | None:
    """What to say of a login server in the place of a container registry's name, else None.

    Names of container registries have letters and digits alone; a login server with a domain name
    label has a dash and a hash besides.
    """
    found = _LOGIN_SERVER.fullmatch(name)
    if found is None:
        return None
    resource = found["name"] or found["labelled"]
    return f"is a login server; the resource is named without its hash and domain: {resource}"


def _endpoint(value: str) -> str:
    if not is_registry_address(_host(value)):
        raise ValueError("needs a port or a full host name, as the names of images do")
    return value


def hub_host(name: str) -> str:
    """A hub's host name as `<hub>.azure-devices.net`, in lower case.

    A hub has two more: `<hub>.device.azure-devices.net` and `<hub>.service.azure-devices.net`
    (virtual-network-support).
    """
    return _FOR_ONE_SIDE.sub(".", name.lower())


def _ca(value: str) -> str:
    if "-----BEGIN CERTIFICATE-----" not in value or "PRIVATE KEY" in value:
        raise ValueError("is not a certificate in PEM")
    if not value.isascii():
        raise ValueError("has non-ASCII characters; remove the text around the certificates")
    return value


TokenPattern = Annotated[str, Field(pattern=r"^[a-zA-Z0-9-]{1,50}\*?$|^\*$")]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
HubName = Annotated[str, AfterValidator(_host), AfterValidator(str.lower)]


class HubPolicy(StrictModel):
    """An IoT Hub. The host name alone, `contoso.azure-devices.net`, means the name `contoso`."""

    listed_host: Annotated[HubName, Field(alias="host")]
    name: str = ""
    """The hub's name in events; by default the first label of the host name."""

    @model_validator(mode="before")
    @classmethod
    def _host_alone(cls, value: object) -> object:
        return {"host": value} if isinstance(value, str) else value

    @property
    def host(self) -> str:
        """The one host name by which records name the hub, whichever of its three is listed."""
        return hub_host(self.listed_host)

    @property
    def service_host(self) -> str:
        """The host name to call: a hub may serve only the one for services."""
        return _FOR_DEVICES.sub(".service.", self.listed_host)

    def is_named(self, name: str) -> bool:
        """Whether an event that names its hub so is of this hub. Azure changes the case."""
        return (self.name or self.host.split(".", 1)[0]).casefold() == name.casefold()


class ConnectedRegistryPolicy(StrictModel):
    """A connected registry that requests may name."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9]{4,39}$")]
    container_registry: str | None = None
    """Name of its container registry; needed when the policy has several."""
    repositories: tuple[RepositoryName, ...] | None = None
    """Repositories that requests may name; None allows whatever the connected registry syncs."""
    actions: tuple[ActionName, ...] = (DEFAULT_ACTION,)
    endpoint: Endpoint | None = None
    """`host[:port]` as devices reach it; by default the login server that Azure has for it."""
    insecure: bool = False
    """Whether it serves plain HTTP, without certificates."""
    ca: Annotated[str, AfterValidator(_ca)] | None = None
    """The site's private certificate authority in PEM, delivered with the credentials."""
    capacity: Annotated[int, Field(ge=1, le=10_000)] = DEFAULT_CAPACITY
    """The most clients, foreign ones included."""

    @model_validator(mode="after")
    def _ca_needs_tls(self) -> Self:
        if self.insecure and self.ca is not None:
            raise ValueError("insecure means plain HTTP, which uses no ca")
        return self

    def forbids(self, *, repositories: Iterable[str], actions: Iterable[str]) -> tuple[str, ...]:
        """The repositories and actions that the policy does not allow here."""
        allowed = self.repositories
        return (
            *(
                repository
                for repository in repositories
                if allowed is not None and not any(covers(a, repository) for a in allowed)
            ),
            *(action for action in actions if action not in self.actions),
        )


class SitePolicy(StrictModel):
    """A site: its connected registries, in the order in which devices fill them.

    A device's record names them all, and storage takes 1 MB of it.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    connected_registries: Annotated[tuple[str, ...], Field(min_length=1, max_length=500)]


class Policy(StrictModel):
    """Everything that a request may name; firstpull refuses anything else."""

    hubs: Annotated[tuple[HubPolicy, ...], Field(min_length=1)]
    """IoT Hubs; the first is the default of a request."""
    container_registries: Annotated[
        tuple[Annotated[RegistryId, AfterValidator(_registry_id)], ...], Field(min_length=1)
    ]
    """ARM ids of container registries; the first is the default."""
    connected_registries: Annotated[tuple[ConnectedRegistryPolicy, ...], Field(min_length=1)]
    sites: tuple[SitePolicy, ...] = ()
    default_onboarding: OnboardingTarget | None = None
    """The target of devices that appear in a hub without a tag; None ignores such devices."""
    adoptable_tokens: tuple[TokenPattern, ...] = ()
    """Names of tokens that a request may adopt; a `*` at the end stands for any ending."""
    enrollments: Mapping[str, OnboardingTarget] = {}
    """The target of devices by the name of their enrollment or enrollment group."""
    delivery: DeliveryName = DEFAULT_KIND
    """The delivery kind of requests that name none."""
    deliveries: Annotated[tuple[DeliveryName, ...], Field(min_length=1)] | None = None
    """The delivery kinds that requests may name; None allows all."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        registries = [r.name for r in self.container_registries]
        listed = {None, *map(str.casefold, registries)}
        problems = [f"containerRegistries: {name!r} is listed twice" for name in _twice(registries)]
        problems += [
            f"connectedRegistries: {entry.name}: containerRegistry "
            + (_is_login_server(entry.container_registry or "") or "is not listed")
            for entry in self.connected_registries
            if _folded(entry.container_registry) not in listed
        ]
        refs = (
            f"{entry.container_registry or registries[0]}/{entry.name}"
            for entry in self.connected_registries
        )
        problems += [f"connectedRegistries: {name!r} is listed twice" for name in _twice(refs)]
        known = {entry.name.casefold() for entry in self.connected_registries}
        problems += [
            f"sites: {site.name}: no connected registry {name!r}"
            for site in self.sites
            for name in site.connected_registries
            if name.casefold() not in known
        ]
        problems += [f"sites: {n!r} is listed twice" for n in _twice(s.name for s in self.sites)]
        targets = {f"enrollments: {name}": target for name, target in self.enrollments.items()}
        if self.default_onboarding is not None:
            targets["defaultOnboarding"] = self.default_onboarding
        if not self.allows_delivery(self.delivery):
            problems.append(f"delivery: {self.delivery} is not among deliveries")
        for where, target in targets.items():
            problems += [
                f"{where}: {name} {why}" for name, why in self.refused_delivery(target).items()
            ]
            candidates = self.candidates(target)
            if not candidates or self.registry_id(target.container_registry) is None:
                problems.append(f"{where}: names no listed connected registry or site")
            for entry in candidates:
                forbidden = entry.forbids(
                    repositories=target.repositories, actions=target.actions or (DEFAULT_ACTION,)
                )
                problems += [f"{where}: {entry.name} does not allow {what}" for what in forbidden]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @cached_property
    def _by_name(self) -> _Named:
        """What the policy lists, by what requests call it; of equal names the first."""
        registries: dict[str | None, RegistryId] = {}
        for registry in self.container_registries:
            registries.setdefault(registry.name.casefold(), registry)
        registries[None] = self.container_registries[0]
        entries: dict[ConnectedRegistryRef, ConnectedRegistryPolicy] = {}
        anywhere: dict[str, ConnectedRegistryPolicy] = {}
        for entry in self.connected_registries:
            anywhere.setdefault(entry.name.casefold(), entry)
            if (registry_of := registries.get(_folded(entry.container_registry))) is not None:
                ref = ConnectedRegistryRef(registry=registry_of, name=entry.name)
                entries.setdefault(ref, entry)
        return _Named(
            hubs={hub.host: hub for hub in reversed(self.hubs)},
            registries=registries,
            entries=entries,
            anywhere=anywhere,
            sites={site.name.casefold(): site for site in reversed(self.sites)},
        )

    def hub(self, host: str | None) -> HubPolicy | None:
        """The listed hub with a host name; the first for None."""
        return self.hubs[0] if host is None else self._by_name.hubs.get(hub_host(host))

    def hub_named(self, name: str) -> HubPolicy | None:
        """The listed hub with this name in events."""
        return next((hub for hub in self.hubs if hub.is_named(name)), None)

    def registry_id(self, name: str | None) -> RegistryId | None:
        """The listed container registry with a name; the first for None."""
        return self._by_name.registries.get(_folded(name))

    def ref_of(self, entry: ConnectedRegistryPolicy) -> ConnectedRegistryRef:
        """The reference of a listed connected registry."""
        registry = self.registry_id(entry.container_registry)
        if registry is None:
            raise LookupError(entry.name)  # `_names_are_known` refuses such an entry
        return ConnectedRegistryRef(registry=registry, name=entry.name)

    def entry_for(self, ref: ConnectedRegistryRef) -> ConnectedRegistryPolicy | None:
        """The policy's entry for a connected registry, None if it is not listed."""
        return self._by_name.entries.get(ref)

    def connected_registry(
        self, name: str, *, registry: RegistryId | None
    ) -> ConnectedRegistryPolicy | None:
        """The first listed connected registry with a name; in `registry`, if that is given."""
        if registry is None:
            return self._by_name.anywhere.get(name.casefold())
        return self.entry_for(ConnectedRegistryRef(registry=registry, name=name))

    def candidates(self, target: OnboardingTarget) -> tuple[ConnectedRegistryPolicy, ...]:
        """The listed connected registries that a target allows, in order of preference.

        Ignores an unlisted container registry, which the caller reports separately.
        """
        registry = (
            self.registry_id(target.container_registry) if target.container_registry else None
        )
        site = self.site(target.site) if target.site is not None else None
        names = site.connected_registries if site is not None else (target.connected_registry,)
        found = (self.connected_registry(name, registry=registry) for name in names if name)
        return tuple(entry for entry in found if entry is not None)

    def connected_registries_of(
        self, site: SitePolicy, *, registries: Iterable[RegistryId | None] = (None,)
    ) -> tuple[ConnectedRegistryPolicy, ...]:
        """The listed connected registries of a site, in the order in which devices fill them.

        Among several with the same name, the first of `registries` decides; None is any.
        """
        wanted = tuple(registries)
        found = (
            next(filter(None, (self.connected_registry(name, registry=r) for r in wanted)), None)
            for name in site.connected_registries
        )
        return tuple(entry for entry in found if entry is not None)

    def allows_adopting(self, token: str) -> bool:
        """Whether a request may adopt this token."""
        return any(
            token == allowed or (allowed.endswith("*") and token.startswith(allowed[:-1]))
            for allowed in self.adoptable_tokens
        )

    def allows_delivery(self, kind: str) -> bool:
        """Whether a request may name this delivery kind."""
        return self.deliveries is None or kind in self.deliveries

    def refused_delivery(self, target: OnboardingTarget) -> dict[str, str]:
        """Why a target's delivery kind or one of its options is refused, by field."""
        kind = kind_named(target.delivery or self.delivery)
        if not self.allows_delivery(kind.name):
            return {"delivery": "is not among deliveries of the policy"}
        if not kind.options.issuperset(target.delivery_options or ()):
            return {"deliveryOptions": f"are not all options of {kind.name}"}
        return {}

    def site(self, name: str) -> SitePolicy | None:
        """The listed site with a name."""
        return self._by_name.sites.get(name.casefold())


def read_policy(text: str | bytes) -> Policy:
    """The policy in a JSON text. Raises ValueError, also for a name that is there twice."""
    policy = Policy.model_validate_json(text)
    read_strictly(text)
    return policy


def address_of(
    entry: ConnectedRegistryPolicy, connected: ConnectedRegistry | None, *, registry: RegistryId
) -> str | None:
    """`host[:port]` as devices reach a connected registry: the policy's endpoint, else Azure's.

    It never comes from a request, which could send credentials to a foreign host. Azure's login
    server may be anything: with a scheme it is no host, and the container registry's own is no
    site (both in quickstarts of connected registries).
    """
    address = entry.endpoint
    if address is None and connected is not None:
        address = connected.login_server
        if address is not None and is_of_cloud(address, registry=registry.name):
            return None
    if address is None or not is_registry_address(address):
        return None
    return without_default_port(address, insecure=entry.insecure)


@dataclass(frozen=True, kw_only=True)
class _Named:
    """Look-ups of a policy, by names without case, as Azure compares them."""

    hubs: Mapping[str, HubPolicy]
    registries: Mapping[str | None, RegistryId]
    entries: Mapping[ConnectedRegistryRef, ConnectedRegistryPolicy]
    anywhere: Mapping[str, ConnectedRegistryPolicy]
    sites: Mapping[str, SitePolicy]


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(repeated(map(str.casefold, names)))


def _folded(name: str | None) -> str | None:
    return name.casefold() if name is not None else None
