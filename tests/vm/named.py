"""The named topologies, each with the property of a real host that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .topology import Acs, Function, Slot, Topology, single

ROOT_PORTS = Topology(
    name="root-ports",
    slots=(
        single(2, "pcie-root-port", single(0, "nvme", name="disk")),
        single(3, "pcie-root-port", single(0, "igb", name="network")),
        single(4, "edu", name="edu"),
    ),
)
"""A board as it should be: every device below a root port of its own, with ACS."""

ROOT_PORT_WITHOUT_ACS = Topology(
    name="root-port-without-acs",
    slots=(
        single(2, "pcie-root-port", single(0, "nvme", name="disk"), acs=Acs.ABSENT, name="port"),
        single(3, "pcie-root-port", single(0, "e1000e", name="network")),
    ),
)
"""A port that cannot keep its device apart from itself."""

ROOT_PORT_WITHOUT_REDIRECT = Topology(
    name="root-port-without-redirect",
    slots=(
        single(2, "pcie-root-port", single(0, "nvme", name="disk"), acs=Acs.NO_REDIRECT),
        single(3, "pcie-root-port", single(0, "edu", name="edu")),
    ),
)
"""A port with the ACS capability, two bits of which are off."""

PCI_BEHIND_PCIE = Topology(
    name="pci-behind-pcie",
    slots=(
        single(
            2,
            "pcie-root-port",
            single(0, "pcie-pci-bridge", single(1, "edu", name="first"), single(2, "edu", name="second")),
        ),
        single(3, "pcie-root-port", single(0, "nvme", name="disk")),
    ),
)
"""A PCIe-to-PCI bridge hides the requester ids of the two functions behind it."""

SWITCH = Topology(
    name="switch",
    slots=(
        single(
            2,
            "pcie-root-port",
            single(
                0,
                "x3130-upstream",
                single(0, "xio3130-downstream", single(0, "nvme", name="disk")),
                single(1, "xio3130-downstream", single(0, "edu", name="edu")),
                single(2, "xio3130-downstream", name="empty"),
            ),
        ),
    ),
)
"""A switch whose downstream ports have no ACS: each makes a group with what is below it, yet they forward
requests to each other."""

MULTIFUNCTION = Topology(
    name="multifunction",
    slots=(
        single(2, "edu", name="alone"),
        Slot(
            number=3,
            functions=(Function(device="edu", name="first"), Function(device="nvme", name="second")),
        ),
        single(
            4,
            "pcie-root-port",
            Slot(
                number=0,
                functions=tuple(Function(device="e1000e", name=f"network{number}") for number in range(3)),
            ),
        ),
    ),
)
"""Functions of one slot without ACS, on the root bus and below a port."""

MULTIFUNCTION_ROOT_PORTS = Topology(
    name="multifunction-root-ports",
    slots=(
        Slot(
            number=2,
            functions=(
                Function(device="pcie-root-port", below=(single(0, "nvme", name="strict"),)),
                Function(device="pcie-root-port", below=(single(0, "edu", name="loose"),), acs=Acs.ABSENT),
                Function(device="ioh3420", below=(single(0, "pci-testdev", name="loose-too"),)),
            ),
        ),
    ),
)
"""Root ports in one slot: those without ACS join each other and all below, the one with ACS does not."""

SECOND_ROOT = Topology(
    name="second-root",
    slots=(
        single(2, "pcie-root-port", single(0, "edu", name="near")),
        single(
            3,
            "pxb-pcie",
            single(0, "pcie-root-port", single(0, "nvme", name="far")),
            single(1, "pcie-root-port", single(0, "edu", name="far-edu"), acs=Acs.ABSENT),
        ),
    ),
)
"""A host bridge of its own, as on a machine with two sockets."""

CONVENTIONAL = Topology(
    name="conventional",
    slots=(
        single(
            2,
            "pci-bridge",
            single(1, "edu", name="first"),
            single(2, "e1000e", name="second"),
            name="bridge",
        ),
        single(3, "i82801b11-bridge", single(4, "edu", name="behind-dmi"), name="dmi"),
    ),
)
"""Conventional bridges on the root bus."""

NESTED_BRIDGES = Topology(
    name="nested-bridges",
    slots=(
        single(
            2,
            "pcie-root-port",
            single(
                0,
                "pcie-pci-bridge",
                single(
                    1, "pci-bridge", single(1, "edu", name="deep"), single(2, "pci-testdev", name="deep-too")
                ),
                single(2, "edu", name="shallow"),
            ),
        ),
    ),
)
"""A conventional bridge behind a PCIe-to-PCI bridge: the upper one decides."""

SRIOV_IGB = Topology(
    name="sriov-igb",
    slots=(
        single(2, "pcie-root-port", single(0, "igb", name="network", vfs=3)),
        single(3, "pcie-root-port", single(0, "igb", name="joined", vfs=2), acs=Acs.ABSENT),
        single(
            4,
            "pcie-root-port",
            Slot(
                number=0, functions=tuple(Function(device="igb", name=f"dual{n}", vfs=1) for n in range(2))
            ),
        ),
    ),
)
"""Virtual functions below a port with ACS, below one without, and of the two functions of one card."""

SRIOV_NVME = Topology(
    name="sriov-nvme",
    slots=(single(2, "pcie-root-port", single(0, "nvme", name="disk", vfs=3)),),
)
"""Virtual functions in the slot of their physical function."""

SWITCH_BELOW_SECOND_ROOT = Topology(
    name="switch-below-second-root",
    slots=(
        single(
            2,
            "pxb-pcie",
            single(
                0,
                "pcie-root-port",
                single(
                    0,
                    "x3130-upstream",
                    single(0, "xio3130-downstream", single(0, "nvme", name="disk")),
                    single(3, "xio3130-downstream", single(0, "igb", name="network", vfs=2)),
                ),
            ),
        ),
    ),
)
"""A switch at the second root, with virtual functions below it."""

BIG = Topology(
    name="big",
    slots=(
        single(2, "pcie-root-port", single(0, "nvme", name="disk")),
        single(3, "pcie-root-port", single(0, "igb", name="network", vfs=4)),
        single(
            4,
            "pcie-root-port",
            single(
                0,
                "x3130-upstream",
                single(0, "xio3130-downstream", single(0, "nvme", name="switched-disk")),
                single(
                    1,
                    "xio3130-downstream",
                    single(
                        0,
                        "x3130-upstream",
                        single(0, "xio3130-downstream", single(0, "edu", name="deep")),
                        single(1, "xio3130-downstream"),
                    ),
                ),
                single(2, "xio3130-downstream", single(0, "pcie-pci-bridge", single(5, "edu", name="old"))),
            ),
        ),
        Slot(
            number=5,
            functions=(
                Function(device="pcie-root-port", below=(single(0, "qemu-xhci", name="usb"),)),
                Function(device="pcie-root-port", below=(single(0, "e1000e", name="wire"),), acs=Acs.ABSENT),
            ),
        ),
        single(6, "pci-bridge", single(1, "edu", name="oldest")),
        Slot(number=7, functions=(Function(device="edu"), Function(device="virtio-rng-pci", name="random"))),
        single(8, "pxb-pcie", single(0, "pcie-root-port", single(0, "virtio-net-pci", name="far"))),
    ),
)
"""A bit of everything, a switch below a switch included."""

EMPTY = Topology(name="empty", slots=())
"""Nothing but the machine and the lab's own file system devices."""

NAMED: Mapping[str, Topology] = MappingProxyType(
    {
        topology.name: topology
        for topology in (
            ROOT_PORTS,
            ROOT_PORT_WITHOUT_ACS,
            ROOT_PORT_WITHOUT_REDIRECT,
            PCI_BEHIND_PCIE,
            SWITCH,
            MULTIFUNCTION,
            MULTIFUNCTION_ROOT_PORTS,
            SECOND_ROOT,
            CONVENTIONAL,
            NESTED_BRIDGES,
            SRIOV_IGB,
            SRIOV_NVME,
            SWITCH_BELOW_SECOND_ROOT,
            BIG,
        )
    }
)
"""Every topology worth a boot of its own, by name."""
