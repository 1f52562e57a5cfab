/* The batch walker: the walk of vfiokit/translation/walk.py, in the same order, with the same numbers. */
#ifndef VFIOKIT_WALK_H
#define VFIOKIT_WALK_H

#include <stddef.h>
#include <stdint.h>

#include "walk_constants.h"

/* A run of memory; the size is a multiple of 8. */
struct vfiokit_segment {
    uint64_t start;
    uint64_t size;
    const uint8_t *data;
};

/* RadixFormat and Stage in one. */
struct vfiokit_stage {
    uint64_t root, granted;
    uint64_t present, read, write, execute, no_execute, user, accessed, dirty;
    uint64_t reserved_table[7], reserved_leaf[7];
    uint32_t leaf_levels;
    uint8_t levels, width, rule, canonical, reasons, write_protected;
};

/* A descriptor over a memory. A stage of no levels is none. */
struct vfiokit_walker {
    const struct vfiokit_segment *segments;
    size_t number_of_segments;
    struct vfiokit_stage first, second;
    uint8_t width, permissions, privileged, interrupts, interrupt_requests;
};

struct vfiokit_result {
    uint64_t address;
    uint8_t reason, permissions, shift, level;
};

struct vfiokit_mapping {
    uint64_t iova, address, size, access;
};

/* access is one for all unless accesses is given; a result of a fault has address 0. */
void vfiokit_walk_many(const struct vfiokit_walker *walker, const uint64_t *addresses, const uint8_t *accesses,
                       uint8_t access, size_t count, uint64_t *out_addresses, uint8_t *reasons,
                       uint8_t *permissions, uint8_t *shifts, uint8_t *levels);
/* The same, one walk after another. */
void vfiokit_walk_plain(const struct vfiokit_walker *walker, const uint64_t *addresses, const uint8_t *accesses,
                        uint8_t access, size_t count, uint64_t *out_addresses, uint8_t *reasons,
                        uint8_t *permissions, uint8_t *shifts, uint8_t *levels);
/* One walk with the addresses of the entries that it read; returns how many, at most room are stored. */
size_t vfiokit_walk_trace(const struct vfiokit_walker *walker, uint64_t address, uint8_t access,
                          struct vfiokit_result *result, uint64_t *reads, size_t room);
/* Everything that the one stage of a walker maps, joined. Returns how many runs there are, at most room are
   stored; budget is how many present entries to follow, and what is left of it; *stopped_at is the address at
   which it ran out, if it went below zero. */
size_t vfiokit_dump(const struct vfiokit_walker *walker, struct vfiokit_mapping *runs, size_t room,
                    int64_t *budget, uint64_t *stopped_at);

#endif
