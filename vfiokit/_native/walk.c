#include "walk.h"

#include <stdbool.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LANES 32

struct trace {
    uint64_t *reads;
    size_t room, count;
};

/* What every entry of a path must have: Demand in walk.py. */
struct demand {
    uint64_t required, forbidden;
    uint8_t access;
};

/* A walk under way. */
struct walk {
    uint64_t address, where, granted, touched;
    uint64_t entry;
    size_t index;
    struct demand demand;
    uint8_t level, reason, shift;
};

ALWAYS_INLINE unsigned level_shift(unsigned level)
{
    return PAGE_SHIFT + LEVEL_BITS * (level - 1);
}

ALWAYS_INLINE uint64_t mask(unsigned bits)
{
    return bits >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
}

/* The word at an address, or null: sizes are multiples of 8, so a word that starts inside is inside. */
ALWAYS_INLINE const uint8_t *find(const struct vfiokit_walker *walker, uint64_t address)
{
    for (size_t index = 0; index < walker->number_of_segments; index++) {
        const struct vfiokit_segment *segment = &walker->segments[index];
        uint64_t offset = address - segment->start;

        if (offset < segment->size)
            return segment->data + offset;
    }
    return NULL;
}

ALWAYS_INLINE uint64_t load(const uint8_t *place)
{
    uint64_t word;

    memcpy(&word, place, sizeof(word));
    return word;
}

ALWAYS_INLINE bool admits(const struct vfiokit_stage *stage, uint64_t address)
{
    if (stage->canonical) {
        uint64_t top = address >> (stage->width - 1);

        return top == 0 || top == mask(65 - stage->width);
    }
    return stage->width >= 64 || address >> stage->width == 0;
}

ALWAYS_INLINE struct demand demand_of(const struct vfiokit_stage *stage, uint8_t access, bool privileged)
{
    struct demand demand = {.access = access};

    demand.required = privileged ? 0 : stage->user;
    if (access & ACCESS_READ || (access & ACCESS_EXECUTE && !stage->execute))
        demand.required |= stage->read;
    if (access & ACCESS_WRITE && (stage->write_protected || !privileged))
        demand.required |= stage->write;
    if (access & ACCESS_EXECUTE) {
        demand.required |= stage->execute;
        demand.forbidden = stage->no_execute;
    }
    return demand;
}

static __attribute__((noinline, cold)) uint8_t failed(const struct vfiokit_stage *stage, const struct demand *demand, uint64_t entry)
{
    uint64_t lacking = demand->required & ~entry;

    if (lacking & stage->user)
        return CHECK_USER;
    if (lacking & stage->write)
        return CHECK_WRITE;
    return lacking & stage->read ? CHECK_READ : CHECK_EXECUTE;
}

ALWAYS_INLINE uint8_t permissions_of(const struct vfiokit_stage *stage, uint64_t granted, uint64_t touched)
{
    uint8_t allowed = 0;

    if ((granted & stage->read) == stage->read)
        allowed |= ACCESS_READ;
    if ((granted & stage->write) == stage->write)
        allowed |= ACCESS_WRITE;
    if (allowed & ACCESS_READ && (granted & stage->execute) == stage->execute && !(touched & stage->no_execute))
        allowed |= ACCESS_EXECUTE;
    return allowed;
}

ALWAYS_INLINE unsigned next_level(const struct vfiokit_stage *stage, uint64_t entry, unsigned level)
{
    if (stage->rule == RULE_NEXT_LEVEL)
        return entry >> NEXT_LEVEL_SHIFT & 7;
    if (level == 1 || (stage->leaf_levels >> level & 1 && entry & PAGE_SIZE_BIT))
        return 0;
    return level - 1;
}

ALWAYS_INLINE unsigned encoded_shift(uint64_t entry)
{
    uint64_t zeros = ~(entry & ADDRESS_MASK) >> PAGE_SHIFT;

    return PAGE_SHIFT + 1 + (unsigned)__builtin_ctzll(zeros);
}

ALWAYS_INLINE uint8_t check_next_level(uint64_t entry, unsigned level, unsigned below, uint64_t address)
{
    if (below == NEXT_LEVEL_ENCODED) {
        unsigned shift = encoded_shift(entry);

        return level_shift(level) < shift && shift < level_shift(level + 1) ? CHECK_NONE : CHECK_SIZE;
    }
    if (below >= level)
        return CHECK_LEVEL;
    if (below && address & mask(level_shift(level)) & ~mask(level_shift(below + 1)))
        return CHECK_SKIPPED;
    return CHECK_NONE;
}

