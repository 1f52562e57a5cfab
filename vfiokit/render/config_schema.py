"""The JSON Schema of what ``config --json`` prints, made from the register table."""

from typing import Any

from vfiokit.pci.registers import families
from vfiokit.pci.registers.rows import Access, View

__all__ = ["config_schema"]

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer", "minimum": 0}
_NUMBER_OR_NONE: Schema = {"type": ["integer", "null"], "minimum": 0}
_TEXT_OR_NONE: Schema = {"type": ["string", "null"]}


def config_schema() -> Schema:
    """Return the schema of a whole document; capabilities that the table knows are named in it."""
    function = {
        "address": _TEXT_OR_NONE,
        "size": _NUMBER,
        "header": {"$ref": "#/$defs/structure"},
        "capabilities": _list_of("structure"),
        "extended": _list_of("structure"),
        "diagnostics": _list_of("diagnostic"),
    }
    return {
        "$schema": _DIALECT,
        "title": "vfiokit.config/1",
        **_object(
            {"schema": {"const": "vfiokit.config/1"}, "source": _TEXT, "functions": _list_of("function")}
        ),
        "$defs": {
            "function": _object(function),
            "structure": _structure(),
            "register": _register(),
            "field": _field(),
            "diagnostic": _object(
                {"code": _TEXT, "severity": _TEXT, "offset": _NUMBER_OR_NONE, "message": _TEXT}
            ),
        },
    }


def _structure() -> Schema:
    """Return a header or a capability: a known one has registers, any other its bytes."""
    names = sorted({row.name for _, rows in families() for row in rows})
    body = {
        "id": _NUMBER_OR_NONE,
        "title": _TEXT,
        "offset": _NUMBER,
        "version": _NUMBER_OR_NONE,
        "section": _TEXT,
        "vfio": {"enum": list(View)},
    }
    known = {"name": {"enum": names}, "registers": _list_of("register")}
    unknown = {"name": _TEXT, "raw": {"type": "string", "pattern": "^([0-9a-f]{2})*$"}}
    return {"oneOf": [_object({**body, **known}), _object({**body, **unknown})]}


def _register() -> Schema:
    return _object(
        {
            "name": _TEXT,
            "title": _TEXT,
            "offset": _NUMBER,
            "size": {"enum": [1, 2, 4, 8]},
            "value": _NUMBER,
            "vfio": {"enum": list(View)},
            "fields": _list_of("field"),
        }
    )


def _field() -> Schema:
    bits = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 63}}
    return _object(
        {
            "name": _TEXT,
            "title": _TEXT,
            "offset": _NUMBER,
            "bits": {**bits, "minItems": 2, "maxItems": 2},
            "access": {"enum": list(Access)},
            "vfio": {"enum": list(View)},
            "value": _NUMBER,
            "meaning": {"type": ["integer", "string", "boolean"]},
            "unit": _TEXT_OR_NONE,
        }
    )


def _object(properties: Schema) -> Schema:
    """Return an object with exactly these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list_of(name: str) -> Schema:
    return {"type": "array", "items": {"$ref": f"#/$defs/{name}"}}
