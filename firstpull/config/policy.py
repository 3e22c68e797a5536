"""Who may ask for what: the hubs, registries, connected registries and sites of the settings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from firstpull.config.fields import ActionName, OnboardingTarget, RepositoryName, StrictModel
from firstpull.model.azure_resources import ConnectedRegistryRef, RegistryId
from firstpull.model.scope_actions import DEFAULT_ACTION, covers

DEFAULT_CAPACITY = 50
"""Clients of a connected registry (intro-connected-registry, May 2025; older pages say 20)."""

_REGISTRY_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerRegistry"
    r"/registries/[a-zA-Z0-9-]{5,50}",
    re.IGNORECASE,
)
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](?::[0-9]{1,5})?")


def _registry_id(value: RegistryId) -> RegistryId:
    if not _REGISTRY_ID.fullmatch(str(value)):
        raise ValueError(
            "is not the ARM id of a container registry: /subscriptions/…/resourceGroups/…"
            "/providers/Microsoft.ContainerRegistry/registries/<name>"
        )
    return value


def is_host(value: str) -> bool:
    """Whether a text is `host` or `host:port`."""
    return _HOST.fullmatch(value) is not None


def _host(value: str) -> str:
    if not is_host(value):
        raise ValueError("is not host or host:port, without a scheme")
    return value


def _ca(value: str) -> str:
    if "-----BEGIN CERTIFICATE-----" not in value or "PRIVATE KEY" in value:
        raise ValueError("is not a certificate in PEM")
    if not value.isascii():
        raise ValueError("holds more than ASCII; leave out what stands around the certificates")
    return value


TokenPattern = Annotated[str, Field(pattern=r"^[a-zA-Z0-9-]{1,50}\*?$|^\*$")]
HostName = Annotated[str, AfterValidator(_host)]
HubName = Annotated[str, AfterValidator(_host), AfterValidator(str.lower)]
"""A host name of a hub: records are kept by it, so that it has one spelling."""


class HubPolicy(StrictModel):
    """An IoT Hub. A host name alone, `contoso.azure-devices.net`, is one named `contoso`."""

    host: HubName
    name: str = ""
    """As events name it; the first label of the host where it is left out."""

    @model_validator(mode="before")
    @classmethod
    def _host_alone(cls, value: object) -> object:
        return {"host": value} if isinstance(value, str) else value

    def is_named(self, name: str) -> bool:
        """Whether events of this name are of this hub. Azure changes the case of names."""
        return (self.name or self.host.split(".", 1)[0]).casefold() == name.casefold()


class ConnectedRegistryPolicy(StrictModel):
    """A connected registry that devices may ask for."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9]{4,39}$")]
    container_registry: str | None = None
    """Name of its container registry; needed when the policy has several."""
    repositories: tuple[RepositoryName, ...] | None = None
    """What may be asked for; None allows whatever the connected registry syncs."""
    actions: tuple[ActionName, ...] = (DEFAULT_ACTION,)
    endpoint: HostName | None = None
    """`host[:port]` as devices reach it, where the service does not know its login server."""
    insecure: bool = False
    """Whether it speaks plain HTTP, as one without certificates does."""
    ca: Annotated[str, AfterValidator(_ca)] | None = None
    """The site's private certificate authority in PEM, delivered with the credentials."""
    capacity: Annotated[int, Field(ge=1, le=10_000)] = DEFAULT_CAPACITY
    """Clients that it takes, those of others included."""

    @model_validator(mode="after")
    def _ca_needs_tls(self) -> Self:
        if self.insecure and self.ca is not None:
            raise ValueError("insecure means plain HTTP, where a ca has no use")
        return self

    def forbids(self, *, repositories: Iterable[str], actions: Iterable[str]) -> tuple[str, ...]:
        """The repositories and actions that may not be asked for here."""
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
    """A site: its connected registries in the order in which they are filled."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    connected_registries: Annotated[tuple[str, ...], Field(min_length=1)]


class Policy(StrictModel):
    """Everything a request may name. What is not listed is refused."""

    hubs: Annotated[tuple[HubPolicy, ...], Field(min_length=1)]
    """IoT Hubs; the first is meant where a request names none."""
    container_registries: Annotated[
        tuple[Annotated[RegistryId, AfterValidator(_registry_id)], ...], Field(min_length=1)
    ]
    """ARM ids of container registries; the first is meant where nothing else is named."""
    connected_registries: Annotated[tuple[ConnectedRegistryPolicy, ...], Field(min_length=1)]
    sites: tuple[SitePolicy, ...] = ()
    default_onboarding: OnboardingTarget | None = None
    """For devices that appear in a hub without a tag; None leaves them alone."""
    adoptable_tokens: tuple[TokenPattern, ...] = ()
    """Names of tokens, or beginnings followed by `*`, that a request may have taken over."""
    enrollments: Mapping[str, OnboardingTarget] = {}
    """By the name of an enrollment group or individual enrollment of a provisioning service."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        registries = [r.name for r in self.container_registries]
        problems = [f"containerRegistries: {name!r} is there twice" for name in _twice(registries)]
        problems += [
            f"connectedRegistries: {entry.name}: containerRegistry is not listed"
            for entry in self.connected_registries
            if entry.container_registry not in (None, *registries)
        ]
        refs = (
            f"{entry.container_registry or registries[0]}/{entry.name}".casefold()
            for entry in self.connected_registries
        )
        problems += [f"connectedRegistries: {name!r} is there twice" for name in _twice(refs)]
        known = {entry.name for entry in self.connected_registries}
        problems += [
            f"sites: {site.name}: no connected registry {name!r}"
            for site in self.sites
            for name in site.connected_registries
            if name not in known
        ]
        problems += [f"sites: {n!r} is there twice" for n in _twice(s.name for s in self.sites)]
        targets = {f"enrollments: {name}": target for name, target in self.enrollments.items()}
        if self.default_onboarding is not None:
            targets["defaultOnboarding"] = self.default_onboarding
        for where, target in targets.items():
            candidates = self.candidates(target)
            if not candidates or self.registry_id(target.container_registry) is None:
                problems.append(f"{where}: names no listed connected registry or site")
            for entry in candidates:
                forbidden = entry.forbids(
                    repositories=target.repositories, actions=target.actions or (DEFAULT_ACTION,)
                )
                problems += [
                    f"{where}: {what} may not be asked for at {entry.name}" for what in forbidden
                ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def hub(self, host: str | None) -> HubPolicy | None:
        """The listed hub of a host name, the first where none is given."""
        asked = host.lower() if host is not None else None
        return next((hub for hub in self.hubs if asked in (None, hub.host)), None)

    def hub_named(self, name: str) -> HubPolicy | None:
        """The listed hub that events call so."""
        return next((hub for hub in self.hubs if hub.is_named(name)), None)

    def registry_id(self, name: str | None) -> RegistryId | None:
        """The container registry of a name, the first where none is given; None if not listed."""
        for registry in self.container_registries:
            if name is None or registry.name == name:
                return registry
        return None

    def ref_of(self, entry: ConnectedRegistryPolicy) -> ConnectedRegistryRef:
        """Where a listed connected registry is."""
        registry = self.registry_id(entry.container_registry)
        if registry is None:
            raise LookupError(entry.name)  # refused when the settings were read
        return ConnectedRegistryRef(registry=registry, name=entry.name)

    def entry_for(self, ref: ConnectedRegistryRef) -> ConnectedRegistryPolicy | None:
        """What is listed for a place, if anything."""
        return next((e for e in self.connected_registries if self.ref_of(e) == ref), None)

    def connected_registry(
        self, name: str, *, registry: RegistryId | None
    ) -> ConnectedRegistryPolicy | None:
        """The listed connected registry of a name, in `registry` where one is asked for."""
        return next(
            (
                entry
                for entry in self.connected_registries
                if entry.name == name
                and (registry is None or self.ref_of(entry).registry == registry)
            ),
            None,
        )

    def candidates(self, target: OnboardingTarget) -> tuple[ConnectedRegistryPolicy, ...]:
        """The listed connected registries that a target may mean, in order of preference.

        A container registry that is not listed is left out of account: it is told of by itself.
        """
        asked_registry = (
            self.registry_id(target.container_registry) if target.container_registry else None
        )
        site = self.site(target.site) if target.site is not None else None
        names = site.connected_registries if site is not None else (target.connected_registry,)
        found = (self.connected_registry(name, registry=asked_registry) for name in names if name)
        return tuple(entry for entry in found if entry is not None)

    def connected_registries_of(
        self, site: SitePolicy, *, registries: Iterable[RegistryId | None] = (None,)
    ) -> tuple[ConnectedRegistryPolicy, ...]:
        """The listed connected registries of a site, in the order in which they are filled.

        Of several that have the same name, that of the first of `registries`; None is any.
        """
        wanted = tuple(registries)
        found = (
            next(filter(None, (self.connected_registry(name, registry=r) for r in wanted)), None)
            for name in site.connected_registries
        )
        return tuple(entry for entry in found if entry is not None)

    def allows_adopting(self, token: str) -> bool:
        """Whether a request may have this token taken over."""
        return any(
            token == allowed or (allowed.endswith("*") and token.startswith(allowed[:-1]))
            for allowed in self.adoptable_tokens
        )

    def site(self, name: str) -> SitePolicy | None:
        """The listed site of a name."""
        return next((site for site in self.sites if site.name == name), None)


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
