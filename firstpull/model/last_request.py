"""The last request for a device, as the tags of its secret's versions have it.

A record that is older than its tags was restored from a backup, and a lost record is made again
from them. A version has at most 15 tags, with names and values of at most 256 characters
(about-keys-secrets-certificates); firstpull uses all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from firstpull.model.azure_resources import ConnectedRegistryRef, SecretVersion, StoredSecret
from firstpull.model.delivery_kinds import DEFAULT_KIND, KINDS
from firstpull.model.device_record import DeviceRecord, Intent, Rotation
from firstpull.model.password_slots import ADDRESS_TAG, made_at, read_stamp, stamp

type Tags = tuple[tuple[str, str], ...]
"""Tags in the order of their names: actions are compared, so they hold no dictionary."""

_ASKED = "askedAt"
_REVOKED = "revokedAt"
_GENERATION = "generation"
_PLACE = "connectedRegistry"
_SITE = "site"
_ADOPTED = "adopted"
_REPOSITORIES = "repositories"
_IDENTITY = "generationId"
_ROTATED = "rotatedAt"
_OF_REQUEST = (_ASKED, _GENERATION, _PLACE, _SITE, _ADOPTED, _REPOSITORIES, _IDENTITY)
_EVER = datetime.min.replace(tzinfo=UTC)
_SAME_MOMENT = timedelta(seconds=1)
"""Times of requests may run back by less than this, because messages have whole seconds."""


@dataclass(frozen=True, kw_only=True)
class LastRequest:
    """What was requested last, and when. `at` is the time of the request, not of its tags.

    A connected registry is named `<container registry>/<name>`. `delivery` is the delivery kind,
    which its tag has after the name unless it is the default one. `identity` is the generationId of
    the hub's identity that the request is about, where it is known.
    """

    at: datetime
    is_revoke: bool
    is_adoption: bool = False
    generation: int = 1
    connected_registry: str | None = None
    site: str | None = None
    identity: str | None = None
    delivery: str = DEFAULT_KIND
    sealed_to: str | None = None
    """The thumbprint of the device's key; its tag has it after the digest of the repositories."""

    def is_later_than(self, record: DeviceRecord) -> bool:
        """Whether the record misses this request."""
        return self.at - record.requested_at >= _SAME_MOMENT


def last_request(versions: Iterable[SecretVersion | StoredSecret]) -> LastRequest | None:
    """The last request in the tags of a device's versions, None where no version has any."""
    found = [request for version in versions for request in _requests_in(version.tags)]
    return max(found, key=_rank, default=None)


def latest(versions: Iterable[SecretVersion]) -> SecretVersion | None:
    """The latest version, which a listing of secrets shows."""

    def age(version: SecretVersion) -> tuple[datetime, datetime]:
        return version.created_at or _EVER, made_at(version) or _EVER

    return max(versions, key=age, default=None)


def request_tags(
    record: DeviceRecord, *, ref: ConnectedRegistryRef | None, identity: str | None
) -> dict[str, str]:
    """The tags that say what the record's device was last requested to have.

    `ref` is where it gets that, None where another secret has that in its tags.
    """
    spec = record.spec
    if spec.revocation is not None:
        revoked_at = {_REVOKED: stamp(spec.revocation.at)}
        return revoked_at if identity is None else revoked_at | {_IDENTITY: identity}
    intent, is_adopted = spec.intent, record.status.adopted or record.token_to_adopt is not None
    tags = {
        _ASKED: stamp(intent.at),
        _GENERATION: f"{spec.intent_generation}",
        _PLACE: _place(ref, intent.delivery) if ref is not None else None,
        _SITE: intent.site,
        _ADOPTED: "true" if is_adopted else None,
        _REPOSITORIES: _permissions(intent),
        _IDENTITY: identity,
    }
    return {name: value for name, value in tags.items() if value is not None}


def _place(ref: ConnectedRegistryRef, delivery: str) -> str:
    """Where the device gets its credential; a version has no room for one more tag."""
    return str(ref) if delivery == DEFAULT_KIND else f"{ref}/{delivery}"


def _read_place(text: str | None) -> tuple[str | None, str]:
    """The connected registry and the delivery kind in a tag."""
    if text is None:
        return None, DEFAULT_KIND
    registry, _, rest = text.partition("/")
    name, _, delivery = rest.partition("/")
    return f"{registry}/{name}", delivery if delivery in KINDS else DEFAULT_KIND


def rotation_tags(record: DeviceRecord) -> dict[str, str]:
    """The tags of a new password that say which rotation made it."""
    rotation = record.spec.rotation
    return {_ROTATED: stamp(rotation.at)} if rotation is not None else {}


def is_of_rotation(version: SecretVersion, rotation: Rotation) -> bool:
    """Whether the password in a version was made for this rotation."""
    return version.tags.get(_ROTATED) == stamp(rotation.at)


def says_the_same(
    versions: Iterable[SecretVersion], tags: Mapping[str, str], record: DeviceRecord
) -> bool:
    """Whether the latest tags say this of the record already, whenever it was repeated."""
    versions = tuple(versions)
    last = last_request(versions)
    if last is None:
        return False
    if record.spec.revocation is not None:
        return last.is_revoke and stamp(last.at) >= stamp(record.spec.intent.at)
    if last.is_revoke:
        return False
    wanted = _without_time(tags)
    return any(
        _without_time(version.tags) == wanted
        for version in versions
        if version.tags.get(_ASKED) == stamp(last.at)
    )


def merged(before: Mapping[str, str], tags: Mapping[str, str]) -> Tags:
    """The tags of a version after another request. A revoke adds to the request before it.

    A revoke takes the address's place, which a version without access has no use for.
    """
    replaced = (ADDRESS_TAG,) if _REVOKED in tags else _OF_REQUEST
    kept = {name: value for name, value in before.items() if name not in replaced}
    return tuple(sorted((kept | dict(tags)).items()))


def _requests_in(tags: Mapping[str, str]) -> Iterable[LastRequest]:
    revoked, asked = read_stamp(tags.get(_REVOKED)), read_stamp(tags.get(_ASKED))
    generation = tags.get(_GENERATION, "")
    place, delivery = _read_place(tags.get(_PLACE))
    if revoked is not None:
        yield LastRequest(at=revoked, is_revoke=True, identity=tags.get(_IDENTITY))
    if asked is not None:
        yield LastRequest(
            at=asked,
            is_revoke=False,
            is_adoption=_ADOPTED in tags,
            generation=int(generation) if generation.isdecimal() else 1,
            connected_registry=place,
            delivery=delivery,
            site=tags.get(_SITE),
            identity=tags.get(_IDENTITY),
            sealed_to=tags.get(_REPOSITORIES, "").partition(" ")[2] or None,
        )


def _rank(request: LastRequest) -> tuple[datetime, bool, bool]:
    return request.at, request.is_revoke, request.connected_registry is not None


def _without_time(tags: Mapping[str, str]) -> dict[str, str | None]:
    compared = (_PLACE, _SITE, _ADOPTED, _REPOSITORIES, _IDENTITY)
    return {name: tags.get(name) for name in compared}


def _permissions(intent: Intent) -> str:
    """What the device may do, and to which key its password is sealed; no tag is left for that."""
    digest, key = _digest(intent.scope_actions), intent.sealing_key
    return digest if key is None else f"{digest} {key.thumbprint}"


def _digest(scope_actions: frozenset[str]) -> str:
    return sha256("\x00".join(sorted(scope_actions)).encode()).hexdigest()[:16]
