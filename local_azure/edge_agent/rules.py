"""What edgeAgent does with its desired properties, by its sources: pure functions.

It reads all registry credentials or none; it takes the one whose address is the registry in an
image's name, exactly but for case; and it reports its settings back, passwords included
(iotedge: RegistryCredentials, DockerUtil, DockerReportedRuntimeInfo, DeploymentStatusCode).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from local_azure.iot_hub.twins import Json, JsonObject

OK, CONFIG_FORMAT_ERROR, CONFIG_EMPTY, FAILED = 200, 400, 417, 500
_FIELDS = ("address", "username", "password")


@dataclass(frozen=True)
class Login:
    """What edgeAgent hands to the container engine for one pull."""

    address: str
    username: str
    password: str


@dataclass(frozen=True)
class Configuration:
    """The desired properties as edgeAgent read them. Without `code` 200 it keeps what it had."""

    version: int
    code: int
    description: str
    logins: tuple[Login, ...] = ()
    runtime: JsonObject | None = None

    def login_for(self, image: str) -> Login | None:
        """The login for an image, None for a pull without one."""
        registry = registry_of(image)
        return next(
            (each for each in self.logins if each.address.lower() == registry.lower()), None
        )

    @property
    def report(self) -> JsonObject:
        """The patch of the reported properties."""
        status: JsonObject = {"code": self.code, "description": self.description}
        patch: JsonObject = {"lastDesiredVersion": self.version, "lastDesiredStatus": status}
        if self.runtime is not None:
            patch["runtime"] = self.runtime
        return patch


def configuration_of(desired: JsonObject, *, version: int) -> Configuration:
    """What edgeAgent makes of the desired properties of a version."""
    own = {name: value for name, value in desired.items() if not name.startswith("$")}
    if not own:
        return Configuration(version, CONFIG_EMPTY, "The configuration is empty.")
    runtime = own.get("runtime")
    if not isinstance(own.get("schemaVersion"), str) or not isinstance(runtime, dict):
        return _refused(version, "schemaVersion or runtime is missing")
    if runtime.get("type") != "docker":
        return _refused(version, "runtime.type is not docker")
    settings = runtime.get("settings")
    credentials = settings.get("registryCredentials") if isinstance(settings, dict) else None
    logins = []
    for name, entry in credentials.items() if isinstance(credentials, dict) else ():
        login = _login(entry)
        if login is None:
            return _refused(version, f"registryCredentials.{name} is malformed")
        logins.append(login)
    return Configuration(version, OK, "", tuple(logins), runtime)


def images_of(desired: JsonObject) -> dict[str, str]:
    """The images of the deployment's modules, by the module's name."""
    modules = desired.get("modules")
    found: dict[str, str] = {}
    for name, module in modules.items() if isinstance(modules, dict) else ():
        settings = module.get("settings") if isinstance(module, dict) else None
        image = settings.get("image") if isinstance(settings, dict) else None
        if isinstance(image, str):
            found[name] = image
    return found


def deployment(images: Mapping[str, str]) -> JsonObject:
    """Desired properties that make edgeAgent run these images, by the name of their module."""
    modules: JsonObject = {
        name: {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "settings": {"image": image},
        }
        for name, image in images.items()
    }
    return {"schemaVersion": "1.1", "runtime": {"type": "docker"}, "modules": modules}


def registry_of(image: str) -> str:
    """The registry in an image's name, as docker tells it from a repository."""
    first, slash, _ = image.partition("/")
    is_registry = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_registry else "docker.io"


def echo(before: Mapping[str, Json], now: Json) -> Json:
    """A patch that makes reported properties what they are `now`: nulls for what has gone."""
    if not isinstance(now, dict):
        return now
    return {**_gone(before, now), **{k: _echoed(before.get(k), v) for k, v in now.items()}}


def _echoed(before: Json, now: Json) -> Json:
    return echo(before, now) if isinstance(before, dict) else now


def _gone(before: Mapping[str, Json], now: Mapping[str, Json]) -> JsonObject:
    return dict(_nulls(before, now))


def _nulls(before: Mapping[str, Json], now: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    for name in before:
        if name not in now and not name.startswith("$"):
            yield name, None


def _refused(version: int, why: str) -> Configuration:
    return Configuration(version, CONFIG_FORMAT_ERROR, f"The configuration is not valid: {why}.")


def _login(entry: object) -> Login | None:
    if not isinstance(entry, dict):
        return None
    texts = [entry.get(name) for name in _FIELDS]
    given = [text for text in texts if isinstance(text, str) and text.strip()]
    return Login(*given) if len(given) == len(_FIELDS) else None
