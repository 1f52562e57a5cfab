"""Every constant, type and size: touched, held against the table, and against each kernel header there is.

cffi finds a wrong declaration only when it is used, so everything is used here.
"""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.vm.kernel import Unavailable, installed_source, newest_source
from vfiokit._native import ffi, lib, quick
from vfiokit._native.calls import Calls
from vfiokit._native.table import CALLS, FEATURES, Argument, Call, Feature, Kind

NATIVE = Path(__file__).parents[2] / "vfiokit" / "_native"
SOURCES: dict[str, Callable[[], Path]] = {
    "installed": lambda: Path("/usr/include"),
    "6.12": lambda: installed_source().archive,
    "newest": lambda: newest_source().archive,
}
HEADERS = ("vfio.h", "iommufd.h")


def structs() -> list[str]:
    return [name for name in ffi.list_types()[1] if name.startswith(("vfio_", "iommu"))]


def constants() -> list[str]:
    return [name for name in dir(lib) if name.startswith(("VFIO_", "IOMMU"))]


class TestEverythingIsTouched:
    def test_structures_are_what_the_compiler_says(self) -> None:
        for name in structs():
            kind = ffi.typeof(f"struct {name}")
            assert ffi.sizeof(kind) > 0
            for field, _ in kind.fields:
                assert ffi.offsetof(f"struct {name}", field) >= 0

    def test_constants_are_numbers(self) -> None:
        assert len(constants()) > 250
        assert all(isinstance(getattr(lib, name), int) for name in constants())

    def test_the_stub_of_the_quick_part_has_its_names(self) -> None:
        text = (NATIVE / "_quick.pyi").read_text()
        methods = set(re.findall(r"^    def ([a-z]\w*)\(", text, re.MULTILINE))
        assert methods == {name for name in dir(quick.Accessors) if not name.startswith("_")}
        assert {name for name in dir(quick) if not name.startswith("_")} == {
            "Accessors",
            "ask",
            "exchange",
            "tell",
        }

    def test_the_stub_has_the_names_of_the_module(self) -> None:
        text = (NATIVE / "_ffi.pyi").read_text().partition("class _Lib")[2]
        named = set(re.findall(r"^    (?:def )?([A-Za-z_0-9]+)(?:\(|:)", text, re.MULTILINE)) - {"__dir__"}
        assert named == set(dir(lib))


class TestTable:
    @pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
    def test_a_row_agrees_with_the_header(self, call: Call) -> None:
        assert getattr(lib, call.name) & 0xFFFF == 0x3B00 | call.number
        if call.argument is Argument.STRUCT:
            size = ffi.sizeof(f"struct {call.struct}")
            fixed = ffi.typeof(f"struct {call.struct}").fields
            assert fixed[0][0] == call.size_field
            assert 8 <= call.least <= size
        else:
            assert (call.struct, call.least) == ("", 0)

    @pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
    def test_a_row_has_a_typed_call(self, call: Call) -> None:
        stem = call.name.lower()
        assert any(name.startswith(stem) for name in dir(Calls))

    def test_no_request_of_the_header_is_missing(self) -> None:
        text = (NATIVE / "uapi_compat.h").read_text()
        requests = set(re.findall(r"#define (\w+) VFIOKIT_REQUEST\(", text))
        assert requests == {call.name for call in CALLS}

    def test_a_number_is_one_call_on_a_kind_but_for_power(self) -> None:
        ordinary = [call for call in CALLS if "POWER" not in call.meaning]
        assert len({(call.kind, call.number) for call in ordinary}) == len(ordinary)

    @pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
    def test_a_feature_agrees_with_the_header(self, feature: Feature) -> None:
        assert getattr(lib, f"VFIO_DEVICE_FEATURE_{feature.name}") == feature.index
        if feature.struct:
            assert ffi.sizeof(f"struct {feature.struct}") == feature.size

    def test_every_feature_has_a_typed_call(self) -> None:
        calls = set(dir(Calls))
        assert {f"vfio_device_feature_{feature.name.lower()}" for feature in FEATURES} <= calls

    def test_iommufd_numbers_run_on(self) -> None:
        numbers = [call.number for call in CALLS if call.kind is Kind.IOMMUFD]
        assert numbers == list(range(0x80, 0x80 + len(numbers)))


@cache
def headers(source: str) -> list[Path]:
    """Find the uapi headers of a kernel; those of an archive are unpacked once, into the user's cache."""
    try:
        place = SOURCES[source]()
    except Unavailable as error:
        pytest.skip(str(error))
    if place.suffix != ".xz":
        found = [place / "linux" / name for name in HEADERS]
        return [path for path in found if path.exists()]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = (
        home / "vfiokit" / "kernel-sources" / f"uapi-{place.stat().st_size}-{place.stat().st_mtime_ns}"
    )
    if not all((directory / name).exists() for name in HEADERS):
        unpack(place, directory)
    return [directory / name for name in HEADERS]


