"""Laws of selectors: a full address selects itself, a part of one never does, ambiguity is an error."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vfiokit.address import PciAddress
from vfiokit.analysis.selection import is_name, select_device, select_group
from vfiokit.errors import AmbiguousSelector, NotFound
from vfiokit.model.host import Host
from vfiokit.testing import hosts


def says(text: str, address: PciAddress, host: Host) -> bool:
    """Whether *text* is one of the names that a function has, taken apart here by hand."""
    device = host.by_address[address]
    # A function without a group is in none, also not in one called None.
    group = "" if device.group is None else f"group:{device.group}"
    names = {entry.name for entry in host.names if entry.address == address}
    libvirt = "pci_" + re.sub("[:.]", "_", str(address))
    if text in names or text.lower() == libvirt or (group and re.sub("(?<=:)0+(?=.)", "", text) == group):
        return True
    parts = text.lower().replace(".", ":").split(":")
    if not all(re.fullmatch("[0-9a-f]{1,8}", part) for part in parts):
        return False
    numbers, lengths = tuple(int(part, 16) for part in parts), [len(part) for part in parts]
    if len(parts) == 2:
        return lengths == [4, 4] and "." not in text and numbers == (device.vendor, device.device)
    short = re.fullmatch("[^:.]{1,2}:[^:.]{1,2}[.][0-7]", text.split(":", len(parts) - 3)[-1])
    domain = len(parts) == 3 or (len(parts) == 4 and lengths[0] >= 4)
    return bool(short) and domain and numbers in (tuple(address), tuple(address[1:]))


def selected(host: Host, text: str) -> tuple[str, ...]:
    """Return what a text selects, or all that it could mean; nothing where nothing matches."""
    try:
        return (str(select_device(host, text)),)
    except AmbiguousSelector as error:
        return error.candidates
    except NotFound as error:
        refused = str(error)
    assert refused.isprintable()
    return ()


@st.composite
def questions(draw: st.DrawFn) -> tuple[Host, str]:
    """Draw a host, and a text near the names of its functions: a part, a longer one, or another case."""
    host = draw(hosts(max_devices=8, readable=True))
    device = draw(st.sampled_from(host.devices))
    name = draw(st.sampled_from([entry.name for entry in host.names] or ["eth0"]))
    whole = draw(
        st.sampled_from(
            [
                str(device.address),
                str(device.address)[-7:],
                f"{device.vendor:04x}:{device.device:04x}",
                f"group:{device.group}",
                name,
            ]
        )
    )
    start, end = sorted((draw(st.integers(0, len(whole))), draw(st.integers(0, len(whole)))))
    return host, draw(
        st.sampled_from([whole, whole[start:end], whole.upper(), whole + "0", "0" + whole, whole[:-1]])
    )


class TestDevice:
    @given(hosts(readable=True))
    @settings(max_examples=40)
    def test_a_full_address_selects_itself(self, host: Host) -> None:
        for device in host.devices:
            assert select_device(host, str(device.address)) == device.address
            assert select_device(host, "pci_" + re.sub("[:.]", "_", str(device.address))) == device.address

    @given(questions())
    def test_what_is_selected_bears_that_very_name(self, question: tuple[Host, str]) -> None:
        host, text = question
        named = {str(device.address) for device in host.devices if says(text, device.address, host)}
        assert set(selected(host, text)) == named

    @given(hosts(readable=True), st.text(max_size=12))
    @settings(max_examples=40)
    def test_any_text_is_an_answer_or_a_clear_error(self, host: Host, text: str) -> None:
        assert set(selected(host, text)) <= {str(device.address) for device in host.devices}

    @given(hosts(readable=True), st.data())
    @settings(max_examples=40)
    def test_a_short_address_in_two_domains_is_ambiguous(self, host: Host, data: st.DataObject) -> None:
        device = data.draw(st.sampled_from(host.devices))
        twin = replace(device, address=device.address._replace(domain=0x2A))
        host = replace(host, devices=(*host.devices, twin))
        with pytest.raises(AmbiguousSelector) as caught:
            select_device(host, str(device.address).split(":", 1)[1])
        assert {str(device.address), str(twin.address)} <= set(caught.value.candidates)


class TestGroup:
    @given(hosts(readable=True))
    @settings(max_examples=40)
    def test_a_number_and_each_member_select_the_group(self, host: Host) -> None:
        for group in host.groups:
            assert select_group(host, str(group.id)) is select_group(host, f"group:{group.id}") is group
            assert isinstance(group.devices, tuple)
            for address in group.devices:
                assert select_group(host, str(address)) is group

    @given(hosts(readable=True), st.integers(5001, 10**9))
    @settings(max_examples=40)
    def test_a_number_of_no_group_is_an_error(self, host: Host, number: int) -> None:
        with pytest.raises(NotFound, match="no such IOMMU group"):
            select_group(host, str(number))


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7))
def test_an_address_is_never_taken_for_a_name(domain: int, bus: int, device: int, function: int) -> None:
    address = PciAddress(domain, bus, device, function)
    assert PciAddress.parse(str(address)) == address
    assert not is_name(str(address))
    assert not is_name(str(address).split(":", 1)[1])


@given(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True))
@example("enp2s0")
@example("nvme0n1")
def test_a_name_is_never_taken_for_an_address(name: str) -> None:
    assert is_name(name)
