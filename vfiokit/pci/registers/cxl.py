"""Designated vendor-specific capabilities: CXL's (CXL 3.0, 8.1) and those of others."""

from collections.abc import Mapping

from vfiokit.pci.registers.rows import Block, Capability, Need, View
from vfiokit.pci.registers.table import Meanings, registers

__all__ = ["CAPABILITIES"]

_SECTION = "PCIe 6.0, 7.9.6"
_HEAD = """
Head1    04/4  RO  Designated Vendor-Specific Header 1
  15:0   Vendor   -  DVSEC Vendor ID
  19:16  Rev      -  DVSEC Revision
  31:20  Length   -  DVSEC Length [bytes]
Head2    08/2  RO  Designated Vendor-Specific Header 2
  15:0   ID       -  DVSEC ID
"""
_CXL = "Head1.Vendor == 0x1e98 and Head1.Length >= 16"
_START = (
    "Designated Vendor-Specific: Vendor={Head1.Vendor:04x} ID={Head2.ID:04x} "
    "Rev={Head1.Rev} Len={Head1.Length}"
)


def _cxl(
    number: int,
    name: str,
    title: str,
    section: str,
    table: str,
    text: tuple[str | tuple[str, str] | Need | None, ...],
    *,
    values: Mapping[str, Meanings] | None = None,
    blocks: tuple[Block, ...] = (),
    reserved: tuple[tuple[int, int], ...] = (),
    shown: str = "",
) -> Capability:
    return Capability(
        id=0x23,
        name=name,
        title=f"Designated Vendor-Specific: CXL, {title}",
        extended=True,
        view=View.WRITABLE,
        section=f"CXL 3.0, {section}",
        when=f"{_CXL} and Head2.ID == {number}",
        rests_on="Linux drivers/cxl/cxlpci.h, memory of CXL 3.0",
        registers=registers(_HEAD + table, values or {}),
        blocks=blocks,
        reserved=reserved,
        text=(f"{_START}: CXL\n", Need(0, "Head1.Length"), f"\t\t{shown or title}\n", *text),
    )


_TYPE = {0: "Volatile", 1: "Non-volatile", 2: "CDAT", 7: "CDAT", None: "reserved"}
_CLASS = {0: "DRAM", 1: "Storage", 2: "CDAT", 7: "CDAT", None: "reserved"}
_INTERLEAVE: Meanings = {**dict(enumerate((0, 256, 4096, 512, 1024, 2048, 8192, 16384))), None: 0}
_TIMEOUT = {code: 1 << 2 * code for code in range(8)}
_DEVICE_AT_1 = "Head1.Rev >= 1 and Head1.Length >= 0x38"
_DEVICE_AT_2 = "Head1.Rev >= 2 and Head1.Length >= 0x3c"
_RANGE = """
Range{n}SizeHigh {at:02x}/4  RO  DVSEC CXL Range {n} Size High | when {when}
  31:0   Size        -  Memory_Size_High
Range{n}SizeLow  {low:02x}/4  RO  DVSEC CXL Range {n} Size Low | when {when}
  0      Valid       -  Memory_Info_Valid
  1      Active      -  Memory_Active
  4:2    Type        -  Media_Type
  7:5    Class       -  Memory_Class
  12:8   Interleave  -  Desired_Interleave
  15:13  Timeout     -  Memory_Active_Timeout
  31:28  Size        -  Memory_Size_Low [<<28]
Range{n}BaseHigh {base:02x}/4  RW  DVSEC CXL Range {n} Base High | when {when}
  31:0   Base        -  Memory_Base_High
Range{n}BaseLow  {blow:02x}/4  RW  DVSEC CXL Range {n} Base Low | when {when}
  31:28  Base        -  Memory_Base_Low [<<28]
"""


def _range(number: int, start: int) -> str:
    return _RANGE.format(
        n=number, at=start, low=start + 4, base=start + 8, blow=start + 12, when=_DEVICE_AT_1
    )


def _range_text(number: int) -> str:
    name = f"Range{number}"
    return (
        f"\t\t{name}: {{cxl_range({name}BaseHigh, {name}BaseLow, {name}SizeHigh, {name}SizeLow)}}\n"
        f"\t\t\t{{{name}SizeLow|Valid Active}} Type={{{name}SizeLow.Type=}} Class={{{name}SizeLow.Class=}} "
        f"interleave={{{name}SizeLow.Interleave=}} timeout={{{name}SizeLow.Timeout=}}s\n"
    )


