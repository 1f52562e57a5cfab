"""Plans and what became of them, in lines and as documents."""

from collections.abc import Iterator

from vfiokit.binding.codec import encode, encode_plan
from vfiokit.binding.goal import Move, Plan, State
from vfiokit.binding.safety import Verdict
from vfiokit.model.finding import Severity
from vfiokit.render.json import Object

__all__ = ["moved_lines", "moved_object", "plan_lines", "plan_object", "state_text"]

_SIGNS = {Severity.ERROR: "refused", Severity.UNKNOWN: "unknown", Severity.WARNING: "warning"}


def plan_lines(plan: Plan, *, steps: bool = True) -> Iterator[str]:
    """Yield what will be done, step by step, and what stands against it."""
    if not plan.moves and not plan.verdicts:
        yield "nothing to do: everything is as wanted"
        return
    for move in plan.moves:
        mate = " (mate)" if move.mate else ""
        yield f"{move.address}  {state_text(move.before)} -> {state_text(move.after)}{mate}"
    for left in plan.left:
        yield f"{left.address}  stays: {left.reason}"
    if steps:
        for number, step in enumerate(plan.steps, 1):
            undo = f"  (undo: {step.undo})" if step.undo else ""
            yield f"{number:3}. {step.text}{undo}"
    for verdict in plan.verdicts:
        yield from _verdict_lines(verdict)
    if plan.refusals:
        yield f"it would be refused: rules against it: {len(plan.refusals)}"


def plan_object(plan: Plan) -> Object:
    """Return the body of a plan's document, which ``apply`` takes."""
    return {"plan": encode_plan(plan)}


def moved_lines(moves: tuple[Move, ...], plan: Plan) -> Iterator[str]:
    """Yield what was moved, and what was warned of."""
    if not moves:
        yield "nothing to do: everything is as wanted"
    for move in sorted(moves, key=lambda move: move.address):
        yield f"{move.address}  {state_text(move.before)} -> {state_text(move.after)}"
    for verdict in plan.verdicts:
        yield from _verdict_lines(verdict)


def moved_object(action: str, moves: tuple[Move, ...], plan: Plan) -> Object:
    """Return the body of the document of a command that moved something."""
    return {
        "action": action,
        "moved": [
            {
                "address": str(move.address),
                "group": move.group,
                "before": encode(move.before),
                "after": encode(move.after),
            }
            for move in sorted(moves, key=lambda move: move.address)
        ],
        "verdicts": [{**encode(verdict), "blocks": verdict.blocks} for verdict in plan.verdicts],
    }


def state_text(state: State) -> str:
    """Return a state in a few words.

    >>> state_text(State(driver="igb")), state_text(State(override="none"))
    ('igb', 'no driver, override none')
    """
    driver = state.driver or "no driver"
    shown = state.override is not None and state.override != state.driver
    return f"{driver}, override {state.override}" if shown else driver


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    sign = "allowed" if verdict.allowed else "waits" if verdict.waits else _SIGNS[verdict.severity]
    yield f"{sign}: {verdict.address} {verdict.message} [{verdict.rule}]"
    for line in verdict.evidence:
        yield f"  seen: {line}"
    if verdict.blocks and verdict.remedy:
        yield f"  do: {verdict.remedy}"
        if verdict.allowable and verdict.rule != "group-mate":
            yield f"  or: --allow {verdict.rule}={verdict.address}"
