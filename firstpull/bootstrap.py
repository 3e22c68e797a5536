"""Builds the application: settings, adapters, and the code that uses them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit

from azure.identity import DefaultAzureCredential
from azure.identity.aio import DefaultAzureCredential as AsyncDefaultAzureCredential

from firstpull.adapters.container_registry import ContainerRegistryAdapter, Paces, client_factory
from firstpull.adapters.iot_hub import FixedAudience, IotHubAdapter
from firstpull.adapters.key_vault import KeyVaultAdapter
from firstpull.adapters.resource_manager import ResourceManagerAdapter
from firstpull.adapters.storage import (
    BlobLedgers,
    BlobLocks,
    BlobPolicy,
    PoisonStorage,
    QueueWork,
    StorageServices,
    TableRecords,
    blob_page_seals,
    blob_revoke_counts,
    blob_sweeps,
)
from firstpull.adapters.telemetry import export_telemetry
from firstpull.adapters.timeouts import IDENTITY
from firstpull.config.current_policy import CurrentPolicy, FilePolicy, PolicySource
from firstpull.config.policy import Policy
from firstpull.config.settings import (
    Settings,
    disabled_functions,
    read_settings,
    unresolved_references,
)
from firstpull.fleet.audit import Audit
from firstpull.fleet.batch import Batches
from firstpull.fleet.doctor import AppState, Doctor
from firstpull.fleet.doctor.reader import DoctorReader
from firstpull.fleet.gauges import Gauges
from firstpull.fleet.inventory import InventoryReader
from firstpull.fleet.listing import Listing
from firstpull.fleet.overview import Overviews
from firstpull.fleet.readiness import Readiness
from firstpull.fleet.rebuild import Rebuilding
from firstpull.fleet.sites import Sites
from firstpull.fleet.summary import Summaries
from firstpull.fleet.sweep import Sweeper
from firstpull.intake.event_handler import EventHandler
from firstpull.intake.onboard import Onboarding
from firstpull.intake.page_sessions import PageSessions
from firstpull.intake.poison_queue import Poison, PoisonQueues
from firstpull.intake.revoke import Revoking
from firstpull.intake.revoke_limit import RevokeLimit
from firstpull.intake.rotate import Rotating
from firstpull.membership import Membership
from firstpull.model.clock import Clock, ServiceClock, SystemClock
from firstpull.model.errors import Blocked, FirstpullError
from firstpull.model.hub_identity import IdentityBudget
from firstpull.model.page_seal import PageSeal
from firstpull.model.ports import (
    ContainerRegistries,
    Hubs,
    Ledgers,
    Locks,
    PageSeals,
    Records,
    ResourceManager,
    RevokeCounts,
    Secrets,
    Sweeps,
    WorkQueue,
)
from firstpull.model.record_update import Chance, RecordUpdates
from firstpull.model.secret import Secret
from firstpull.model.shared_reads import SharedReads
from firstpull.observability.log import emit_warning
from firstpull.observability.log_events import LogEvent
from firstpull.reconcile.apply import Applier
from firstpull.reconcile.apply_teardown import TeardownApplier
from firstpull.reconcile.choices import Choices
from firstpull.reconcile.dry_run import DryRun
from firstpull.reconcile.observe import Observer
from firstpull.reconcile.prepare import Preparation
from firstpull.reconcile.prompt import PromptWork
from firstpull.reconcile.reconciler import Reconciler
from firstpull.reconcile.requeue import OverdueDevices


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The implementations of all ports."""

    registries: ContainerRegistries
    secrets: Secrets
    hubs: Hubs
    records: Records
    queue: WorkQueue
    ledgers: Ledgers
    locks: Locks
    sweeps: Sweeps
    revoke_counts: RevokeCounts
    page_seals: PageSeals
    poison: PoisonQueues
    clock: Clock
    clock_offset: Callable[[], timedelta] = timedelta
    """How far the host's own clock is off; by default it is right."""


@dataclass(frozen=True, kw_only=True)
class Application:
    """The application, as the triggers and endpoints call it."""

    policy: Policy
    webhook_keys: tuple[Secret, ...]
    onboarding: Onboarding
    revoking: Revoking
    rotating: Rotating
    dry_run: DryRun
    event_handler: EventHandler
    sites: Sites
    batches: Batches
    listing: Listing
    summaries: Summaries
    overviews: Overviews
    page_sessions: PageSessions
    gauges: Gauges
    sweeper: Sweeper
    rebuilding: Rebuilding
    audit: Audit
    poison: Poison
    worker: Reconciler
    readiness: Readiness
    overdue: OverdueDevices
    ports: Ports

    async def requeue_overdue(self) -> int:
        """Requeue overdue devices; returns how many."""
        return await self.overdue.requeue()


