"""Laws of the address allocator, held against a set of pages."""

from hypothesis import given, settings
from hypothesis import strategies as st

from vfiokit.address import AddressRange
from vfiokit.vfio.errors import AlreadyMapped, IovaReserved, NotMapped
from vfiokit.vfio.iova import IovaAllocator, subtract

PAGE = 4096
pages = st.builds(
    lambda start, count: AddressRange(start * PAGE, (start + count) * PAGE),
    st.integers(0, 60),
    st.integers(0, 20),
)


def covered(*ranges: AddressRange) -> set[int]:
    return {page for part in ranges for page in range(part.start // PAGE, part.end // PAGE)}


@given(st.lists(pages, max_size=4), st.lists(pages, max_size=4))
def test_subtraction_is_that_of_sets(ranges: list[AddressRange], holes: list[AddressRange]) -> None:
    left = subtract(ranges, holes)
    assert covered(*left) == covered(*ranges) - covered(*holes)


requests = st.one_of(
    st.tuples(st.just("allocate"), st.integers(1, 8), st.sampled_from([1, 2, 4, 16]), st.integers(1, 90)),
    st.tuples(st.just("reserve"), st.integers(0, 80), st.integers(1, 8), st.just(0)),
    st.tuples(st.just("release"), st.integers(0, 30), st.just(0), st.just(0)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(pages, min_size=1, max_size=3), st.lists(pages, max_size=2), st.lists(requests, max_size=25))
def test_what_is_handed_out_is_free_usable_and_lowest(
    ranges: list[AddressRange],
    reserved: list[AddressRange],
    steps: list[tuple[str, int, int, int]],
) -> None:
    # Ranges as the kernel gives them neither overlap nor touch.
    whole: list[AddressRange] = []
    for part in sorted(ranges):
        if not whole or part.start > whole[-1].end:
            whole.append(part)
    allocator = IovaAllocator(whole, reserved, floor=2 * PAGE)
    usable, taken, held = covered(*whole) - covered(*reserved), set[int](), list[AddressRange]()
    for what, one, two, three in steps:
        if what == "allocate":
            fits = [
                start
                for start in range(2, 100)
                if start % two == 0
                and set(range(start, start + one)) <= usable - taken
                and start + one <= three
            ]
            try:
                got = allocator.allocate(one * PAGE, alignment=two * PAGE, below=three * PAGE)
            except IovaReserved:
                assert not fits
                continue
            assert got.start // PAGE == fits[0]
            held.append(got)
            taken |= covered(got)
        elif what == "reserve":
            wanted = AddressRange(one * PAGE, (one + two) * PAGE)
            try:
                held.append(allocator.reserve(wanted))
                assert covered(wanted) <= usable - taken
                taken |= covered(wanted)
            except IovaReserved:
                assert not covered(wanted) <= usable
            except AlreadyMapped:
                assert covered(wanted) & taken
        elif held:
            gone = held.pop(one % len(held))
            allocator.release(gone)
            taken -= covered(gone)
    assert covered(*allocator.taken) == taken
    for part in held:
        allocator.release(part)
    assert allocator.taken == ()


def test_what_was_not_taken_cannot_be_released() -> None:
    allocator = IovaAllocator([AddressRange(0, 1 << 20)])
    taken = allocator.allocate(8192)
    for wrong in (AddressRange(0, 4096), AddressRange(taken.start, taken.start + 4096)):
        try:
            allocator.release(wrong)
        except NotMapped:
            continue
        raise AssertionError(wrong)
