"""The files' formats as JSON Schema, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any, Literal

from perfharness.order.circuit import Circuit
from perfharness.order.scenario import Scenario
from perfharness.order.validation import Strict

_MODELS: dict[str, type[Strict]] = {"circuit": Circuit, "scenario": Scenario}


def json_schema(kind: Literal["circuit", "scenario"]) -> dict[str, Any]:
    """JSON Schema 2020-12 of the file as it is written."""
    schema = _MODELS[kind].model_json_schema(by_alias=True, mode="validation")
    for model in (schema, *schema["$defs"].values()):
        for field in model.get("properties", {}).values():
            if field.get("type") == "string" and isinstance(field.get("default"), int):
                del field["default"]  # nanoseconds or bit/s: nobody writes them so
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