_DEVICE = _cxl(
    0,
    "CXLDevice",
    "PCIe DVSEC for CXL Devices",
    "8.1.3",
    f"""
Cap      0a/2  RO  DVSEC CXL Capability | when {_DEVICE_AT_1}
  0      Cache      -  Cache_Capable
  1      IO         -  IO_Capable
  2      Mem        -  Mem_Capable
  3      MemHWInit  -  Mem_HwInit_Mode
  5:4    HDMCount   -  HDM_Count
  6      CacheWriteback  -  Cache Writeback and Invalidate Capable
  7      Reset      -  CXL Reset Capable
  10:8   ResetTimeout  -  CXL Reset Timeout
  11     ResetMemClr  -  CXL Reset Mem Clr Capable
  13     MLD        -  Multiple Logical Device
  14     Viral      -  Viral_Capable
  15     PMInit     -  PM Init Completion Reporting Capable
Ctl      0c/2  RW  DVSEC CXL Control | when {_DEVICE_AT_1}
  0      Cache      -  Cache_Enable
  1      IO         RO  IO_Enable
  2      Mem        -  Mem_Enable
  7:3    SFCoverage -  Cache_SF_Coverage
  10:8   SFGranularity  -  Cache_SF_Granularity
  11     CacheClean -  Cache_Clean_Eviction
  14     Viral      -  Viral_Enable
Sta      0e/2  RO  DVSEC CXL Status | when {_DEVICE_AT_1} | rsvdz
  14     Viral      RW1CS  Viral_Status
Ctl2     10/2  RW  DVSEC CXL Control2 | when {_DEVICE_AT_1}
  0      DisableCaching  -  Disable Caching
  1      InitCacheWBInval=InitCacheWB&Inval  -  Initiate Cache Write Back and Invalidation
  2      InitRst    -  Initiate CXL Reset
  3      RstMemClrEn  -  CXL Reset Mem Clr Enable
  4      HDMState=DesiredVolatileHDMStateAfterHotReset  -  Desired Volatile HDM State after Hot Reset
Sta2     12/2  RO  DVSEC CXL Status2 | when {_DEVICE_AT_1} | rsvdz
  0      CacheInvalid   -  Cache Invalid
  1      ResetComplete  -  CXL Reset Complete
  2      ResetError     -  CXL Reset Error
  3      HDMStatePreserved  RW1CS  Volatile HDM Preservation Error
  15     PMComplete     -  Power Management Initialization Complete
Lock     14/2  RW  DVSEC CXL Lock | when {_DEVICE_AT_1}
  0      ConfigLock     -  CONFIG_LOCK
Cap2     16/2  RO  DVSEC CXL Capability2 | when {_DEVICE_AT_1}
  3:0    CacheUnit      -  Cache Size Unit
  15:8   CacheSize      -  Cache Size
{_range(1, 0x18)}
{_range(2, 0x28)}
Cap3     38/2  RO  DVSEC CXL Capability3 | when {_DEVICE_AT_2}
  0      ColdReset      -  Default Volatile HDM State after Cold Reset
  1      WarmReset      -  Default Volatile HDM State after Warm Reset
  2      HotReset       -  Default Volatile HDM State after Hot Reset
  3      HotResetConfigurability  -  Volatile HDM State after Hot Reset Configurability
""",
    (
        (
            _DEVICE_AT_1,
            (
                "\t\tCXLCap:\t{Cap|Cache IO Mem MemHWInit} HDMCount {Cap.HDMCount} {Cap|Viral}\n"
                "\t\tCXLCtl:\t{Ctl|Cache IO Mem} CacheSFCov {Ctl.SFCoverage} "
                "CacheSFGran {Ctl.SFGranularity} "
                "{Ctl|CacheClean Viral}\n"
                "\t\tCXLSta:\t{Sta|Viral}\n"
                "\t\tCXLCtl2:\t{Ctl2|DisableCaching InitCacheWBInval InitRst RstMemClrEn}"
            ),
        ),
        (f"{_DEVICE_AT_1} and Head1.Rev >= 2", " {Ctl2|HDMState}"),
        (
            _DEVICE_AT_1,
            "\n\t\tCXLSta2:\t{Sta2|ResetComplete ResetError PMComplete}\n"
            "\t\tCXLCap2:\t{cache_size(Cap2.CacheUnit, Cap2.CacheSize)}\n" + _range_text(1) + _range_text(2),
        ),
        (
            _DEVICE_AT_2,
            (
                "\t\tCXLCap3:\tDefaultVolatile HDM State After:\t"
                "{Cap3|ColdReset WarmReset HotReset HotResetConfigurability}\n"
            ),
        ),
        ("Head1.Rev >= 1 and Head1.Length > 0x3c", "\t\t<?>\n"),
    ),
    values={"Type": _TYPE, "Class": _CLASS, "Interleave": _INTERLEAVE, "Timeout": _TIMEOUT}
    | {"CacheUnit": {0: "not reported", 1: "64 KiB", 2: "1 MiB", None: "reserved"}},
    reserved=((0x3A, 2),),
)

