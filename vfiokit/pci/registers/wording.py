"""How lspci words what is more than a number or a flag: functions of contents, used by the rows' texts."""

__all__: list[str] = []


def power_limit(value: int, scale: int) -> str:
    """Return a slot's power limit (PCIe 6.0, 7.5.3.9): above 239 the values are watts of a list."""
    if scale == 0 and value == 0xFF:
        return ">600W"
    if scale == 0 and value >= 0xF0:
        value = 250 + 25 * (value - 0xF0)
    # The multiplication is done in single precision, then shown with six digits.
    return f"{value * (1.0, 0.1, 0.01, 0.001)[scale]:g}W"


_L0S = ("<64ns", "<128ns", "<256ns", "<512ns", "<1us", "<2us", "<4us", "unlimited")
_L1 = ("<1us", "<2us", "<4us", "<8us", "<16us", "<32us", "<64us", "unlimited")


def latency_l0s(value: int) -> str:
    """Return an L0s latency (PCIe 6.0, 7.5.3.3)."""
    return _L0S[value]


def latency_l1(value: int) -> str:
    """Return an L1 latency (PCIe 6.0, 7.5.3.3)."""
    return _L1[value]


def exit_latency(aspm: int, l0s: int, l1: int) -> str:
    """Return the exit latencies of the ASPM states that a link has."""
    parts = ((1, f"L0s {_L0S[l0s]}"), (2, f"L1 {_L1[l1]}"))
    shown = ", ".join(text for bit, text in parts if aspm & bit)
    return f", Exit Latency {shown}" if shown else ""


def downgraded(port: int, status: int, capability: int) -> str:
    """Compare what a link runs at with what it can; ports with anything below them say nothing."""
    if status > capability:
        return " (overdriven)"
    return "" if status == capability or port in (4, 6, 8) else " (downgraded)"


def payload(value: int) -> int:
    """Return a payload or request size in bytes, reserved encodings too."""
    return 128 << value


def phantom(value: int) -> int:
    """Return the number of function numbers that are claimed as phantoms."""
    return (1 << value) - 1


def power(value: int) -> int:
    """Return two to the power of *value*."""
    return 1 << value


def speeds(vector: int) -> str:
    """Return the range of supported link speeds (PCIe 6.0, 7.5.3.18)."""
    if vector & 0x60:
        vector &= 0x60
    names = {0x40: "RsvdP", 0x20: "2.5-64GT/s", 0x10: "2.5-32GT/s", 0x08: "2.5-16GT/s"}
    names |= {0x04: "2.5-8GT/s", 0x02: "2.5-5GT/s", 0x01: "2.5GT/s"}
    return next((text for bit, text in names.items() if vector & bit), "Unknown")


def prefixes(supported: int, count: int) -> str:
    """Return the number of end-to-end TLP prefixes, for which 0 means 4."""
    return f", MaxEETLPPrefixes {count or 4}" if supported else ""


def flag(name: str, value: int) -> str:
    """Return a flag with its name."""
    return name + "-+"[value & 1]


def ltr(value: int) -> int:
    """Return a latency tolerance in nanoseconds (PCIe 6.0, 7.8.2.2)."""
    # Scales 6 and 7 are reserved; the processor's shift wraps at 32.
    return (value & 0x3FF) << ((value >> 10 & 7) * 5 & 31)


def threshold(scale: int, value: int) -> str:
    """Return the L1.2 threshold."""
    return f"{value << scale * 5}ns" if scale <= 5 else "<error>"


def power_on(scale: int, value: int) -> str:
    """Return the time to power on (PCIe 6.0, 7.8.3.2)."""
    return f"{value * (2, 10, 100)[scale]}us" if scale < 3 else "<error>"


def granularity(value: int, zero: str) -> str:
    """Return a clock's granularity (PCIe 6.0, 7.9.15.2)."""
    return {0: zero, 0xFF: "Greater than 254ns"}.get(value, f"{value}ns")


def unimplemented(value: int) -> str:
    """Return the local clock's granularity."""
    return granularity(value, "Unimplemented")


def unknown(value: int) -> str:
    """Return the effective granularity."""
    return granularity(value, "Unknown")


def lanes(value: int) -> str:
    """Return the lanes whose bits are set."""
    numbers = [str(lane) for lane in range(16) if value >> lane & 1]
    return "LaneErr at lane: " + " ".join(numbers) if numbers else "0"


def serial(value: int) -> str:
    """Return a device serial number, highest byte first."""
    return value.to_bytes(8, "big").hex("-")


def agp_rate(rate: int, version: int, agp3: int) -> str:
    """Return the data rates of AGP; those of AGP 3 are four times as high."""
    factor = 2 if version >= 3 and agp3 else 0
    return ",".join(f"x{1 << bit + factor}" for bit in range(3) if rate >> bit & 1) or "<none>"


