"""The parts of a ready device, for tests that change one part at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from firstpull.config.policy import Policy
from firstpull.model.azure_resources import (
    ConnectedRegistry,
    NewPassword,
    Password,
    ScopeMap,
    ScopeMapId,
    SecretVersion,
    Slot,
    Token,
    TokenId,
    Twin,
)
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import (
    Condition,
    Delivery,
    DeviceRecord,
    Grant,
    Intent,
    Schedule,
    Spec,
    State,
    Status,
)
from firstpull.model.ledger import Entry, Ledger, Standing
from firstpull.model.naming import names_for, scope_map_name
from firstpull.model.password_slots import Credential, tags_for
from firstpull.model.reasons import Reason
from firstpull.model.secret import Secret
from firstpull.model.twin_entry import Contents
from firstpull.reconcile.observe import ConnectedRegistryView, CredentialView, Observed
from local_azure.iot_hub.twins import merge_tags
from tests.firstpull.harness import HUB, PLANT_ONE, REGISTRY, VALIDITY, make_policy
from tests.firstpull.records import changed
from tests.world.ports import revealed

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MADE = NOW - timedelta(days=1)
DEVICE = DeviceKey(hub=HUB, device_id="press-1")
NAMES = names_for(DEVICE, deployment="test", registry=REGISTRY)
TOKEN_ID = REGISTRY.token(NAMES.token)
GRANT = Grant(ref=PLANT_ONE, names=NAMES)
ADDRESS = "plantone.site.example:8000"
PASSWORD = Secret("=pw/first")

INTENT = Intent(
    target="plantone",
    candidates=(PLANT_ONE,),
    repositories=("plant/app",),
    actions=("content/read",),
    requested_by="a test",
    at=MADE,
)
SCOPE_MAP = scope_map_name(INTENT.scope_actions, deployment="test")
SCOPE_MAP_ID = REGISTRY.scope_map(SCOPE_MAP)
READY_SCOPE_MAP = ScopeMap(name=SCOPE_MAP, actions=INTENT.scope_actions)


def password(
    slot: Slot = Slot.ONE, *, made: datetime = MADE, lives: timedelta | None = VALIDITY
) -> Password:
    """A password as the token lists it."""
    return Password(slot=slot, created_at=made, expires_at=made + lives if lives else None)


def secret_version(
    name: str = "v1", *, of: Password | None = None, enabled: bool = True
) -> SecretVersion:
    """The secret version of a password."""
    stored = of or password()
    new = NewPassword(
        slot=stored.slot, created_at=stored.created_at, expires_at=stored.expires_at, value=PASSWORD
    )
    return SecretVersion(
        version=name, enabled=enabled, expires_at=stored.expires_at, tags=tags_for(new, more={})
    )


def token(
    *passwords: Password, enabled: bool = True, scope_map_id: ScopeMapId = SCOPE_MAP_ID
) -> Token:
    """The device's token."""
    return Token(
        id=TOKEN_ID,
        name=NAMES.token,
        scope_map_id=scope_map_id,
        enabled=enabled,
        active=True,
        passwords=passwords,
    )


