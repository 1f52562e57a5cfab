"""Programming interfaces by class (PCI Code and ID Assignment, 1), as ``pci.ids`` words them."""

__all__ = ["interface_name"]

_NAMES: dict[int, dict[int, str]] = {
    0x0101: {
        0x00: "ISA Compatibility mode-only controller",
        0x05: "PCI native mode-only controller",
        0x0A: "ISA Compatibility mode controller, supports both channels switched to PCI native mode",
        0x0F: "PCI native mode controller, supports both channels switched to ISA compatibility mode",
        0x80: "ISA Compatibility mode-only controller, supports bus mastering",
        0x85: "PCI native mode-only controller, supports bus mastering",
        0x8A: "ISA Compatibility mode controller, supports both channels switched to PCI native mode, "
        "supports bus mastering",
        0x8F: "PCI native mode controller, supports both channels switched to ISA compatibility mode, "
        "supports bus mastering",
    },
    0x0105: {0x20: "ADMA single stepping", 0x30: "ADMA continuous operation"},
    0x0106: {0x00: "Vendor specific", 0x01: "AHCI 1.0", 0x02: "Serial Storage Bus"},
    0x0107: {0x01: "Serial Storage Bus"},
    0x0108: {0x01: "NVMHCI", 0x02: "NVM Express"},
    0x0109: {0x00: "Vendor specific", 0x01: "UFSHCI"},
    0x0300: {0x00: "VGA controller", 0x01: "8514 controller"},
    0x0502: {0x00: "CXL Memory Device - vendor specific", 0x10: "CXL Memory Device (CXL 2.x)"},
    0x0604: {0x00: "Normal decode", 0x01: "Subtractive decode"},
    0x0608: {0x00: "Transparent mode", 0x01: "Endpoint mode"},
    0x0609: {
        0x40: "Primary bus towards host CPU",
        0x80: "Secondary bus towards host CPU",
    },
    0x0700: {
        0x00: "8250",
        0x01: "16450",
        0x02: "16550",
        0x03: "16650",
        0x04: "16750",
        0x05: "16850",
        0x06: "16950",
    },
    0x0701: {
        0x00: "SPP",
        0x01: "BiDir",
        0x02: "ECP",
        0x03: "IEEE1284",
        0xFE: "IEEE1284 Target",
    },
    0x0703: {
        0x00: "Generic",
        0x01: "Hayes/16450",
        0x02: "Hayes/16550",
        0x03: "Hayes/16650",
        0x04: "Hayes/16750",
    },
    0x0800: {
        0x00: "8259",
        0x01: "ISA PIC",
        0x02: "EISA PIC",
        0x10: "IO-APIC",
        0x20: "IO(X)-APIC",
    },
    0x0801: {0x00: "8237", 0x01: "ISA DMA", 0x02: "EISA DMA"},
    0x0802: {0x00: "8254", 0x01: "ISA Timer", 0x02: "EISA Timers", 0x03: "HPET"},
    0x0803: {0x00: "Generic", 0x01: "ISA RTC"},
    0x0899: {0x01: "TAP Timing Card"},
    0x0904: {0x00: "Generic", 0x10: "Extended"},
    0x0C00: {0x00: "Generic", 0x10: "OHCI"},
    0x0C03: {
        0x00: "UHCI",
        0x10: "OHCI",
        0x20: "EHCI",
        0x30: "XHCI",
        0x40: "USB4 Host Interface",
        0x80: "Unspecified",
        0xFE: "USB Device",
    },
    0x0C07: {0x00: "SMIC", 0x01: "KCS", 0x02: "BT (Block Transfer)"},
}


def interface_name(class_code: int, interface: int) -> str | None:
    """Return the name of a programming interface, ``None`` where there is none.

    :param class_code: base class and subclass, 16 bits.
    """
    return _NAMES.get(class_code, {}).get(interface)