_SIZES = ("MB", "GB", "TB", "PB", "EB")


def bar_size(exponent: int) -> str:
    """Return a BAR's size, where 0 is 1 MiB (PCIe 6.0, 7.8.6.3)."""
    return f" {1 << exponent % 10}{_SIZES[exponent // 10]}" if exponent < 44 else " <unknown>"


def bar_sizes(low: int, high: int) -> str:
    """Return the sizes that a resizable BAR can have."""
    sizes = low | high << 28
    return ", supported:" + "".join(bar_size(bit) for bit in range(44) if sizes >> bit & 1) if sizes else ""


def bar_count(count: int) -> str:
    """Return the complaint about an impossible number of resizable BARs."""
    return f"\t\t<error in resizable BAR: num_bars={count} is out of specification>\n"


def associated_devices(bitmap: int) -> str:
    """Return the devices that an event collector speaks for, runs of them as ranges."""
    if not bitmap:
        return "00000000 [none]"
    runs: list[list[int]] = []
    for device in range(32):
        if bitmap >> device & 1:
            if runs and runs[-1][-1] == device - 1:
                runs[-1].append(device)
            else:
                runs.append([device])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    if bitmap >> 31 and len(runs[-1]) > 1:
        # lspci ends a run when it meets a clear bit, and there is none after bit 31.
        shown[-1] = str(runs[-1][0])
    return "RCiEP at Device(s): " + ", ".join(shown)


def associated_buses(following: int, last: int) -> str:
    """Return the buses that an event collector speaks for."""
    return "ff-00 [none]" if (following, last) == (0xFF, 0) else f"{following:02x}-{last:02x}"


def link_address(low: int, high: int) -> str:
    """Return the configuration space that a root complex link leads to (PCIe 6.0, 7.9.8.4.2)."""
    bus = low >> 20 & (1 << (low & 7 or 8)) - 1
    return f"{bus:02x}:{low >> 15 & 0x1F:02x}.{low >> 12 & 7}  CfgSpace={high:08x}{low:08x}"


def overlay(size: int) -> str:
    """Return the size of a multicast overlay window."""
    return f"({_int32(size)} bytes)" if size >= 6 else "(disabled)"


def window(size: int) -> int:
    """Return the size of a multicast window as lspci prints it."""
    return _int32(size)


def _int32(shift: int) -> int:
    value = 1 << (shift & 31)
    return value - (1 << 32) if value >> 31 else value


def arbitration(names: tuple[str, ...], vector: int) -> str:
    """Return arbitration schemes; reserved ones are named where they are set."""
    return " ".join(
        f"{name}{'-+'[vector >> bit & 1]}"
        for bit, name in enumerate(names)
        if name[0] != "?" or vector >> bit & 1
    )


PORT_SCHEMES = ("Fixed", "WRR32", "WRR64", "WRR128", "??4", "??5", "??6", "??7")
VC_SCHEMES = ("Fixed", "WRR32", "WRR64", "WRR128", "TWRR128", "WRR256", "??6", "??7")


def port_arbitration(vector: int) -> str:
    """Return the schemes by which a port chooses a virtual channel."""
    return arbitration(PORT_SCHEMES, vector)


def vc_arbitration(vector: int) -> str:
    """Return the schemes by which a virtual channel chooses a port."""
    return arbitration(VC_SCHEMES, vector)


def dmmrbc(value: int) -> int:
    """Return a PCI-X memory read byte count."""
    return 1 << 9 + value


def dmcrs(value: int) -> int:
    """Return a PCI-X cumulative read size."""
    return 1 << 3 + value


def revision(value: int) -> str:
    """Return a HyperTransport revision."""
    return f"{value >> 5}.{value & 0x1F:02}"


def cache_size(unit: int, size: int) -> str:
    """Return the cache size of a CXL device (CXL 3.0, 8.1.3.7)."""
    if unit == 0:
        return "Cache Size Not Reported"
    if unit in (1, 2):
        return f"Cache Size: {size * (65536, 1 << 20)[unit - 1]:08x}"
    return f"Cache Size: {size} of unknown unit size ({unit})"


def cxl_range(base_high: int, base_low: int, size_high: int, size_low: int) -> str:
    """Return a memory range of a CXL device (CXL 3.0, 8.1.3.8)."""
    base, size = base_high << 32 | base_low, size_high << 32 | size_low & ~0x0FFFFFFF
    last = (base + size - 1) & (1 << 64) - 1
    return f"{base:016x}-{last:016x} [size=0x{size:x}]"


