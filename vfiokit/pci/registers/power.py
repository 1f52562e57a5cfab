"""Power: PCI Power Management, Power Budgeting, Dynamic Power Allocation, L1 PM Substates, LTR."""

from vfiokit.pci.registers.rows import Block, Capability, Need, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_PM = Capability(
    id=0x01,
    name="PM",
    title="Power Management",
    section="PCIe 6.0, 7.5.2",
    view=View.READ,
    registers=registers(
        """
PMC      02/2  RO  Power Management Capabilities
  2:0    Version   -  Version
  3      PMEClk    -  PME Clock
  4      ImmediateReadiness  -  Immediate_Readiness_on_Return_to_D0
  5      DSI       -  Device Specific Initialization
  8:6    AuxCurrent  -  Aux_Current [mA]
  9      D1        -  D1_Support
  10     D2        -  D2_Support
  11     PMED0=D0  -  PME_Support from D0 [vfio fixed]
  12     PMED1=D1  -  PME_Support from D1 [vfio fixed]
  13     PMED2=D2  -  PME_Support from D2 [vfio fixed]
  14     PMED3hot=D3hot    -  PME_Support from D3hot [vfio fixed]
  15     PMED3cold=D3cold  -  PME_Support from D3cold [vfio fixed]
PMCSR    04/2  RW  Power Management Control/Status | view writable
  1:0    State     -     PowerState [vfio trapped]
  3      NoSoftRst  RO   No_Soft_Reset
  8      PMEEnable=PME-Enable  RWS  PME_En [vfio fixed]
  12:9   DataSelect  -   Data_Select
  14:13  DataScale  RO   Data_Scale
  15     PME       RW1CS  PME_Status [vfio fixed]
BSE      06/1  RO  Bridge Support Extensions | view writable
  6      B2B3      -  B2_B3#, undefined since PCIe
  7      BPCC      -  Bus Power/Clock Control Enable, undefined since PCIe
Data     07/1  RO  Data | view writable
  7:0    Data      -  what Data_Select chose
""",
        {
            "AuxCurrent": dict(enumerate((0, 55, 100, 160, 220, 270, 320, 375))),
            "State": {0: "D0", 1: "D1", 2: "D2", 3: "D3hot"},
        },
    ),
    text=(
        (
            "Power Management version {PMC.Version}\n"
            "\t\tFlags: {PMC|PMEClk DSI D1 D2} AuxCurrent={PMC.AuxCurrent=}mA "
            "PME(D0{PMC.PMED0},D1{PMC.PMED1},D2{PMC.PMED2},D3hot{PMC.PMED3hot},D3cold{PMC.PMED3cold})\n"
        ),
        Need(0x04, 4),
        (
            "\t\tStatus: D{PMCSR.State} {PMCSR|NoSoftRst PMEEnable} "
            "DSel={PMCSR.DataSelect} DScale={PMCSR.DataScale} {PMCSR|PME}\n"
        ),
        ("BSE.all", "\t\tBridge: PM{BSE.BPCC} {inverted(BSE.B2B3)}\n"),
    ),
)

# vfio-pci means to open the selector, and opens the first byte of what it selects (PCI_PWR_DATA).
_BUDGETING = Capability(
    id=0x04,
    name="PowerBudgeting",
    title="Power Budgeting",
    extended=True,
    section="PCIe 6.0, 7.8.1",
    view=View.READ,
    rests_on="Linux pci_regs.h; the extended registers of revision 2 from memory of PCIe 6.0",
    registers=registers(
        """
DataSelect 04/1  RW  Power Budgeting Data Select
  7:0    Index     -  Data Select
Data     08/4  RO  Power Budgeting Data
  7:0    BasePower  -  Base Power [vfio writable]
  9:8    Scale     -  Data Scale
  12:10  PMSubState  -  PM Sub State
  14:13  PMState   -  PM State
  17:15  Type      -  Type
  20:18  Rail      -  Power Rail
Capability 0c/1  HwInit  Power Budget Capability
  0      SystemAllocated  -  System Allocated
""",
        {
            "Scale": {0: "x1", 1: "x0.1", 2: "x0.01", 3: "x0.001"},
            "PMState": {0: "D0", 1: "D1", 2: "D2", 3: "D3"},
            "Type": {
                0: "PME Aux",
                1: "Auxiliary",
                2: "Idle",
                3: "Sustained",
                4: "Sustained - EPR State",
                5: "Maximum - EPR State",
                7: "Maximum",
            },
            "Rail": {
                0: "Power 12V",
                1: "Power 3.3V",
                2: "Power 1.5V or 1.8V",
                4: "Power 48V",
                5: "Power 5V",
                7: "Thermal",
            },
        },
    ),
    reserved=((0x05, 3), (0x0D, 3)),
    text=("Power Budgeting <?>\n",),
)

