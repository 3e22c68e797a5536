from __future__ import annotations

from typing import Any

import pytest

from local_azure.functions_host.protos import ParameterBinding, RpcHttp, TypedData


@pytest.mark.parametrize(
    "fields", [{"string": b"bytes"}, {"bytes": "text"}, {"json": {"no": "text"}}, {"int": "1"}]
)
def test_a_value_of_another_type_than_its_field_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be"):
        TypedData(**fields)


@pytest.mark.parametrize("fields", [{"headers": {"Retry-After": 5}}, {"status_code": 200}])
def test_header_values_and_the_status_must_be_texts(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be str, not int"):
        RpcHttp(**fields)


def test_a_value_tells_which_of_its_fields_is_set() -> None:
    assert TypedData(string="").WhichOneof("data") == "string"
    assert TypedData().WhichOneof("data") is None
    assert ParameterBinding("name", TypedData()).WhichOneof("rpc_data") == "data"
