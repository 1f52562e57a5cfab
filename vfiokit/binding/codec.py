"""Plans as JSON and back: for review, for journals and for records. Never code, only values."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from vfiokit.address import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.drivers import check_name
from vfiokit.binding.goal import Goal, Move, Owner, Persisted, Plan, State
from vfiokit.binding.identity import Identity
from vfiokit.binding.plan import Record
from vfiokit.binding.safety import Allowance, parse_allowance
from vfiokit.errors import UsageError

__all__ = ["decode_goal", "decode_move", "decode_persisted", "decode_record", "encode", "encode_plan"]

Object = Mapping[str, Any]


def encode(value: object) -> Any:
    """Return a value of a plan as JSON knows it: addresses and enumerations as text, sets in order.

    >>> encode(State(driver="igb"))["driver"], encode(PciAddress(0, 3, 0, 1))
    ('igb', '0000:03:00.1')
    """
    if isinstance(value, PciAddress | Allowance):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, frozenset):
        return sorted(encode(each) for each in value)
    if isinstance(value, tuple | list):
        return [encode(each) for each in value]
    return value


def encode_plan(plan: Plan) -> dict[str, Any]:
    """Return the body of a plan's document; the text of each step is beside its parts."""
    body = encode(plan)
    for step, shown in zip(plan.steps, body["steps"], strict=True):
        shown["text"] = step.text
    for verdict, shown in zip(plan.verdicts, body["verdicts"], strict=True):
        shown["blocks"] = verdict.blocks
    body["members"] = [
        {"group": group, "devices": [str(each) for each in each_of]} for group, each_of in plan.members
    ]
    body["refused"] = bool(plan.refusals)
    return dict(body)


def decode_goal(body: Object) -> Goal:
    """Read a goal.

    :raises UsageError: if it is none.
    """
    try:
        owner = body["owner"]
        return Goal(
            action=Action(body["action"]),
            targets=tuple(PciAddress.parse(text) for text in body["targets"]),
            driver=_text(body["driver"]),
            with_group=bool(body["with_group"]),
            mates=frozenset(PciAddress.parse(text) for text in body["mates"]),
            allowed=frozenset(parse_allowance(text) for text in body["allowed"]),
            keep_power=bool(body["keep_power"]),
            owner=None if owner is None else Owner(*(_number(owner[key]) for key in ("uid", "gid", "mode"))),
            wait=float(body["wait"]),
            vfs=_number(body["vfs"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"no goal: {_reason(error)}", operation="read", subject="plan") from error


def decode_move(body: Object) -> Move:
    """Read a move.

    :raises UsageError: if it is none.
    """
    try:
        return Move(
            address=PciAddress.parse(body["address"]),
            group=_number(body["group"]),
            identity=_identity(body["identity"]),
            before=_state(body["before"]),
            after=_state(body["after"]),
            mate=bool(body["mate"]),
            module=_text(body["module"]),
            home=_text(body["home"]),
            suppliers=tuple(PciAddress.parse(text) for text in body["suppliers"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"no move: {_reason(error)}", operation="read", subject="journal") from error


def decode_record(text: str) -> Record:
    """Read a record.

    :raises UsageError: if it is none.
    """
    try:
        body = json.loads(text)
        return Record(
            address=PciAddress.parse(body["address"]),
            identity=_identity(body["identity"]),
            original=_state(body["original"]),
            home=_text(body["home"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"no record: {_reason(error)}", operation="read", subject="record") from error


def decode_persisted(text: str) -> Persisted:
    """Read what is to be bound at boot.

    :raises UsageError: if it is none.
    """
    try:
        body = json.loads(text)
        return Persisted(
            address=PciAddress.parse(body["address"]),
            identity=_identity(body["identity"]),
            members=tuple(PciAddress.parse(each) for each in body["members"]),
            driver=check_name(str(body["driver"])),
            module=check_name(str(body["module"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"no configuration: {_reason(error)}", operation="read", subject="persist"
        ) from error


def _identity(body: Object) -> Identity:
    numbers = {
        field.name: _number(body[field.name])
        for field in fields(Identity)
        if field.name not in ("serial", "path")
    }
    return Identity(**numbers, serial=_text(body["serial"]) or "", path=_text(body["path"]) or "")


def _state(body: Object) -> State:
    return State(
        driver=_text(body["driver"]),
        override=_text(body["override"]),
        d3cold_allowed=_flag(body["d3cold_allowed"]),
        power_control=_text(body["power_control"]),
        vfs=_number(body["vfs"]),
        vfs_autoprobe=_flag(body["vfs_autoprobe"]),
    )


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    # What is read here is written to the kernel some time: one line, and no path to elsewhere.
    if value is not None and not value.isprintable():
        raise ValueError(f"{value!r} is not one line of text")
    return value


def _flag(value: object) -> bool | None:
    return None if value is None else bool(value)


def _number(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ValueError(f"{value!r} is no number")
    return value


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