def gpf_time(name: str, value: int, scale: int) -> str:
    """Return a time of the global persistent flush, with its complaint where the scale is reserved."""
    unit = "us" if scale < 3 else "ms" if scale < 6 else "s" if scale < 8 else "<?>"
    complaint = "" if scale < 8 else f"\t\tReserved time scale encoding {scale:x}\n"
    return f"{complaint}\t\t{name}: {value * (1, 10, 100)[scale % 3] if scale < 8 else value}{unit}\n"


def gpf_phase1(value: int, scale: int) -> str:
    """Return the timeout of the first phase."""
    return gpf_time("GPF Phase 1 Timeout", value, scale)


def gpf_phase2(value: int, scale: int) -> str:
    """Return the timeout of the second phase."""
    return gpf_time("GPF Phase 2 Timeout", value, scale)


def gpf_duration(value: int, scale: int) -> str:
    """Return the duration of a device's second phase."""
    return gpf_time("GPF Phase 2 Duration", value, scale)


def logical_devices(count: int) -> str:
    """Return the number of logical devices; more than 16 is reserved."""
    return f"\t\tNumLogDevs: {count}\n" if 0 < count <= 16 else ""


def mapping_base(low: int, high: int) -> str:
    """Return the address that HyperTransport maps to interrupts."""
    return f"{high << 32 | low & 0xFFF00000:016x}"


def ddr_size(value: int) -> str:
    """Return the largest memory on a channel that an Intel host bridge takes."""
    return f"{512 * (1 << (3 - value) * 2) / 1024:g}GB/chan" if value else "Unlimited"


def ddr3_frequency(value: int) -> str:
    """Return the highest memory frequency with a reference of 100 MHz."""
    return {0: "Disabled", 7: "Unlimited"}.get(value, f"{(6 + value) * 200}MHz")


def frequency(value: int, gear: int) -> str:
    """Return a highest memory frequency, as lspci computes it: from the lowest four bits of the register."""
    return f"{gear * 2666 // 10}MHz" if value else "Unlimited"


def ddr3_maximum(value: int) -> int:
    """Return the highest DDR3 frequency in MHz."""
    return (11 - value) * 2666 // 10


def width(value: int) -> str:
    """Return a link width of flit mode (PCIe 6.0, 7.7.9)."""
    names = {0: "x1", 1: "x2", 2: "x4", 3: "x8", 4: "x16", 7: "Dynamic"}
    return names.get(value, f"Unknown ({value})")


def encryption(value: int) -> str:
    """Return the part of a header that is encrypted (PCIe 6.0, 7.9.26.4)."""
    names = ("no", "17:2", "25:2", "33:2", "41:2")
    return names[value] if value < len(names) else f"??{value}"


def stream_state(value: int) -> str:
    """Return the state of an IDE stream."""
    names = ("insecure", "reserved", "secure")
    return names[value] if value < len(names) else f"??{value}"


def algorithm(value: int) -> str:
    """Return the algorithm of an IDE stream; lspci shows the first 15 letters."""
    return "reserved" if value else "AES-GCM-256-96b"


def streams(supported: int, count: int) -> int:
    """Return how many streams there are: none unless supported."""
    return count + 1 if supported else 0


def address_base(low: int, high: int) -> str:
    """Return where an address association starts."""
    return f"{high << 32 | low << 20:x}"


def address_limit(low: int, high: int) -> str:
    """Return where an address association ends."""
    return f"{high << 32 | low << 20 | 0xFFFFF:x}"


def block_id(value: int) -> str:
    """Return what an MMIO register block holds."""
    return {0: "Empty", 1: "MCAP", 0xFF: "MDVS"}.get(value, f"Reserved ({value})")


def cxl_block(number: int, block: int, bir: int, low: int, high: int) -> str:
    """Return a CXL register block; an empty one says nothing."""
    names = {1: "component registers", 2: "BAR virtualization", 3: "CXL device registers"}
    names |= {4: "CPMU registers", 0xFF: "vendor-specific"}
    if not block:
        return ""
    place = f"{high:08x}{low & 0xFFFF0000:08x}"
    return f"\t\tBlock{number}: BIR: bar{bir}, ID: {names.get(block, '<?>')}, offset: {place}\n"


def table(names: tuple[str, ...], value: int) -> str:
    """Return a name, or what lspci says where its table ends."""
    return names[value] if value < len(names) else f"??{value}"


def flit_type(value: int) -> str:
    """Return which flits errors are injected into (PCIe 6.0, 7.7.8.4)."""
    names = dict(enumerate(("any", "any non-IDLE", "only payload", "only NOP", "only IDLE")))
    names |= {5: "only payload+seq", 6: "only payload+1seq"}
    return names.get(value, f"Unknown ({value})")


def consecutive(value: int) -> str:
    """Return how many consecutive errors are injected."""
    names = {0: "none", 7: "pseudo-random", 4: "Unknown (4)"}
    return names.get(value, str(value))