/* Start a walk; true if it is over already. */
ALWAYS_INLINE bool begin(const struct vfiokit_stage *stage, struct walk *walk, uint64_t address,
                         struct demand demand)
{
    walk->address = address;
    walk->demand = demand;
    walk->level = 0;
    walk->reason = 0;
    walk->granted = stage->granted;
    walk->touched = 0;
    if (!admits(stage, address)) {
        walk->reason = stage->reasons + CHECK_RANGE;
        return true;
    }
    if (demand.required & ~stage->granted) {
        walk->reason = stage->reasons + failed(stage, &demand, stage->granted);
        return true;
    }
    walk->level = stage->levels;
    walk->where = stage->root + (address >> level_shift(walk->level) & 0x1FF) * 8;
    return false;
}

/* Look at the entry of a walk's level; true if the walk is over. */
ALWAYS_INLINE bool step(const struct vfiokit_stage *stage, struct walk *walk, const uint8_t *place)
{
    unsigned level = walk->level, below;
    uint64_t entry;
    bool leaf;

    if (!place) {
        walk->reason = stage->reasons + (level == stage->levels ? CHECK_TOP_UNREADABLE : CHECK_UNREADABLE);
        return true;
    }
    entry = walk->entry = load(place);
    if (!(entry & stage->present)) {
        walk->reason = stage->reasons + CHECK_NOT_PRESENT;
        return true;
    }
    if (walk->demand.required & ~entry || walk->demand.forbidden & entry) {
        walk->reason = stage->reasons + failed(stage, &walk->demand, entry);
        return true;
    }
    below = next_level(stage, entry, level);
    leaf = below == 0 || below == NEXT_LEVEL_ENCODED;
    if (entry & (leaf ? stage->reserved_leaf[level] : stage->reserved_table[level])) {
        walk->reason = stage->reasons + CHECK_RESERVED;
        return true;
    }
    if (stage->rule == RULE_NEXT_LEVEL) {
        uint8_t check = check_next_level(entry, level, below, walk->address);

        if (check != CHECK_NONE) {
            walk->reason = stage->reasons + check;
            return true;
        }
    }
    walk->granted &= entry;
    walk->touched |= entry;
    if (leaf) {
        walk->shift = below ? encoded_shift(entry) : level_shift(level);
        return true;
    }
    walk->level = below;
    walk->where = (entry & ADDRESS_MASK) + (walk->address >> level_shift(below) & 0x1FF) * 8;
    return false;
}

ALWAYS_INLINE void finish(const struct vfiokit_walker *walker, const struct vfiokit_stage *stage,
                          const struct walk *walk, struct vfiokit_result *result)
{
    memset(result, 0, sizeof(*result));
    result->reason = walk->reason;
    result->level = walk->level;
    if (walk->reason)
        return;
    result->shift = walk->shift;
    result->address = (walk->entry & ADDRESS_MASK & ~mask(walk->shift)) | (walk->address & mask(walk->shift));
    result->permissions = permissions_of(stage, walk->granted, walk->touched);
    (void)walker;
}

/* An address that is translated to where interrupts are is blocked. */
ALWAYS_INLINE void guard(const struct vfiokit_walker *walker, struct vfiokit_result *result)
{
    if (walker->interrupts && !result->reason && result->address >= INTERRUPT_START &&
        result->address < INTERRUPT_END) {
        uint8_t level = result->level;

        memset(result, 0, sizeof(*result));
        result->reason = REASON_OUTPUT_IN_INTERRUPT_RANGE;
        result->level = level;
    }
}

ALWAYS_INLINE bool is_interrupt(const struct vfiokit_walker *walker, uint64_t address)
{
    return walker->interrupt_requests && address >= INTERRUPT_START && address < INTERRUPT_END;
}

static const uint8_t *traced(const struct vfiokit_walker *walker, uint64_t where, struct trace *trace)
{
    if (trace) {
        if (trace->count < trace->room)
            trace->reads[trace->count] = where;
        trace->count++;
    }
    return find(walker, where);
}

static void walk_stage(const struct vfiokit_walker *walker, const struct vfiokit_stage *stage, uint64_t address,
                       struct demand demand, struct vfiokit_result *result, struct trace *trace)
{
    struct walk walk = {0};

