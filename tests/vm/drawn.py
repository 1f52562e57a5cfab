"""Topologies that Hypothesis draws: every kind, every bus, valid by construction."""

from __future__ import annotations

from hypothesis import strategies as st

from .topology import EXTRA_BUSES, KINDS, Acs, Bus, Function, Kind, Slot, Topology

MAX_FUNCTIONS = 20
MAX_DEPTH = 4

# A display brings a second of firmware with it and nothing new for grouping; the others want memory for it.
_LEFT_OUT = ("VGA", "cxl-type3", "ivshmem-plain")
DRAWN = tuple(kind for kind in KINDS.values() if kind.device not in _LEFT_OUT)

WEIGHTS = {"pcie-root-port": 8, "x3130-upstream": 4, "pxb-pcie": 2, "igb": 3, "nvme": 3}
"""How often a kind stands in the hat; once where nothing is said. Most of the world is ports, switches."""


@st.composite
def topologies(draw: st.DrawFn, max_functions: int = MAX_FUNCTIONS, max_depth: int = MAX_DEPTH) -> Topology:
    """Draw a topology of at most so many functions and so many bridges between the root and an endpoint."""
    drawing = _Drawing(draw, max_functions, max_depth)
    return Topology(name="drawn", slots=drawing.slots(Bus.ROOT, 0))


class _Drawing:
    """One topology in the making, and what is left of its bounds."""

    def __init__(self, draw: st.DrawFn, functions: int, max_depth: int) -> None:
        self.draw = draw
        self.functions = functions
        self.extra_roots = len(EXTRA_BUSES)
        self.max_depth = max_depth

    def slots(self, bus: Bus, depth: int) -> tuple[Slot, ...]:
        at_most = 1 if bus is Bus.LINK else 5 if bus is Bus.ROOT else 3
        numbers = self.draw(st.lists(st.sampled_from(bus.slots), min_size=1, max_size=at_most, unique=True))
        drawn = [self.slot(number, bus, depth) for number in numbers]
        return tuple(sorted((slot for slot in drawn if slot.functions), key=lambda slot: slot.number))

    def slot(self, number: int, bus: Bus, depth: int) -> Slot:
        # One function in most slots, as in the world.
        count = min(self.draw(st.sampled_from((1, 1, 1, 1, 2, 3))), self.functions)
        self.functions -= count
        functions: list[Function] = []
        kin: Kind | None = None
        for index in range(count):
            kind = self.kind(bus, index, depth, kin)
            if kind is None:
                break
            kin = kind if kind.shares_with_kin else None
            roomy = bus is Bus.LINK and (count == 1 or kind.shares_with_kin)
            functions.append(self.function(kind, depth, roomy=roomy))
        return Slot(number=number, functions=tuple(functions))

    def kind(self, bus: Bus, index: int, depth: int, kin: Kind | None) -> Kind | None:
        if kin is not None:
            return kin if index in kin.functions else None
        fitting = [kind for kind in DRAWN if bus in kind.fits and not (index and kind.shares_with_kin)]
        fitting = [kind for kind in fitting if index in kind.functions]
        ends = [kind for kind in fitting if kind.below is None]
        bridges = [kind for kind in fitting if kind.below is not None and self.may_open(kind, depth)]
        # Bridges make groups, and are few among the kinds: half of the functions near the root are bridges.
        kinds = self.draw(st.sampled_from([kinds for kinds in (ends, bridges) if kinds]))
        hat = [kind for kind in kinds for _ in range(WEIGHTS.get(kind.device, 1))]
        return self.draw(st.sampled_from(hat))

    def may_open(self, kind: Kind, depth: int) -> bool:
        # A switch without ports has no end below it: ports are drawn at any depth, left empty at the last.
        if kind.below is Bus.EXTRA:
            return self.extra_roots > 0
        return depth < self.max_depth or kind.fits == {Bus.SWITCH}

    def function(self, kind: Kind, depth: int, *, roomy: bool) -> Function:
        self.extra_roots -= kind.below is Bus.EXTRA
        return Function(
            device=kind.device,
            below=self.below(kind, depth),
            acs=self.draw(st.sampled_from(Acs)) if kind.acs else Acs.FULL,
            vfs=self.draw(st.integers(0, min(kind.max_vfs, 3))) if roomy else 0,
        )

    def below(self, kind: Kind, depth: int) -> tuple[Slot, ...]:
        deep = depth >= self.max_depth or self.functions == 0
        return () if kind.below is None or deep else self.slots(kind.below, depth + 1)