def merged(properties: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Properties after a patch, as the hub merges it."""
    return merge_tags(properties, revealed(patch))


def contents(**changes: Any) -> Contents:  # noqa: ANN401 - fields of Contents
    """The contents of the ready device's delivery."""
    base = Contents(
        address=ADDRESS, username=NAMES.token, repositories=("plant/app",), ca=None, insecure=False
    )
    return replace(base, **changes)


def desired(what: Contents | None = None, secret: Secret = PASSWORD) -> dict[str, Any]:
    """Desired properties after a delivery."""
    return merged(
        {}, (what or contents()).patch("plantone", secret, expires_at=MADE + VALIDITY, replaces=())
    )


def edited(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Desired properties after a delivery and an edit of its entry."""
    return merged(desired(), {"firstpull": {"registryCredentials": {"plantone": fields}}})


def reported(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Reported properties with these fields."""
    return {"firstpull": {"registryCredentials": {"plantone": fields}}}


LOGGED_IN = reported(
    deliveryId=contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY), state="LoggedIn"
)


def record(**changes: Any) -> DeviceRecord:  # noqa: ANN401 - fields of a record and its parts
    """The record of the ready device."""
    base = DeviceRecord(
        device=DEVICE,
        spec=Spec(intent=INTENT, generation=1),
        status=Status(
            observed_generation=1,
            condition=Condition(
                state=State.READY, reason=Reason.ACKNOWLEDGED, message="It has.", since=MADE
            ),
            grant=GRANT,
            delivery=Delivery(
                id=contents().delivery_id(PASSWORD, expires_at=MADE + VALIDITY),
                slot=Slot.ONE,
                secret_version="v1",  # noqa: S106 - the name of a version
                address=ADDRESS,
                expires_at=MADE + VALIDITY,
                at=MADE,
            ),
            acknowledged_at=MADE,
            hub_generation_id="g1",
            hub_device_etag="d1",
        ),
        schedule=Schedule(due_at=NOW),
    )
    return changed(base, **changes)


NEW_RECORD = record(
    observed_generation=0,
    grant=None,
    delivery=None,
    acknowledged_at=None,
    hub_generation_id=None,
    hub_device_etag=None,
)


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything around the ready device."""

    record: DeviceRecord = field(default_factory=record)
    policy: Policy = field(default_factory=make_policy)
    registered: bool = True
    enabled: bool = True
    generation_id: str | None = "g1"
    desired: dict[str, Any] = field(default_factory=desired)
    reported: dict[str, Any] = field(default_factory=lambda: LOGGED_IN)
    there: bool = True
    listed: tuple[TokenId, ...] = (TOKEN_ID,)
    login_server: str | None = ADDRESS
    last_sync_at: datetime | None = NOW
    standing: Standing | None = Standing.MEMBER
    scope_map: ScopeMap | None = READY_SCOPE_MAP
    token: Token | None = field(default_factory=lambda: token(password()))
    secrets: tuple[SecretVersion, ...] = field(default_factory=lambda: (secret_version(),))
    synced_actions: frozenset[str] | None = None

    def observed(self, **changes: Any) -> Observed:  # noqa: ANN401 - fields of World
        """What an observer finds in this world, with changes."""
        world = replace(self, **changes)
        view = world.view()
        chosen = view if world.record.status.grant or view.holds_room or view.has_room else None
        return Observed(
            record=world.record,
            deployment="test",
            twin=world._twin() if world.registered else None,
            hub_generation_id=world.generation_id,
            views=(view,),
            chosen=chosen if chosen and (world.record.status.grant or view.address) else None,
            credential=world._credential(),
        )

    def view(self) -> ConnectedRegistryView:
        """The connected registry as observed."""
        ledger = Ledger()
        if self.standing is not None:
            ledger = ledger.with_entry(Entry(token_id=TOKEN_ID, standing=self.standing, since=MADE))
        registry = ConnectedRegistry(
            name="plantone",
            client_token_ids=self.listed,
            sync_token_id=REGISTRY.token("plantone"),
            login_server=self.login_server,
            last_sync_at=self.last_sync_at,
        )
        return ConnectedRegistryView(
            ref=PLANT_ONE,
            entry=self.policy.entry_for(PLANT_ONE),
            connected_registry=registry if self.there else None,
            ledger=ledger,
            token_id=TOKEN_ID,
        )

    def _twin(self) -> Twin:
        return Twin(
            etag="t1",
            device_etag="d1",
            enabled=self.enabled,
            desired=self.desired,
            reported=self.reported,
        )

    def _credential(self) -> CredentialView:
        return CredentialView(
            names=NAMES,
            scope_map_name=SCOPE_MAP,
            scope_map_id=SCOPE_MAP_ID,
            scope_map=self.scope_map,
            token=self.token,
            secrets=self.secrets,
            synced_actions=self.synced_actions,
        )


READY = World()
NEW = World(
    record=NEW_RECORD,
    desired={},
    reported={},
    listed=(),
    standing=None,
    scope_map=None,
    token=None,
    secrets=(),
)


def credential(slot: Slot = Slot.ONE, *, version: str = "v1", made: datetime = MADE) -> Credential:
    """A password whose value is stored."""
    return Credential(slot=slot, version=version, created_at=made, expires_at=made + VALIDITY)