_MAP_AT = "Head1.Length >= 0x2c"
_MAP = _cxl(
    2,
    "CXLFunctionMap",
    "Non-CXL Function Map DVSEC",
    "8.1.4",
    "\n".join(
        f"Map{number}  {0x0C + 4 * number:02x}/4  RO  Non-CXL Function Map {number} | when {_MAP_AT}\n"
        "  31:0  Functions  -  one bit a function"
        for number in range(8)
    ),
    # lspci prints the lower half of each register.
    tuple((_MAP_AT, f"\t\tFuncMap {number}: {{half(Map{number})}}\n") for number in range(8)),
    reserved=((0x0A, 2),),
)

_PORT_AT = "Head1.Length >= 0x28"
_PORT = _cxl(
    3,
    "CXLPort",
    "CXL Extensions DVSEC for Ports",
    "8.1.5",
    f"""
Sta      0a/2  RO  CXL Port Extension Status | when {_PORT_AT}
  0      PMComplete   -  Port Power Management Initialization Complete
  14     Viral        RW1CS  Viral Status
Ctl      0c/2  RW  Port Control Extensions | when {_PORT_AT}
  0      UnmaskSBR    -  Unmask SBR
  1      UnmaskLinkDisable  -  Unmask Link Disable
  2      AltMem       -  Alt Memory and ID Space Enable
  3      AltBME       -  Alt BME
  4      UIOMem       -  UIO To HDM Enable
  14     ViralEnable  -  Viral Enable
AltBusBase 0e/1  RW  Alternate Bus Base | when {_PORT_AT}
  7:0    Bus          -  Alternate Bus Base
AltBusLimit 0f/1  RW  Alternate Bus Limit | when {_PORT_AT}
  7:0    Bus          -  Alternate Bus Limit
AltMemBase 10/2  RW  Alternate Memory Base | when {_PORT_AT}
  15:4   Base         -  Alternate Memory Base
AltMemLimit 12/2  RW  Alternate Memory Limit | when {_PORT_AT}
  15:4   Limit        -  Alternate Memory Limit
AltPrefetchBase 14/2  RW  Alternate Prefetchable Memory Base | when {_PORT_AT}
  15:4   Base         -  Alternate Prefetchable Memory Base
AltPrefetchLimit 16/2  RW  Alternate Prefetchable Memory Limit | when {_PORT_AT}
  15:4   Limit        -  Alternate Prefetchable Memory Limit
AltPrefetchBaseHigh 18/4  RW  Alternate Prefetchable Base High | when {_PORT_AT}
  31:0   Base         -  Alternate Prefetchable Base High
AltPrefetchLimitHigh 1c/4  RW  Alternate Prefetchable Limit High | when {_PORT_AT}
  31:0   Limit        -  Alternate Prefetchable Limit High
RCRBBase 20/4  RW  CXL RCRB Base | when {_PORT_AT}
  0      Enable       -  CXL RCRB Enable
  31:13  Base         -  CXL RCRB Base Address Low [<<13]
RCRBBaseHigh 24/4  RW  CXL RCRB Base High | when {_PORT_AT}
  31:0   Base         -  CXL RCRB Base Address High
""",
    (
        (
            _PORT_AT,
            # lspci tests the bits of the register's offset, 0x0a, in place of bit 0.
            (
                "\t\tCXLPortSta:\t{port_complete(Sta)}\n"
                "\t\tCXLPortCtl:\t{Ctl|UnmaskSBR UnmaskLinkDisable AltMem AltBME ViralEnable}\n"
                "\t\tAlternateBus:\t{AltBusBase:02x}-{AltBusLimit:02x}\n"
                "\t\tAlternateBus:\t{AltMemBase:04x}-{AltMemLimit:04x}\n"
            ),
        ),
    ),
)

