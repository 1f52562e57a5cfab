"""Captures that are damaged, hostile or of another time: one clear error, or the same host."""

import bz2
import errno
import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.machine import MACHINE
from vfiokit.errors import BadCapture
from vfiokit.sysfs import archive
from vfiokit.sysfs.archive import FORMAT, MANIFEST, is_archive, open_archive
from vfiokit.sysfs.capture import pack
from vfiokit.sysfs.memory import Failure, File, Link, MemorySource
from vfiokit.sysfs.scan import scan
from vfiokit.testing import layout

SMALL = MemorySource()
SMALL.add("sys/bus/pci/devices/0000:00:02.0", Link("../../../devices/pci0000:00/0000:00:02.0"))
SMALL.add("sys/devices/pci0000:00/0000:00:02.0/uevent", File(b"PCI_CLASS=30000\nPCI_ID=8086:9A49\n"))
SMALL.add("sys/devices/pci0000:00/0000:00:02.0/driver_override", Failure(errno.EACCES))
CAPTURE = pack(SMALL, kernel="6.12", tool="test")
HOST = scan(open_archive(CAPTURE, "small"))
PLAIN = lzma.decompress(CAPTURE)
MANY = pack(layout(MACHINE), kernel="6.12", tool="test")


def tar(*members: tuple[str, dict[str, Any], bytes], manifest: object = None) -> bytes:
    """Return a tar with a manifest and *members*: name, fields of its header, content."""
    buffer = io.BytesIO()
    body = json.dumps({"format": FORMAT} if manifest is None else manifest).encode()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, fields, content in ((MANIFEST, {}, body), *members):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in fields.items():
                setattr(member, key, value)
            made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def same_or_refused(data: bytes) -> bool:
    """Open *data*; whether it was the small host. Anything but a clear error or that host fails."""
    refused: BadCapture | None = None
    try:
        found = scan(open_archive(data, "bad.tar.xz"))
    except BadCapture as error:
        refused = error
    if refused is None:
        assert found == HOST
        return True
    assert "\n" not in str(refused)
    assert str(refused).startswith("open capture bad.tar.xz: ")
    assert refused.exit_status == 2
    return False


class TestCut:
    def test_at_every_byte_is_refused(self) -> None:
        assert not any(same_or_refused(CAPTURE[:length]) for length in range(len(CAPTURE)))
        assert same_or_refused(CAPTURE)

    def test_of_a_plain_tar_is_refused_up_to_its_end(self) -> None:
        whole = [length for length in range(0, len(PLAIN) + 1, 256) if same_or_refused(PLAIN[:length])]
        end = len(PLAIN.rstrip(b"\0"))
        assert whole
        assert min(whole) >= end + 1024 - 512

    @pytest.mark.parametrize("squeeze", [gzip.compress, bz2.compress], ids=["gzip", "bzip2"])
    def test_of_other_compressions_is_refused(self, squeeze: Callable[[bytes], bytes]) -> None:
        data = squeeze(PLAIN)
        assert same_or_refused(data)
        assert not any(same_or_refused(data[:length]) for length in range(0, len(data), 7))

    @given(st.integers(0, len(MANY) - 1))
    def test_of_a_larger_one_is_refused(self, length: int) -> None:
        with pytest.raises(BadCapture):
            open_archive(MANY[:length], "cut")


class TestFlipped:
    def test_every_byte_in_one_bit(self) -> None:
        order = random.Random(1)
        for at in range(len(CAPTURE)):
            data = bytearray(CAPTURE)
            data[at] ^= 1 << order.randrange(8)
            same_or_refused(bytes(data))

    @given(st.integers(0, len(MANY) - 1), st.integers(1, 255))
    def test_any_byte_of_a_larger_one(self, at: int, mask: int) -> None:
        data = bytearray(MANY)
        data[at] ^= mask
        try:
            found = scan(open_archive(bytes(data), "flipped"))
        except BadCapture:
            return
        assert found == MACHINE

    @given(st.integers(0, len(PLAIN) - 1), st.integers(1, 255))
    def test_a_plain_tar_has_no_checksum_but_never_a_traceback(self, at: int, mask: int) -> None:
        data = bytearray(PLAIN)
        data[at] ^= mask
        try:
            source = open_archive(bytes(data), "flipped")
        except BadCapture:
            return
        source.listdir("")

    @given(st.binary(max_size=3000))
    def test_noise_is_refused(self, data: bytes) -> None:
        with pytest.raises(BadCapture):
            open_archive(data, "noise")


class TestBomb:
    @pytest.mark.parametrize("squeeze", [lzma.compress, gzip.compress, bz2.compress])
    def test_is_stopped_at_the_limit(
        self, squeeze: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archive, "MAX_UNPACKED", 1 << 22)
        with pytest.raises(BadCapture, match="unpacks to more than 4 MiB"):
            open_archive(squeeze(bytes((1 << 22) + 1)), "bomb")

    def test_the_limit_leaves_room_for_the_largest_hosts(self) -> None:
        assert archive.MAX_UNPACKED == 512 << 20

    def test_of_members_is_stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "_MAX_MEMBERS", 10)
        files = [(f"sys/{number}", {}, b"") for number in range(11)]
        with pytest.raises(BadCapture, match="more than 10 members"):
            open_archive(tar(*files), "bomb")

    def test_a_sparse_member_takes_no_memory(self) -> None:
        header = tarfile.TarInfo("sys/sparse")
        header.type = tarfile.GNUTYPE_SPARSE
        block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
        block[386:398] = b"%011o\0" % 0
        block[398:410] = b"%011o\0" % 0
        block[483:495] = b"%011o\0" % ((1 << 33) - 1)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        source = open_archive(tar()[:1024] + bytes(block) + bytes(10240), "sparse")
        with pytest.raises(OSError, match="not a regular file"):
            source.read("sys/sparse", 1 << 40)

    def test_a_member_of_a_mebibyte_is_no_attribute(self) -> None:
        tree = layout(MACHINE)
        tree.add("sys/kernel/iommu_groups/3/type", File(b"x" * (1 << 20)))
        host = scan(open_archive(pack(tree, kernel="6", tool="t"), "large"))
        assert str(host.group(3).type) == "unknown (longer than such a file can be)"