def error_type(value: int) -> str:
    """Return which errors are injected."""
    return ("random", "correctable single group", "correctable three groups", "uncorrectable")[value]


def injection(value: int) -> str:
    """Return how far an injection has come."""
    names = ("not started", "started", "completed", "error")
    return names[value] if value < len(names) else f"Unknown ({value})"


def lane_choice(value: int) -> str:
    """Return which lanes are measured."""
    names = ("all", "even", "odd", "mismatch")
    return names[value] if value < len(names) else f"Unknown ({value})"


def ea_property(value: int, *, secondary: bool = False) -> str:
    """Return what an Enhanced Allocation entry describes (PCIe 6.0, 7.8.5.3)."""
    names = {
        0x00: "memory space, non-prefetchable",
        0x01: "memory space, prefetchable",
        0x02: "I/O space",
        0x03: "VF memory space, prefetchable",
        0x04: "VF memory space, non-prefetchable",
        0x05: "allocation behind bridge, non-prefetchable memory",
        0x06: "allocation behind bridge, prefetchable memory",
        0x07: "allocation behind bridge, I/O space",
        0xFD: "memory space resource unavailable for use",
        0xFE: "I/O space resource unavailable for use",
        0xFF: "entry unavailable for use",
    }
    suffix = ", PrimaryProperties should be used" if secondary and value == 0xFF else ""
    return names.get(value, f"[{value:02x}]") + suffix


def ea_secondary(value: int) -> str:
    """Return the properties to use where the primary ones are not understood."""
    return ea_property(value, secondary=True)


def ea_equivalent(value: int) -> str:
    """Return which BAR an entry stands for."""
    if value < 6:
        return f"BAR {value}"
    if 9 <= value <= 14:
        return f"VF-BAR {value - 9}"
    names = {6: "resource behind function", 7: "not indicated", 8: "expansion ROM"}
    return names.get(value, "reserved")


def sata_bar(bar: int, offset: int) -> str:
    """Return where the index-data pair of a SATA controller lies (SATA 3.0, 13)."""
    if 4 <= bar <= 9:
        return f"BAR{bar - 4} Offset={offset:08x}"
    return "InCfgSpace" if bar == 15 else f"BAR??{bar}"


def inverted(value: int) -> str:
    """Return the bridge's state of B3, whose bit says the contrary."""
    return "B3" + "+-"[value]


def low(value: int) -> str:
    """Return the low half of a base, whose lowest bits are flags."""
    return f"{value & ~3:08x}"


def high(value: int) -> str:
    """Return the low half of an offset, whose lowest bits are all ones."""
    return f"{value | 3:08x}"


def arbitration_table(offset: int) -> str:
    """Return that a virtual channel has a port arbitration table."""
    return "\t\t\tPort Arbitration Table <?>\n" if offset else ""


def at(offset: int, base: int) -> str:
    """Return where a table lies that an offset in 16 bytes points to."""
    return f"{base + 16 * offset:x}"


def link_target(kind: int, low: int, high: int) -> str:
    """Return where a root complex link leads."""
    return link_address(low, high) if kind else f"{high:08x}{low:08x}"


def element(description: int) -> str:
    """Return the type of a root complex element; lspci takes eight bits for it."""
    return table(("Config", "Egress", "Internal"), description & 0xFF)


def vf_bars(*bars: int) -> str:
    """Return the lines of the BARs of virtual functions."""
    lines, index = [], 0
    while index < len(bars):
        number, low = index, bars[index]
        index += 1
        if low in (0, 0xFFFFFFFF):
            continue
        wide = low & 6 == 4
        high = f"{bars[index] if index < len(bars) else 0:08x}" if wide else ""
        index += wide
        bits = "64" if low & 6 else "32"
        prefetchable = "" if low & 8 else "non-"
        kind = f"({bits}-bit, {prefetchable}prefetchable)"
        lines.append(f"\t\tRegion {number}: Memory at {high}{low & ~15:08x} {kind}\n")
    return "".join(lines)


def contrary(value: int) -> str:
    """Return a flag whose bit says the contrary."""
    return "+-"[value]


def place(base: int, block: int, register: int) -> str:
    """Return where a register of a block lies."""
    return f"[{base + block + register:x}]"


def aggregated(value: int) -> str:
    """Return how many packets of a kind are aggregated."""
    return ("-", "=2", "=4", "=8")[value]


def default_stream(value: int) -> str:
    """Return that a stream is the default one."""
    return " Default" if value else ""


def half(value: int) -> str:
    """Return the lower half of a register in the width of a whole one."""
    return f"{value & 0xFFFF:08x}"


def port_complete(value: int) -> str:
    """Return the flag as lspci takes it: of the bits of 0x0a."""
    return "PMComplete" + ("+" if value & 0x0A else "-")
