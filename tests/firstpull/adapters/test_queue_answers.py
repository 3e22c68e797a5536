"""What the queue service answers with characters that XML has not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from firstpull.adapters.storage import PoisonStorage, StorageServices
from firstpull.model.clock import ServiceClock, SystemClock

_MESSAGE = (
    "<QueueMessage><MessageId>{id}</MessageId>"
    "<InsertionTime>Sun, 29 Nov 2026 06:00:00 GMT</InsertionTime>"
    "<ExpirationTime>Sun, 06 Dec 2026 06:00:00 GMT</ExpirationTime>"
    "<DequeueCount>0</DequeueCount><MessageText>{text}</MessageText></QueueMessage>"
)


async def _answer(request: web.Request) -> web.Response:
    assert request.query["peekonly"] == "true"
    texts = ("a&lt;&#10;ä", "b\uffff", "c&#xFFFE;", "d&#0;&#x1f;\x0b", "e&#x1F600;")
    listed = "".join(_MESSAGE.format(id=text[0], text=text) for text in texts)
    body = f'<?xml version="1.0" encoding="utf-8"?><QueueMessagesList>{listed}</QueueMessagesList>'
    return web.Response(body=body.encode(), content_type="application/xml")


@pytest.fixture
async def storage() -> AsyncIterator[StorageServices]:
    application = web.Application()
    application.router.add_get("/{path:.*}", _answer)
    async with TestServer(application) as server:
        endpoints = ";".join(f"{kind}Endpoint={server.make_url('/any')}" for kind in _KINDS)
        text = f"AccountName=any;AccountKey=YW55;{endpoints}"
        services = StorageServices.from_connection_string(text, clock=ServiceClock(SystemClock()))
        yield services
        await services.close()


_KINDS = ("Table", "Queue", "Blob")


async def test_one_message_with_such_a_character_hides_no_other(storage: StorageServices) -> None:
    front = await PoisonStorage(storage).peek("device-work")
    assert front.is_whole
    assert [message.text for message in front.messages] == [
        "a<\nä",
        "b\\uffff",
        "c\\ufffe",
        "d\\u0000\\u001f\\u000b",
        "e😀",
    ]