class TestMembers:
    @pytest.mark.parametrize("name", ["../etc/passwd", "sys/../../x", "a/..", "./../x", "/../x"])
    def test_that_leave_the_archive_are_refused(self, name: str) -> None:
        with pytest.raises(BadCapture, match="a member that leaves the archive"):
            open_archive(tar((name, {}, b"x")), "bad")

    def test_below_too_many_directories_are_refused(self) -> None:
        with pytest.raises(BadCapture, match="more than 256 directories deep"):
            open_archive(tar(("a/" * 2000, {}, b"x")), "deep")

    @pytest.mark.parametrize("name", ["/sys/x", "./sys/x", "sys//x", "sys/./x", "//sys/x/"])
    def test_names_are_brought_into_one_form(self, name: str) -> None:
        assert open_archive(tar((name, {}, b"x")), "odd").listdir("sys") == ["x"]

    @pytest.mark.parametrize(
        "kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=repr
    )
    def test_that_are_neither_file_nor_link_nor_directory_answer_with_an_error(self, kind: bytes) -> None:
        data = tar(("sys/odd", {"type": kind, "linkname": MANIFEST}, b""))
        source = open_archive(data, "odd")
        with pytest.raises(OSError, match="not a regular file"):
            source.read("sys/odd")

    def test_links_that_leave_the_root_are_an_error_of_that_link(self) -> None:
        link = {"type": tarfile.SYMTYPE, "linkname": "../" * 9 + "etc/passwd"}
        source = open_archive(tar(("sys/kernel/x", link, b"")), "link")
        with pytest.raises(OSError, match="a link leaves the root") as caught:
            source.read("sys/kernel/x")
        assert caught.value.errno == errno.EXDEV

    def test_links_in_a_circle_are_an_error(self) -> None:
        round_and_round = {"type": tarfile.SYMTYPE, "linkname": "x"}
        with pytest.raises(OSError, match="Too many levels"):
            open_archive(tar(("sys/x", round_and_round, b"")), "link").listdir("sys/x")

    def test_a_file_with_a_member_below_it_does_no_harm(self) -> None:
        source = open_archive(tar(("sys/x", {}, b"1"), ("sys/x/y", {}, b"2"), ("sys/x", {}, b"3")), "odd")
        assert scan(source).devices == ()


class TestManifest:
    def test_of_a_newer_format_says_so(self) -> None:
        with pytest.raises(BadCapture) as caught:
            open_archive(tar(manifest={"format": FORMAT + 1}), "new.tar")
        assert str(caught.value) == (
            "open capture new.tar: format 2 is newer than 1, the newest known here (use a newer vfiokit)"
        )

    @pytest.mark.parametrize(
        "manifest", [[], {}, "x", 1, {"format": 0}, {"format": "1"}, {"format": None}, {"format": 1.5}]
    )
    def test_without_a_format_is_refused(self, manifest: object) -> None:
        with pytest.raises(BadCapture, match="names no format"):
            open_archive(tar(manifest=manifest), "odd")

    @pytest.mark.parametrize(
        "errors",
        [
            1,
            "x",
            {"a": 1},
            [1],
            [{}],
            [{"path": "sys"}],
            [{"path": "sys/x", "errno": "ENOSUCH"}],
            [{"path": "sys/x", "errno": 13}],
            [{"path": "sys/x", "errno": "errorcode"}],
            [{"path": "sys/x", "errno": "EIO", "mode": "x"}],
        ],
    )
    def test_with_errors_that_cannot_be_replayed_is_refused(self, errors: object) -> None:
        with pytest.raises(BadCapture, match="cannot be replayed"):
            open_archive(tar(manifest={"format": FORMAT, "errors": errors}), "odd")

    def test_that_leaves_the_archive_is_refused(self) -> None:
        errors = [{"path": "../x", "errno": "EIO"}]
        with pytest.raises(BadCapture, match="leaves the archive"):
            open_archive(tar(manifest={"format": FORMAT, "errors": errors}), "odd")

    @pytest.mark.parametrize(
        "text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"format": 1' + b"0" * 5000 + b"}"]
    )
    def test_that_is_no_document_is_refused(self, text: bytes) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as made:
            member = tarfile.TarInfo(MANIFEST)
            member.size = len(text)
            made.addfile(member, io.BytesIO(text))
        with pytest.raises(BadCapture):
            open_archive(buffer.getvalue(), "odd")


class TestOthers:
    def test_an_archive_of_another_tool_may_have_a_directory_of_its_own(self) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as made:
            for name, content in (("host7/sys/bus/x", b"1"), ("host7/proc/cmdline", b"quiet\n")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
        assert scan(open_archive(buffer.getvalue(), "other")).platform.command_line == "quiet"

    def test_what_is_an_archive_shows_in_its_first_bytes(self) -> None:
        assert all(map(is_archive, (CAPTURE, PLAIN, gzip.compress(b""), bz2.compress(b""))))
        assert not any(map(is_archive, (b"", b"PK\3\4", b"{}", bytes(600))))
