"""The order of writes that moves functions between drivers so that no driver can come in between."""

from collections.abc import Iterable, Iterator

from vfiokit.analysis.viability import VFIO_DRIVERS
from vfiokit.binding.drivers import NO_DRIVER
from vfiokit.binding.goal import Move, Owner, Step, StepKind

__all__ = ["CLEAR", "DEVICES", "DRIVERS", "PROBE", "release_order", "steering", "steps_for"]

DEVICES = "sys/bus/pci/devices"
DRIVERS = "sys/bus/pci/drivers"
PROBE = "sys/bus/pci/drivers_probe"
CLEAR = "\n"
"""What clears an override: a newline works on every kernel, an empty write never reaches it."""


def steps_for(
    moves: tuple[Move, ...], *, owner: Owner | None = None, vfio: frozenset[str] = VFIO_DRIVERS
) -> tuple[Step, ...]:
    """Return the steps that take every function from its state before to that after.

    Overrides of all functions first: they move nothing, and from then on no other driver can take a
    function that is between two.

    :param owner: who gets the VFIO nodes.
    :param vfio: the drivers that make VFIO nodes.
    """
    if not moves:
        return ()
    order = release_order(moves)
    rebound = [move for move in order if move.before.driver != move.after.driver]
    groups = sorted({move.group for move in moves if move.group is not None and move.after.driver in vfio})
    return (
        *_loads(moves),
        *(step for move in order for step in _override(move, move.before.override, steering(move))),
        Step(kind=StepKind.FREE),
        Step(kind=StepKind.CHECK),
        *(_unbind(move) for move in rebound if move.before.driver is not None),
        *(_probe(move) for move in reversed(rebound) if move.after.driver is not None),
        *(_verify(move) for move in rebound),
        *(step for move in order for step in _override(move, steering(move), move.after.override)),
        *(step for move in order for step in _virtual_functions(move)),
        # A VFIO driver's probe switches runtime power management on, and its removal off: last.
        *(step for move in order for step in _power(move)),
        *(step for group in groups for step in _group(group, owner)),
        Step(kind=StepKind.COMMIT),
    )


def steering(move: Move) -> str | None:
    """Return the override under which a function is moved.

    A function that stays where it is gets the override that it is to have.
    """
    if move.before.driver == move.after.driver:
        return move.after.override
    return move.after.driver or NO_DRIVER


def release_order(moves: Iterable[Move]) -> tuple[Move, ...]:
    """Return the moves in the order of letting go: consumers before suppliers, functions high to low."""
    left = {move.address: move for move in moves}
    order: list[Move] = []
    while left:
        needed = {supplier for move in left.values() for supplier in move.suppliers}
        free = [address for address in left if address not in needed] or list(left)  # a circle: take any
        order.append(left.pop(max(free)))
    return tuple(order)


def _loads(moves: tuple[Move, ...]) -> Iterator[Step]:
    for module in sorted({move.module for move in moves if move.module}):
        yield Step(kind=StepKind.LOAD, path=module, undo="a loaded module does no harm and stays")


def _power(move: Move) -> Iterator[Step]:
    path = f"{DEVICES}/{move.address}"
    before, after = move.before, move.after
    rebound = before.driver != after.driver
    if after.d3cold_allowed is not None and after.d3cold_allowed != before.d3cold_allowed:
        yield _write(
            StepKind.POWER,
            move,
            f"{path}/d3cold_allowed",
            str(int(after.d3cold_allowed)),
            str(int(bool(before.d3cold_allowed))),
        )
    if after.power_control is not None and (rebound or after.power_control != before.power_control):
        yield _write(
            StepKind.POWER,
            move,
            f"{path}/power/control",
            after.power_control,
            before.power_control or "auto",
        )


def _virtual_functions(move: Move) -> Iterator[Step]:
    """Change the number of virtual functions, with drivers kept away while they appear."""
    before, after = move.before, move.after
    if after.vfs is None:
        return
    path = f"{DEVICES}/{move.address}"
    autoprobe = before.vfs_autoprobe
    if after.vfs != before.vfs:
        if after.vfs and autoprobe:
            yield _write(StepKind.VFS, move, f"{path}/sriov_drivers_autoprobe", "0", "1")
            autoprobe = False
        yield _write(StepKind.VFS, move, f"{path}/sriov_numvfs", str(after.vfs), str(before.vfs))
        yield Step(kind=StepKind.FUNCTIONS, address=move.address, group=move.group, value=str(after.vfs))
    if after.vfs_autoprobe is not None and autoprobe != after.vfs_autoprobe:
        value = str(int(after.vfs_autoprobe))
        yield _write(StepKind.VFS, move, f"{path}/sriov_drivers_autoprobe", value, str(int(bool(autoprobe))))


def _override(move: Move, before: str | None, after: str | None) -> Iterator[Step]:
    if before != after:
        path = f"{DEVICES}/{move.address}/driver_override"
        yield _write(StepKind.OVERRIDE, move, path, after or CLEAR, before or CLEAR)


def _write(kind: StepKind, move: Move, path: str, value: str, undo: str) -> Step:
    back = "a newline" if undo == CLEAR else undo
    return Step(
        kind=kind, address=move.address, group=move.group, path=path, value=value, undo=f"write {back} there"
    )


def _unbind(move: Move) -> Step:
    return Step(
        kind=StepKind.UNBIND,
        address=move.address,
        group=move.group,
        path=f"{DRIVERS}/{move.before.driver}/unbind",
        value=str(move.address),
        undo=f"give it back to {move.before.driver}",
    )


def _probe(move: Move) -> Step:
    return Step(
        kind=StepKind.PROBE,
        address=move.address,
        group=move.group,
        path=PROBE,
        value=str(move.address),
        undo=f"unbind it from {move.after.driver}",
    )


def _verify(move: Move) -> Step:
    return Step(
        kind=StepKind.DRIVER, address=move.address, group=move.group, value=move.after.driver or NO_DRIVER
    )


def _group(group: int, owner: Owner | None) -> Iterator[Step]:
    yield Step(kind=StepKind.NODE, group=group)
    if owner is not None:
        yield Step(kind=StepKind.OWN, group=group, value=_owner_text(owner), undo="give them back")
    yield Step(kind=StepKind.VIABLE, group=group)


def _owner_text(owner: Owner) -> str:
    uid, gid = ("" if number is None else str(number) for number in (owner.uid, owner.gid))
    mode = "" if owner.mode is None else f" mode {owner.mode:04o}"
    return f"{uid}:{gid}{mode}"
