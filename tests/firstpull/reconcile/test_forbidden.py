"""What a subscription forbids is told with its remedy, and not fought at each look."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from firstpull.adapters.azure_errors import translate_status
from firstpull.model.device_key import DeviceKey
from firstpull.model.device_record import State
from firstpull.model.errors import FirstpullError
from firstpull.model.reasons import Reason
from tests.firstpull.end_state import end_state
from tests.firstpull.harness import PLANT_ONE, VALIDITY, Harness
from tests.firstpull.records import grant_of
from tests.world.ports import FakeSecrets

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REFUSALS = {
    "ForbiddenByPolicy": (403, Reason.REFUSED_BY_POLICY),
    "ForbiddenByFirewall": (403, Reason.ACCESS_DENIED),
    "ObjectIsBeingRecovered": (409, Reason.SERVICE_UNAVAILABLE),
    "ObjectIsBeingDeleted": (409, Reason.SERVICE_UNAVAILABLE),
}
type Refuse = Callable[[FirstpullError | None], None]


@pytest.fixture
def vault_refuses(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Has the vault take no new version, for this error; None ends that."""
    put, errors = FakeSecrets.put, list[FirstpullError]()

    async def refusing(*given: object, **named: object) -> object:
        if errors:
            raise errors[0]
        return await put(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeSecrets, "put", refusing)

    def refuse(error: FirstpullError | None) -> None:
        errors[:] = [error] if error is not None else []

    return refuse


def refusal(code: str) -> FirstpullError:
    status, _ = REFUSALS[code]
    return translate_status("Key Vault", status=status, code=code)


@pytest.mark.parametrize("code", REFUSALS)
async def test_while_the_vault_refuses_one_password_is_made_and_no_more(
    vault_refuses: Refuse, code: str
) -> None:
    harness = Harness()
    device = harness.register()
    vault_refuses(refusal(code))
    await harness.ask()
    await harness.run_for(6 * HOUR)
    assert len(harness.cloud.passwords_made) == 1
    assert harness.reason(device) is REFUSALS[code][1]
    vault_refuses(None)
    await harness.ask()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert len(harness.cloud.passwords_made) == 2


@pytest.mark.parametrize(
    "code",
    [
        # A secret that moves is asked for every few minutes: two months of it take long.
        pytest.param(code, marks=pytest.mark.slow if code.startswith("ObjectIs") else ())
        for code in REFUSALS
    ],
)
async def test_while_the_vault_refuses_a_renewal_the_device_keeps_its_password(
    vault_refuses: Refuse, code: str
) -> None:
    harness = Harness()
    device = await harness.make_ready()
    harness.must_stay_logged_in.add(device)
    vault_refuses(refusal(code))
    await harness.run_for(VALIDITY * 0.51)
    await harness.run_after(VALIDITY * 0.2)
    assert len(harness.cloud.passwords_made) == 2
    vault_refuses(None)
    await harness.run_for(2 * DAY)
    assert harness.state(device) is State.READY
    assert len(harness.cloud.passwords_made) == 3


def token_of(harness: Harness, device: DeviceKey) -> bool:
    """Whether the device's token is enabled."""
    token = grant_of(harness.cloud.record(device)).token_id
    found = harness.cloud.token(token.registry, token.name)
    assert found is not None
    return found.status == "enabled"


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_policy_that_disables_every_token_is_told_and_not_fought(*, is_new: bool) -> None:
    harness = Harness()
    if is_new:
        device = harness.register()
        harness.cloud.let_policy_disable_tokens(disable=True)
        await harness.ask()
    else:
        device = await harness.make_ready()
        harness.cloud.let_policy_disable_tokens(disable=True)
        token = grant_of(harness.cloud.record(device)).token_id
        harness.cloud.registry().update_token(token.name, status="disabled")
        await harness.sweep()
    await harness.run_for(2 * DAY)
    condition = harness.cloud.record(device).status.condition
    assert (condition.state, condition.reason) == (State.BLOCKED, Reason.REFUSED_BY_POLICY)
    assert condition.remedy == "Exempt it."
    written = harness.cloud.writes()["registries.update_token"]
    for _ in range(48):
        await harness.run_for(HOUR)
        await harness.sweep()
    assert harness.cloud.writes()["registries.update_token"] - written <= 3
    harness.cloud.let_policy_disable_tokens(disable=False)
    await harness.ask()
    await harness.run_until_quiet()
    assert harness.state(device) is State.READY
    assert token_of(harness, device)
    assert harness.cloud.clients(PLANT_ONE) == [grant_of(harness.cloud.record(device)).names.token]
    assert end_state(harness.cloud, device)["state"] is State.READY