def unpack(archive: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    wanted = {f"include/uapi/linux/{name}": name for name in HEADERS}
    with tarfile.open(archive, "r|xz") as members:
        # Read in order, and up to the last one wanted: the archive is large.
        for member in members:
            name = wanted.pop(member.name.partition("/")[2], None)
            content = members.extractfile(member) if name else None
            if name and content is not None:
                # What the kernel's own installation of headers takes out.
                text = content.read().replace(b"__user ", b"")
                with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
                    file.write(text)
                os.replace(file.name, directory / name)
            if not wanted:
                return


def names_in(text: str) -> set[str]:
    """List macros, enumerators and structures that a header defines."""
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    macros = set(re.findall(r"^#define\s+(\w+)\s+\S", plain, re.MULTILINE))
    enumerators = {
        name
        for body in re.findall(r"enum\s*\w*\s*\{(.*?)\}", plain, re.DOTALL)
        for name in re.findall(r"(\w+)\s*(?:=[^,}]*)?(?:,|$)", body.strip())
    }
    return macros | enumerators | {f"struct {name}" for name in re.findall(r"struct (\w+)\s*\{", plain)}


def fields_in(text: str, struct: str) -> set[str]:
    plain = re.sub(r"/\*.*?\*/|__counted_by\(\w+\)", "", text, flags=re.DOTALL)
    body = re.search(rf"struct {struct}\s*\{{(.*?)\n\}}", plain, re.DOTALL)
    assert body is not None
    return set(re.findall(r"(\w+)\s*(?:\[[^\]]*\])?\s*;", body[1]))


def assertions(text: str) -> list[str]:
    """Write a line for the compiler for each thing that both the header and we define."""
    theirs = names_in(text)
    lines = [
        f'_Static_assert((unsigned)({name}) == {getattr(lib, name) & 0xFFFFFFFF}u, "{name}");'
        for name in constants()
        if name in theirs
    ]
    for name in [name for name in structs() if f"struct {name}" in theirs]:
        known = fields_in(text, name)
        for field, description in ffi.typeof(f"struct {name}").fields:
            if field in known:
                offset = ffi.offsetof(f"struct {name}", field)
                lines.append(
                    f'_Static_assert(offsetof(struct {name}, {field}) == {offset}, "{name}.{field}");'
                )
                if description.type.kind != "array":
                    size = ffi.sizeof(description.type)
                    member = f"((struct {name} *)0)->{field}"
                    lines.append(f'_Static_assert(sizeof({member}) == {size}, "{name}.{field} size");')
        lines.append(f'_Static_assert(sizeof(struct {name}) <= {ffi.sizeof(f"struct {name}")}, "{name}");')
    return lines


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler")
class TestKernelHeaders:
    """The compiler holds what we define against what the kernel's header says."""

    @pytest.mark.parametrize("source", sorted(SOURCES))
    def test_definitions_agree(self, source: str) -> None:
        paths = headers(source)
        if not paths:
            pytest.skip("no linux/vfio.h installed")
        lines = [line for path in paths for line in assertions(path.read_text())]
        assert len(lines) > 300
        includes = [f'#include "{path}"' for path in paths]
        program = "\n".join(["#include <stddef.h>", "#include <stdint.h>", *includes, *lines, ""])
        checked = subprocess.run(
            # A word of linux/stddef.h that the installed one may be too old for.
            ["gcc", "-fsyntax-only", "-D__counted_by(member)=", "-x", "c", "-"],
            input=program,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr[:4000]

    def test_nothing_is_invented(self) -> None:
        """What we define is in the newest kernel's headers, all of it."""
        theirs = set().union(*(names_in(path.read_text()) for path in headers("newest")))
        ours = {*constants(), *(f"struct {name}" for name in structs())}
        # Its number is reserved since Linux 6.13, and so is its name.
        assert ours - theirs == {"VFIO_TYPE1_NESTING_IOMMU"}

    def test_a_wrong_number_would_be_found(self) -> None:
        program = '#include <linux/vfio.h>\n_Static_assert(VFIO_PCI_CONFIG_REGION_INDEX == 8, "wrong");\n'
        checked = subprocess.run(
            ["gcc", "-fsyntax-only", "-x", "c", "-"],
            input=program,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "wrong" in checked.stderr

    @pytest.mark.parametrize("source", sorted(SOURCES))
    def test_no_request_of_the_kernel_is_missing(
        self, source: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        text = "".join(path.read_text() for path in headers(source))
        requests = set(re.findall(r"#define (\w+)\s+_IO\((?:VFIO|IOMMUFD)_TYPE", text))
        assert requests <= {call.name for call in CALLS}