    if (!begin(stage, &walk, address, demand))
        while (!step(stage, &walk, traced(walker, walk.where, trace)))
            ;
    finish(walker, stage, &walk, result);
}

static uint8_t nested_reason(const struct vfiokit_walker *walker, uint8_t reason, bool top)
{
    switch (reason - walker->second.reasons) {
    case CHECK_RANGE:
        return REASON_NESTED_RANGE;
    case CHECK_NOT_PRESENT:
    case CHECK_READ:
        return top ? REASON_NESTED_READ_TOP : REASON_NESTED_READ;
    default:
        return reason;
    }
}

/* A first stage whose tables and pages lie in the second: _Nesting in stages.py. */
static void walk_nested(const struct vfiokit_walker *walker, uint64_t address, uint8_t access,
                        struct vfiokit_result *result, struct trace *trace)
{
    const struct vfiokit_stage *first = &walker->first, *second = &walker->second;
    struct demand reads = demand_of(second, ACCESS_READ, false);
    struct vfiokit_result below, leaf;
    struct walk walk = {0};
    bool over = begin(first, &walk, address, demand_of(first, access, walker->privileged));

    while (!over) {
        unsigned level = walk.level;
        bool leads;
        uint64_t bits;

        walk_stage(walker, second, walk.where, reads, &below, trace);
        if (below.reason) {
            walk.reason = nested_reason(walker, below.reason, level == first->levels);
            break;
        }
        over = step(first, &walk, traced(walker, below.address, trace));
        leads = walk.reason == 0;
        bits = first->accessed | (over && access & ACCESS_WRITE ? first->dirty : 0);
        if (leads && first->accessed && bits & ~walk.entry && !(below.permissions & ACCESS_WRITE)) {
            walk.reason = REASON_NESTED_WRITE;
            walk.level = 0;
            break;
        }
    }
    finish(walker, first, &walk, &leaf);
    if (leaf.reason) {
        *result = leaf;
        return;
    }
    walk_stage(walker, second, leaf.address, demand_of(second, access, false), result, trace);
    if (result->reason)
        return;
    result->shift = leaf.shift < result->shift ? leaf.shift : result->shift;
    result->level = leaf.level < result->level ? leaf.level : result->level;
    result->permissions &= leaf.permissions;
}

static void pass_through(const struct vfiokit_walker *walker, uint64_t address, uint8_t access,
                         struct vfiokit_result *result)
{
    uint8_t lacking = access & ~walker->permissions;

    memset(result, 0, sizeof(*result));
    if (address & ~mask(walker->width))
        result->reason = REASON_BEYOND_UNIT_WIDTH;
    else if (lacking)
        result->reason = lacking & ACCESS_WRITE ? REASON_SECOND_WRITE : REASON_SECOND_READ;
    if (result->reason)
        return;
    result->address = address;
    result->shift = PAGE_SHIFT;
    result->permissions = walker->permissions;
}

static const struct vfiokit_stage *only_stage(const struct vfiokit_walker *walker)
{
    if (walker->first.levels && walker->second.levels)
        return NULL;
    if (walker->first.levels)
        return &walker->first;
    return walker->second.levels ? &walker->second : NULL;
}

static void walk_one(const struct vfiokit_walker *walker, uint64_t address, uint8_t access,
                     struct vfiokit_result *result, struct trace *trace)
{
    const struct vfiokit_stage *stage = only_stage(walker);

    if (is_interrupt(walker, address)) {
        memset(result, 0, sizeof(*result));
        result->reason = REASON_INTERRUPT_REQUEST;
        return;
    }
    if (stage)
        walk_stage(walker, stage, address, demand_of(stage, access, walker->privileged), result, trace);
    else if (walker->first.levels)
        walk_nested(walker, address, access, result, trace);
    else
        pass_through(walker, address, access, result);
    guard(walker, result);
}

/* Where results go. */
struct columns {
    uint64_t *addresses;
    uint8_t *reasons, *permissions, *shifts, *levels;
};

ALWAYS_INLINE void store(const struct columns *out, size_t index, const struct vfiokit_result *result)
{
    out->addresses[index] = result->address;
    out->reasons[index] = result->reason;
    out->permissions[index] = result->permissions;
    out->shifts[index] = result->shift;
    out->levels[index] = result->level;
}