def wire(
    settings: Settings,
    ports: Ports,
    *,
    policy: Policy | None = None,
    prompt: bool = False,
    chance: Chance = random.random,
) -> Application:
    """The application on these ports, with the policy of the settings unless one is given.

    With `prompt`, the process that records a request begins to carry it out.
    """
    policy = policy or settings.policy
    if policy is None:
        raise ValueError("the settings name a document of the policy; pass the policy in it")
    shared = SharedReads(registries=ports.registries, ledgers=ports.ledgers, clock=ports.clock)
    observer = Observer(
        deployment=settings.deployment,
        policy=policy,
        registries=ports.registries,
        secrets=ports.secrets,
        hubs=ports.hubs,
        ledgers=ports.ledgers,
        records=ports.records,
        shared=shared,
        choices=Choices(clock=ports.clock),
        budget=IdentityBudget(clock=ports.clock),
        requires_sealing=settings.require_sealed_delivery,
    )
    preparation = Preparation(
        observer=observer, clock=ports.clock, validity=settings.password_validity
    )
    membership = Membership(
        registries=ports.registries,
        ledgers=ports.ledgers,
        locks=ports.locks,
        clock=ports.clock,
        shared=shared,
    )
    worker = Reconciler(
        records=ports.records,
        queue=ports.queue,
        preparation=preparation,
        applier=Applier(
            deployment=settings.deployment,
            registries=ports.registries,
            secrets=ports.secrets,
            hubs=ports.hubs,
            membership=membership,
            clock=ports.clock,
        ),
        teardown_applier=TeardownApplier(
            registries=ports.registries,
            secrets=ports.secrets,
            hubs=ports.hubs,
            membership=membership,
        ),
        clock=ports.clock,
        clock_offset=ports.clock_offset,
        new_id=_new_id,
    )
    updates = RecordUpdates(records=ports.records, clock=ports.clock, chance=chance)
    # What somebody has just asked for begins here; timers leave it to the queue.
    requests = PromptWork(ports.queue, worker.reconcile) if prompt else ports.queue
    onboarding = Onboarding(
        policy=policy,
        records=ports.records,
        updates=updates,
        queue=requests,
        clock=ports.clock,
        requires_sealing=settings.require_sealed_delivery,
    )
    revoking = Revoking(
        records=ports.records,
        updates=updates,
        queue=requests,
        hubs=ports.hubs,
        clock=ports.clock,
        has_remains=observer.has_remains,
        limit=RevokeLimit(
            most_per_hour=settings.revokes_per_hour,
            counts=ports.revoke_counts,
            clock=ports.clock,
            chance=chance,
        ),
    )
    sites = Sites(
        policy=policy,
        registries=ports.registries,
        ledgers=ports.ledgers,
        records=ports.records,
    )
    poison = Poison(queues=ports.poison, records=ports.records, policy=policy, clock=ports.clock)
    event_handler = EventHandler(
        policy=policy,
        onboarding=onboarding,
        records=ports.records,
        hubs=ports.hubs,
        revoking=revoking,
        vault_host=urlsplit(settings.key_vault_url).netloc,
    )
    inventory_reader = InventoryReader(
        policy=policy,
        registries=ports.registries,
        secrets=ports.secrets,
        hubs=ports.hubs,
        ledgers=ports.ledgers,
        records=ports.records,
        clock=ports.clock,
    )
    rotating = Rotating(records=ports.records, updates=updates, queue=requests, clock=ports.clock)
    return Application(
        policy=policy,
        webhook_keys=settings.webhook_keys,
        onboarding=onboarding,
        revoking=revoking,
        rotating=rotating,
        dry_run=DryRun(preparation=replace(preparation, observer=replace(observer, choices=None))),
        event_handler=event_handler,
        sites=sites,
        batches=Batches(onboarding=onboarding, revoking=revoking, rotating=rotating, sites=sites),
        listing=Listing(records=ports.records),
        summaries=Summaries(records=ports.records, policy=policy, clock=ports.clock),
        overviews=Overviews(
            policy=policy,
            records=ports.records,
            sites=sites,
            sweeps=ports.sweeps,
            poison=poison,
            clock=ports.clock,
        ),
        page_sessions=PageSessions(
            seals=ports.page_seals,
            clock=ports.clock,
            new_seal=lambda: PageSeal(key=os.urandom(32)),
        ),
        gauges=Gauges(records=ports.records, sites=sites, sweeps=ports.sweeps, clock=ports.clock),
        sweeper=Sweeper(
            deployment=settings.deployment,
            most_revokes_percent=settings.sweep_revokes_percent,
            tombstone_age=timedelta(days=settings.tombstone_days),
            inventory_reader=inventory_reader,
            registries=ports.registries,
            hubs=ports.hubs,
            records=ports.records,
            updates=updates,
            queue=ports.queue,
            sweeps=ports.sweeps,
            policy=policy,
            membership=membership,
            event_handler=event_handler,
            revoking=revoking,
            clock=ports.clock,
            new_id=_new_id,
        ),
        rebuilding=Rebuilding(
            deployment=settings.deployment,
            policy=policy,
            inventory_reader=inventory_reader,
            observer=observer,
            records=ports.records,
            updates=updates,
            queue=ports.queue,
            clock=ports.clock,
        ),
        audit=Audit(records=ports.records),
        poison=poison,
        worker=worker,
        readiness=Readiness(
            records=ports.records, clock=ports.clock, clock_offset=ports.clock_offset
        ),
        overdue=OverdueDevices(records=ports.records, queue=ports.queue, clock=ports.clock),
        ports=ports,
    )


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The adapters, before anything has been asked of a service."""

    ports: Ports
    storage: StorageServices
    manager: ResourceManager


def open_connection(
    settings: Settings,
    policies: CurrentPolicy | None = None,
    *,
    cleanup: AsyncExitStack | None = None,
) -> Connection:
    """The adapters, with the app's identity. `cleanup` closes them: a functions app has no end."""
    credential = AsyncDefaultAzureCredential(
        managed_identity_client_id=settings.client_id, **IDENTITY
    )
    clock = ServiceClock(SystemClock())
    storage = _storage(settings, credential, clock)
    paces = Paces()
    registries = ContainerRegistryAdapter(
        client_factory(
            credential,
            endpoint=settings.arm_endpoint,
            audience=settings.arm_audience,
            paces=paces,
        ),
        paces=paces,
    )
    secrets = KeyVaultAdapter(settings.key_vault_url, credential)
    hubs = IotHubAdapter(
        FixedAudience(
            DefaultAzureCredential(managed_identity_client_id=settings.client_id, **IDENTITY),
            settings.iot_hub_audience,
        ),
        clock,
        service_host=(policies or _policies(settings)).service_host,
    )
    manager = ResourceManagerAdapter(
        credential, endpoint=settings.arm_endpoint, audience=settings.arm_audience
    )
    if cleanup is not None:
        for opened in (credential, storage, registries, secrets, hubs, manager):
            cleanup.push_async_callback(opened.close)
    ports = Ports(
        registries=registries,
        secrets=secrets,
        hubs=hubs,
        records=TableRecords(storage),
        queue=QueueWork(storage),
        ledgers=BlobLedgers(storage),
        locks=BlobLocks(storage, clock),
        sweeps=blob_sweeps(storage),
        revoke_counts=blob_revoke_counts(storage),
        page_seals=blob_page_seals(storage),
        poison=PoisonStorage(storage),
        clock=clock,
        clock_offset=clock.offset,
    )
    return Connection(ports=ports, storage=storage, manager=manager)