_SCALES = dict(enumerate(("1 us", "10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s", "10 s")))
_GPF_PORT = _cxl(
    4,
    "CXLGPFPort",
    "GPF DVSEC for CXL Ports",
    "8.1.6",
    """
Phase1   0c/2  RW  GPF Phase 1 Control
  3:0    TimeBase   -  Port GPF Phase 1 Timeout Base
  11:8   TimeScale  -  Port GPF Phase 1 Timeout Scale
Phase2   0e/2  RW  GPF Phase 2 Control
  3:0    TimeBase   -  Port GPF Phase 2 Timeout Base
  11:8   TimeScale  -  Port GPF Phase 2 Timeout Scale
""",
    ("{gpf_phase1(Phase1.TimeBase, Phase1.TimeScale)}{gpf_phase2(Phase2.TimeBase, Phase2.TimeScale)}",),
    values={"TimeScale": {**_SCALES, None: "reserved"}},
    reserved=((0x0A, 2),),
)
_GPF_DEVICE = _cxl(
    5,
    "CXLGPFDevice",
    "GPF DVSEC for CXL Devices",
    "8.1.7",
    """
Phase2   0a/2  RO  GPF Phase 2 Duration
  3:0    TimeBase   -  Device GPF Phase 2 Time Base
  11:8   TimeScale  -  Device GPF Phase 2 Time Scale
Power    0c/4  RO  GPF Phase 2 Power
  31:0   ActivePower  -  Device GPF Phase 2 active power [mW]
""",
    ("{gpf_duration(Phase2.TimeBase, Phase2.TimeScale)}\t\tGPF Phase 2 Power: {Power}mW\n",),
    values={"TimeScale": {**_SCALES, None: "reserved"}},
)

_AT_1, _AT_2 = "Head1.Rev >= 1 and Head1.Length >= 0x14", "Head1.Rev >= 2 and Head1.Length >= 0x20"
_FLEX = _cxl(
    7,
    "CXLFlexBus",
    "PCIe DVSEC for Flex Bus Port",
    "8.2.1.3",
    f"""
Cap      0a/2  RO  DVSEC Flex Bus Port Capability
  0      Cache      -  Cache_Capable
  1      IO         -  IO_Capable
  2      Mem        -  Mem_Capable
  5      Flit68=68BFlit  -  CXL 68B Flit and VH Capable
  6      MltLogDev  -  CXL Multi-Logical Device Capable
  13     Flit256=256BFlit  -  CXL Latency_Optimized_256B_Flit_Capable
  14     PBRFlit    -  CXL PBR Flit Capable
Ctl      0c/2  RW  DVSEC Flex Bus Port Control
  0      Cache      -  Cache_Enable
  1      IO         RO  IO_Enable
  2      Mem        -  Mem_Enable
  3      SynHdrByp  -  CXL_Sync_Hdr_Bypass_Enable
  4      DrftBuf    -  Drift_Buffer_Enable
  5      Flit68=68BFlit  -  CXL 68B Flit and VH Enable
  6      MltLogDev  -  CXL Multi-Logical Device Enable
  7      RCD        -  Disable_RCD_Training
  8      Retimer1   -  Retimer1_Present
  9      Retimer2   -  Retimer2_Present
  13     Flit256=256BFlit  -  CXL Latency_Optimized_256B_Flit_Enable
  14     PBRFlit    -  CXL PBR Flit Enable
Sta      0e/2  RO  DVSEC Flex Bus Port Status | rsvdz
  0      Cache      -  Cache_Enabled
  1      IO         -  IO_Enabled
  2      Mem        -  Mem_Enabled
  3      SynHdrByp  -  CXL_Sync_Hdr_Bypass_Enabled
  4      DrftBuf    -  Drift_Buffer_Enabled
  5      Flit68=68BFlit  -  CXL 68B Flit and VH Enabled
  6      MltLogDev  -  CXL Multi-Logical Device Enabled
  8      CorrectableProtocolID  RW1CS  CXL_Correctable_Protocol_ID_Framing_Error
  9      UncorrectableProtocolID  RW1CS  CXL_Uncorrectable_Protocol_ID_Framing_Error
  10     UnexpectedProtocolID  RW1CS  CXL_Unexpected_Protocol_ID_Dropped
  11     RetimersMismatch  RW1CS  CXL_Retimers_Present_Mismatched
  12     FlexBusEnableBits  RW1CS  FlexBusEnableBits_Phase_2_Mismatch
  13     Flit256=256BFlit  -  CXL Latency_Optimized_256B_Flit_Enabled
  14     PBRFlit    -  CXL PBR Flit Enabled
  15     IOThrottle -  CXL.io_Throttle_Required_at_64GT/s
ModTS    10/4  RO  DVSEC Flex Bus Port Received Modified TS Data Phase1 | when {_AT_1}
  23:0   Data       -  Received Flex Bus Data
Cap2     14/4  RO  DVSEC Flex Bus Port Capability2 | when {_AT_2}
  0      NOPHint    -  NOP Hint Capable
Ctl2     18/4  RW  DVSEC Flex Bus Port Control2 | when {_AT_2}
  0      NOPHint    -  NOP Hint Enable
Sta2     1c/4  RO  DVSEC Flex Bus Port Status2 | when {_AT_2}
  1:0    NOPHintInfo  -  NOP Hint Info Received
""",
    (
        (
            (
                "(Head1.Rev == 0 and Head1.Length != 0x10) or (Head1.Rev == 1 and Head1.Length != 0x14)"
                " or (Head1.Rev == 2 and Head1.Length != 0x20)"
            ),
            "\t\t<Wrong length for Revision {Head1.Rev}>\n",
        ),
        "\t\tFBCap:\t{Cap|Cache IO Mem Flit68 MltLogDev}",
        ("Head1.Rev > 1", " {Cap|Flit256 PBRFlit}"),
        "\n\t\tFBCtl:\t{Ctl|Cache IO Mem SynHdrByp DrftBuf Flit68 MltLogDev RCD Retimer1 Retimer2}",
        ("Head1.Rev > 1", " {Ctl|Flit256 PBRFlit}"),
        "\n\t\tFBSta:\t{Sta|Cache IO Mem SynHdrByp DrftBuf Flit68 MltLogDev}",
        ("Head1.Rev > 1", " {Sta|Flit256 PBRFlit}"),
        "\n",
        (_AT_1, "\t\tFBModTS:\tReceived FB Data: {ModTS.Data:06x}\n"),
        (
            _AT_2,
            (
                "\t\tFBCap2:\t{Cap2|NOPHint}\n\t\tFBCtl2:\t{Ctl2|NOPHint}\n"
                "\t\tFBSta2:\tNOPHintInfo: {Sta2.NOPHintInfo:x}\n"
            ),
        ),
        ("Head1.Length > 0x20", "\t\t<?>\n"),
    ),
)