void vfiokit_walk_plain(const struct vfiokit_walker *walker, const uint64_t *addresses, const uint8_t *accesses,
                        uint8_t access, size_t count, uint64_t *out_addresses, uint8_t *reasons,
                        uint8_t *permissions, uint8_t *shifts, uint8_t *levels)
{
    struct columns out = {out_addresses, reasons, permissions, shifts, levels};

    for (size_t index = 0; index < count; index++) {
        struct vfiokit_result result;

        walk_one(walker, addresses[index], accesses ? accesses[index] : access, &result, NULL);
        store(&out, index, &result);
    }
}

/* Walk a block of addresses level by level: while one entry is on its way from memory, look at the others. */
ALWAYS_INLINE void walk_block(const struct vfiokit_walker *walker, const struct vfiokit_stage *given, uint8_t rule,
                              const struct demand *demands, const uint64_t *addresses, const uint8_t *accesses,
                              uint8_t access, size_t start, size_t count, const struct columns *out)
{
    /* A copy that nothing else can change stays in registers; its rule is a constant of the caller. */
    struct vfiokit_stage stage = *given;
    struct walk walks[LANES];
    const uint8_t *places[LANES];
    uint8_t active[LANES];
    unsigned running = 0;

    stage.rule = rule;
    for (unsigned lane = 0; lane < count; lane++) {
        struct walk *walk = &walks[lane];
        uint64_t address = addresses[start + lane];
        uint8_t wanted = (accesses ? accesses[start + lane] : access) & 7;

        if (is_interrupt(walker, address)) {
            walk->reason = REASON_INTERRUPT_REQUEST;
            walk->level = 0;
        } else if (!begin(&stage, walk, address, demands[wanted])) {
            places[lane] = find(walker, walk->where);
            __builtin_prefetch(places[lane]);
            active[running++] = lane;
        }
    }
    while (running) {
        unsigned left = 0;

        for (unsigned each = 0; each < running; each++) {
            unsigned lane = active[each];

            if (step(&stage, &walks[lane], places[lane]))
                continue;
            places[lane] = find(walker, walks[lane].where);
            __builtin_prefetch(places[lane]);
            active[left++] = lane;
        }
        running = left;
    }
    for (unsigned lane = 0; lane < count; lane++) {
        struct vfiokit_result result;

        finish(walker, &stage, &walks[lane], &result);
        guard(walker, &result);
        store(out, start + lane, &result);
    }
}

void vfiokit_walk_many(const struct vfiokit_walker *walker, const uint64_t *addresses, const uint8_t *accesses,
                       uint8_t access, size_t count, uint64_t *out_addresses, uint8_t *reasons,
                       uint8_t *permissions, uint8_t *shifts, uint8_t *levels)
{
    struct columns out = {out_addresses, reasons, permissions, shifts, levels};
    const struct vfiokit_stage *stage = only_stage(walker);
    struct demand demands[8];

    if (!stage) {
        vfiokit_walk_plain(walker, addresses, accesses, access, count, out_addresses, reasons, permissions,
                           shifts, levels);
        return;
    }
    for (unsigned wanted = 0; wanted < 8; wanted++)
        demands[wanted] = demand_of(stage, wanted, walker->privileged);
    for (size_t start = 0; start < count; start += LANES) {
        size_t lanes = count - start < LANES ? count - start : LANES;

        if (stage->rule == RULE_NEXT_LEVEL)
            walk_block(walker, stage, RULE_NEXT_LEVEL, demands, addresses, accesses, access, start, lanes, &out);
        else
            walk_block(walker, stage, RULE_PAGE_SIZE_BIT, demands, addresses, accesses, access, start, lanes, &out);
    }
}

size_t vfiokit_walk_trace(const struct vfiokit_walker *walker, uint64_t address, uint8_t access,
                          struct vfiokit_result *result, uint64_t *reads, size_t room)
{
    struct trace trace = {reads, room, 0};

    walk_one(walker, address, access, result, &trace);
    return trace.count;
}

/* Runs under construction. */
struct dump {
    const struct vfiokit_walker *walker;
    const struct vfiokit_stage *stage;
    struct vfiokit_mapping *runs;
    size_t room, count;
    struct vfiokit_mapping current;
    int64_t budget;
    uint64_t stopped_at, table;
    bool stopped;
};