async def connect(
    settings: Settings,
    policies: CurrentPolicy | None = None,
    *,
    cleanup: AsyncExitStack | None = None,
) -> Ports:
    """The adapters, with the app's identity. Creates missing tables, queues and containers.

    `cleanup` closes them. A functions app has no end and so no use for it.
    """
    opened = open_connection(settings, policies, cleanup=cleanup)
    await opened.storage.prepare()
    return opened.ports


def doctor_on(
    ports: Ports,
    manager: ResourceManager,
    settings: Settings,
    *,
    policy: Policy,
    policy_refusal: Callable[[], Blocked | None] = lambda: None,
) -> Doctor:
    """The doctor on these ports, which need not work."""
    return Doctor(
        reader=DoctorReader(
            app=_app_state(settings),
            policy=policy,
            policy_refusal=policy_refusal,
            registries=ports.registries,
            secrets=ports.secrets,
            hubs=ports.hubs,
            records=ports.records,
            ledgers=ports.ledgers,
            poison=ports.poison,
            sweeps=ports.sweeps,
            manager=manager,
            clock=ports.clock,
            clock_offset=ports.clock_offset,
        )
    )


def _app_state(settings: Settings) -> AppState:
    """What this process knows of the app; the platform sets its name and resource group."""
    place = settings.policy_blob or (str(settings.policy_file) if settings.policy_file else None)
    return AppState(
        name=os.environ.get("WEBSITE_SITE_NAME"),
        group=os.environ.get("WEBSITE_RESOURCE_GROUP"),
        uses_identity_for_storage=settings.storage is None,
        password_validity=settings.password_validity,
        resource_ids=settings.resource_ids,
        policy_setting=settings.policy_setting,
        policy_place=place,
        disabled=tuple(sorted(disabled_functions())),
        unresolved=tuple(sorted(unresolved_references())),
    )


