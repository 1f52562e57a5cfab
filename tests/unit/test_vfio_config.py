"""The config space of an open device, decoded as every other is."""

from __future__ import annotations

import pytest

from vfiokit.testing.fake_device import FakeDevice
from vfiokit.testing.fake_vfio import FakeKernel
from vfiokit.vfio import Device

BACKENDS = ("container", "iommufd")
POWER_MANAGEMENT = 0x01


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_decoded_is_what_is_read(backend: str) -> None:
    fake = FakeDevice()
    kernel = FakeKernel(fake)
    with Device.open("0000:00:04.0", backend=backend, system=kernel, source=kernel.source) as device:
        space = device.config.space
        assert int(space.header.VendorID) == device.config.read16(0)
        assert int(space.header.DeviceID) == device.config.read16(2)
        at = {found.id: found.offset for found in space.standard_list()}
        assert at[POWER_MANAGEMENT] == device.config.capability(POWER_MANAGEMENT)
    assert kernel.left_open == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_decoded_space_is_of_its_moment(backend: str) -> None:
    kernel = FakeKernel(FakeDevice())
    with Device.open("0000:00:04.0", backend=backend, system=kernel, source=kernel.source) as device:
        before = device.config.space
        assert not before.header.Command.BusMaster
        device.bus_master = True
        assert not before.header.Command.BusMaster
        assert device.config.space.header.Command.BusMaster