static void emit(struct dump *dump)
{
    if (!dump->current.size)
        return;
    if (dump->count < dump->room)
        dump->runs[dump->count] = dump->current;
    dump->count++;
}

ALWAYS_INLINE void add(struct dump *dump, uint64_t iova, uint64_t address, uint64_t size, uint64_t access)
{
    struct vfiokit_mapping *current = &dump->current;

    if (current->size && iova == current->iova + current->size && address == current->address + current->size &&
        access == current->access) {
        current->size += size;
        return;
    }
    emit(dump);
    *current = (struct vfiokit_mapping){iova, address, size, access};
}

static uint64_t canonical(const struct vfiokit_stage *stage, uint64_t address)
{
    if (stage->canonical && address >> (stage->width - 1) & 1)
        return address | ~mask(stage->width);
    return address;
}

/* Count the entries behind a page that say the same of the memory right behind it, and join them. */
ALWAYS_INLINE unsigned follow(struct dump *dump, const uint8_t *place, unsigned slot, unsigned slots, unsigned shift,
                              uint64_t entry, uint64_t reserved)
{
    uint64_t span = UINT64_C(1) << shift;
    unsigned more = 0;

    /* The whole table must be in one run of memory. */
    if (find(dump->walker, dump->table + 8 * (slots - 1)) != place + 8 * (slots - 1 - slot))
        return 0;
    while (slot + more + 1 < slots && (int64_t)more < dump->budget) {
        entry += span;
        if (load(place + 8 * (more + 1)) != entry || entry & reserved || !(entry & ADDRESS_MASK))
            break;
        more++;
    }
    dump->budget -= more;
    dump->current.size += more * span;
    return more;
}

static void dump_table(struct dump *dump, uint64_t table, unsigned level, uint64_t base, uint64_t granted,
                       uint64_t touched)
{
    const struct vfiokit_stage *stage = dump->stage;
    unsigned shift = level_shift(level), slots = 512;

    if (stage->width < shift + LEVEL_BITS)
        slots = stage->width > shift ? 1u << (stage->width - shift) : 1;
    for (unsigned slot = 0; slot < slots && !dump->stopped; slot++) {
        uint64_t iova = canonical(stage, base + ((uint64_t)slot << shift)), entry;
        const uint8_t *place = find(dump->walker, table + 8 * slot);
        unsigned below;
        uint8_t allowed;
        bool leaf;

        if (!place)
            continue;
        entry = load(place);
        if (!(entry & stage->present))
            continue;
        if (--dump->budget < 0) {
            dump->stopped = true;
            dump->stopped_at = iova;
            return;
        }
        allowed = permissions_of(stage, granted & entry, touched | entry);
        below = next_level(stage, entry, level);
        leaf = below == 0 || below == NEXT_LEVEL_ENCODED;
        if (entry & (leaf ? stage->reserved_leaf : stage->reserved_table)[level] || !allowed ||
            (stage->user & ~entry && !dump->walker->privileged))
            continue;
        if (!leaf) {
            if (below < level)
                dump_table(dump, entry & ADDRESS_MASK, below, base + ((uint64_t)slot << shift), granted & entry,
                           touched | entry);
            continue;
        }
        if (below) {
            unsigned page = encoded_shift(entry);

            if (shift < page && page < level_shift(level + 1))
                add(dump, iova, (entry & ADDRESS_MASK & ~mask(page)) | (iova & mask(page)), UINT64_C(1) << shift,
                    allowed);
            continue;
        }
        add(dump, iova, entry & ADDRESS_MASK & ~mask(shift), UINT64_C(1) << shift, allowed);
        dump->table = table;
        slot += follow(dump, place, slot, slots, shift, entry, stage->reserved_leaf[level]);
    }
}

size_t vfiokit_dump(const struct vfiokit_walker *walker, struct vfiokit_mapping *runs, size_t room,
                    int64_t *budget, uint64_t *stopped_at)
{
    const struct vfiokit_stage *stage = only_stage(walker);
    struct dump dump = {.walker = walker, .stage = stage, .runs = runs, .room = room, .budget = *budget};

    if (stage && (!stage->read || stage->granted & (stage->read | stage->write)))
        dump_table(&dump, stage->root, stage->levels, 0, stage->granted, 0);
    emit(&dump);
    *budget = dump.budget;
    *stopped_at = dump.stopped_at;
    return dump.count;
}