_DPA = Capability(
    id=0x16,
    name="DPA",
    title="Dynamic Power Allocation",
    extended=True,
    section="PCIe 6.0, 7.9.12",
    view=View.READ,
    rests_on="Linux pci_regs.h",
    registers=registers(
        """
Cap      04/4  RO  DPA Capability
  4:0    SubstateMax  -  Substate_Max
  9:8    TransitionUnit  -  Transition Latency Unit
  13:12  AllocationScale  -  Power Allocation Scale
  23:16  Xlcy0     -  Transition Latency Value 0
  31:24  Xlcy1     -  Transition Latency Value 1
Latency  08/4  RO  DPA Latency Indicator
  31:0   Indicator  -  which of the two latencies each substate has
Status   0c/2  RO  DPA Status
  4:0    Substate  -  Substate Status
  8      ControlEnabled  RW1C  Substate Control Enabled
Control  0e/2  RW  DPA Control
  4:0    Substate  -  Substate Control
""",
        {
            "TransitionUnit": {0: "1 ms", 1: "10 ms", 2: "100 ms"},
            "AllocationScale": {0: "x10", 1: "x1", 2: "x0.1", 3: "x0.01"},
        },
    ),
    blocks=(
        Block(
            "Substate",
            registers(
                "Allocation 00/1  RO  DPA Power Allocation\n  7:0  Power  -  Substate Power Allocation"
            ),
            0x10,
            1,
            "Cap.SubstateMax + 1",
        ),
    ),
    text=("Dynamic Power Allocation <?>\n",),
)

_PM_OR_ASPM = "(Cap.PML12 or Cap.ASPML12)"
_SCALES = {0: 2, 1: 10, 2: 100}
_L1 = Capability(
    id=0x1E,
    name="L1PM",
    title="L1 PM Substates",
    extended=True,
    section="PCIe 6.0, 7.8.3",
    registers=registers(
        """
Cap      04/4  HwInit  L1 PM Substates Capabilities
  0      PML12=PCI-PM_L1.2    -  PCI-PM L1.2 Supported
  1      PML11=PCI-PM_L1.1    -  PCI-PM L1.1 Supported
  2      ASPML12=ASPM_L1.2    -  ASPM L1.2 Supported
  3      ASPML11=ASPM_L1.1    -  ASPM L1.1 Supported
  4      Substates=L1_PM_Substates  -  L1 PM Substates Supported
  5      LinkActivation       -  Link Activation Supported
  15:8   CommonModeRestoreTime  RO  Port Common_Mode_Restore_Time [us]
  17:16  PowerOnScale         -  Port T_POWER_ON Scale
  23:19  PowerOnValue         -  Port T_POWER_ON Value
Ctl1     08/4  RW  L1 PM Substates Control 1
  0      PML12=PCI-PM_L1.2    -  PCI-PM L1.2 Enable
  1      PML11=PCI-PM_L1.1    -  PCI-PM L1.1 Enable
  2      ASPML12=ASPM_L1.2    -  ASPM L1.2 Enable
  3      ASPML11=ASPM_L1.1    -  ASPM L1.1 Enable
  4      LinkActivationInt    -  Link Activation Interrupt Enable
  5      LinkActivation       -  Link Activation Control
  15:8   CommonModeRestoreTime  -  Common_Mode_Restore_Time [us]
  25:16  ThresholdValue       -  LTR_L1.2_THRESHOLD_Value
  31:29  ThresholdScale       -  LTR_L1.2_THRESHOLD_Scale
Ctl2     0c/4  RW  L1 PM Substates Control 2
  1:0    PowerOnScale         -  T_POWER_ON Scale
  7:3    PowerOnValue         -  T_POWER_ON Value
""",
        {
            "PowerOnScale": _SCALES,
            "ThresholdScale": {code: 32**code for code in range(6)},
        },
    ),
    text=(
        "L1 PM Substates\n",
        Need(0x04, 12, "\t\t<unreadable>\n"),
        "\t\tL1SubCap: {Cap|PML12 PML11 ASPML12 ASPML11 Substates}\n",
        (
            _PM_OR_ASPM,
            (
                "\t\t\t  PortCommonModeRestoreTime={Cap.CommonModeRestoreTime}us "
                "PortTPowerOnTime={power_on(Cap.PowerOnScale, Cap.PowerOnValue)}\n"
            ),
        ),
        "\t\tL1SubCtl1: {Ctl1|PML12 PML11 ASPML12 ASPML11}\n",
        (_PM_OR_ASPM, "\t\t\t   T_CommonMode={Ctl1.CommonModeRestoreTime}us"),
        ("Cap.ASPML12", " LTR1.2_Threshold={threshold(Ctl1.ThresholdScale, Ctl1.ThresholdValue)}"),
        (_PM_OR_ASPM, "\n"),
        "\t\tL1SubCtl2:",
        (_PM_OR_ASPM, " T_PwrOn={power_on(Ctl2.PowerOnScale, Ctl2.PowerOnValue)}"),
        "\n",
    ),
)

_LTR_SCALE = {code: 32**code for code in range(6)}
_LTR = Capability(
    id=0x18,
    name="LTR",
    title="Latency Tolerance Reporting",
    extended=True,
    section="PCIe 6.0, 7.8.2",
    view=View.READ,
    registers=registers(
        """
MaxSnoop   04/2  RW  Max Snoop Latency
  9:0    Value  -  Max Snoop LatencyValue
  12:10  Scale  -  Max Snoop LatencyScale [ns]
MaxNoSnoop 06/2  RW  Max No-Snoop Latency
  9:0    Value  -  Max No-Snoop LatencyValue
  12:10  Scale  -  Max No-Snoop LatencyScale [ns]
""",
        {"Scale": _LTR_SCALE},
    ),
    text=(
        "Latency Tolerance Reporting\n",
        Need(0x04, 4),
        "\t\tMax snoop latency: {ltr(MaxSnoop)}ns\n\t\tMax no snoop latency: {ltr(MaxNoSnoop)}ns\n",
    ),
)

CAPABILITIES = (_PM, _BUDGETING, _DPA, _L1, _LTR)