_BLOCK_IDS = {
    0: "empty",
    1: "component registers",
    2: "BAR virtualization",
    3: "CXL device registers",
    4: "CPMU registers",
    0xFF: "vendor-specific",
    None: "reserved",
}
_LOCATOR = _cxl(
    8,
    "CXLRegisterLocator",
    "Register Locator DVSEC",
    "8.1.9",
    "",
    (None,),
    blocks=(
        Block(
            "Block",
            registers(
                """
Low      00/4  HwInit  Register Block Offset Low
  2:0    BIR      -  Register BIR
  15:8   BlockID  -  Register Block Identifier
  31:16  Offset   -  Register Block Offset Low [<<16]
High     04/4  HwInit  Register Block Offset High
  31:0   Offset   -  Register Block Offset High
""",
                {"BlockID": _BLOCK_IDS},
            ),
            0x0C,
            8,
            "(Head1.Length - 12) // 8",
            ("{cxl_block(<n+1>, Low.BlockID, Low.BIR, Low, High)}",),
        ),
    ),
    reserved=((0x0A, 2),),
)

_MLD = _cxl(
    9,
    "CXLMLD",
    "MLD DVSEC",
    "8.1.10",
    "Number  0a/2  RO  Number of LD Supported\n  15:0  Devices  -  Number of LDs Supported",
    ("{logical_devices(Number)}",),
)
_TEST = _cxl(
    10,
    "CXLTest",
    "PCIe DVSEC for Test Capability",
    "14.16.1",
    "",
    (),
    shown="PCIe DVSEC for Test Capability <?>",
)
_UNKNOWN = Capability(
    id=0x23,
    name="CXL",
    title="Designated Vendor-Specific: CXL, unknown",
    extended=True,
    view=View.WRITABLE,
    section=_SECTION,
    when=_CXL,
    registers=registers(_HEAD),
    text=(f"{_START}: CXL\n", Need(0, "Head1.Length"), "\t\tUnknown ID {Head2.ID:04x}\n"),
)
_OTHER = Capability(
    id=0x23,
    name="DVSEC",
    title="Designated Vendor-Specific",
    extended=True,
    view=View.WRITABLE,
    section=_SECTION,
    registers=registers(_HEAD),
    text=(
        "",
        Need(0x04, 8, "Designated Vendor-Specific: <unreadable>\n"),
        f"{_START} <?>\n",
    ),
)

CAPABILITIES = (
    _DEVICE,
    _MAP,
    _PORT,
    _GPF_PORT,
    _GPF_DEVICE,
    _FLEX,
    _LOCATOR,
    _MLD,
    _TEST,
    _UNKNOWN,
    _OTHER,
)