def _storage(
    settings: Settings, credential: AsyncDefaultAzureCredential, clock: ServiceClock
) -> StorageServices:
    if settings.storage is not None:
        return StorageServices.from_connection_string(settings.storage, clock=clock)
    return StorageServices.from_identity(
        credential,
        table_url=settings.storage_table_url or "",
        queue_url=settings.storage_queue_url or "",
        blob_url=settings.storage_blob_url or "",
        clock=clock,
    )


class Runtime:
    """The application of this process, connected at the first call."""

    def __init__(self, settings: Settings, policies: CurrentPolicy | None = None) -> None:
        """Without `policies`, the policy is that of the settings."""
        self._settings = settings
        self._policies = policies or _policies(settings)
        self._opened: Connection | None = None
        self._connecting: asyncio.Task[Ports] | None = None
        self._application: Application | None = None

    async def application(self) -> Application:
        """The application with the present policy. Raises what connecting raises.

        Concurrent calls wait for the same connection, not one after the other; after a failure
        the next call tries again. A call keeps the application that it got, and its policy.
        """
        await self._policies.get()
        connecting = self._connecting
        if connecting is None or (connecting.done() and _has_failed(connecting)):
            connecting = self._connecting = asyncio.create_task(
                connect(self._settings, self._policies)
            )
        ports = await asyncio.shield(connecting)
        policy = self._policies.policy  # of now: another call may have read a later one meanwhile
        if self._application is None or self._application.policy is not policy:
            self._application = wire(self._settings, ports, policy=policy, prompt=True)
        return self._application

    async def doctor(self) -> Doctor:
        """The doctor, also where the application cannot be had: it has a connection of its own."""
        with suppress(FirstpullError):  # which the doctor is about to explain
            await self.application()
        if self._opened is None:
            self._opened = open_connection(self._settings, self._policies)
        return doctor_on(
            self._opened.ports,
            self._opened.manager,
            self._settings,
            policy=await self._policies.get(),
            policy_refusal=lambda: self._policies.refusal,
        )

    @property
    def deployment(self) -> str:
        """The name of this deployment."""
        return self._settings.deployment

    async def policy(self) -> Policy:
        """The present policy, also while storage does not answer."""
        return await self._policies.get()

    @property
    def policy_refusal(self) -> Blocked | None:
        """Why a changed policy does not count, None where the latest one counts."""
        return self._policies.refusal


def _has_failed(task: asyncio.Task[Ports]) -> bool:
    return task.cancelled() or task.exception() is not None


def start() -> Runtime:
    """The runtime for the settings in the environment; also sets up logs and telemetry.

    Raises SettingsError with every error in the settings.
    """
    # At INFO azure-core logs every request's headers: many lines for each device.
    logging.getLogger("azure").setLevel(logging.WARNING)
    settings = read_settings()
    if settings.application_insights is not None:
        export_telemetry(
            settings.application_insights,
            DefaultAzureCredential(managed_identity_client_id=settings.client_id, **IDENTITY),
        )
    for name in unresolved_references():
        emit_warning(LogEvent.SETTINGS_REFERENCE_UNRESOLVED, setting=name)
    policies = _policies(settings)
    if policies.source is not None:
        with ThreadPoolExecutor(1) as apart:  # the worker imports the app within its event loop
            apart.submit(asyncio.run, policies.read_at_start()).result()
    return Runtime(settings, policies)


def _policies(settings: Settings) -> CurrentPolicy:
    """The policy of the settings, with its source if that is a document."""
    source: PolicySource | None = None
    if settings.policy_file is not None:
        source = FilePolicy(settings.policy_file)
    elif settings.policy_blob is not None and settings.storage is not None:
        source = BlobPolicy.from_connection_string(settings.storage, settings.policy_blob)
    elif settings.policy_blob is not None:
        source = BlobPolicy.from_identity(
            DefaultAzureCredential(managed_identity_client_id=settings.client_id, **IDENTITY),
            blob_url=settings.storage_blob_url or "",
            path=settings.policy_blob,
        )
    return CurrentPolicy(
        policy=settings.policy,
        setting=settings.policy_setting,
        source=source,
        clock=SystemClock(),
    )
