/* Runs the walker on a corpus from a file, each memory in an allocation of its own, so that the sanitizers see
   every step beyond it. Prints a line for each case: what the walks, the traces and the dump came to. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walk.h"

struct header {
    uint64_t start, size, count, access;
};

static void *take(FILE *file, size_t size)
{
    void *data = malloc(size ? size : 1);

    if (!data || (size && fread(data, size, 1, file) != 1))
        exit(3);
    return data;
}

static uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x100000001b3);
}

static void run(FILE *file, const struct header *header)
{
    size_t count = header->count;
    uint64_t *addresses = take(file, 8 * count), *translated = calloc(count + 1, 8), reads[64];
    uint8_t *columns[4], *data = take(file, header->size);
    struct vfiokit_walker *walker = take(file, sizeof(*walker));
    struct vfiokit_segment segment = {header->start, header->size / 8 * 8, data};
    struct vfiokit_mapping *runs = calloc(16, sizeof(*runs));
    struct vfiokit_result result;
    int64_t budget = 5000;
    uint64_t sums[3] = {0}, stopped;

    walker->segments = &segment;
    walker->number_of_segments = header->size >= 8;
    for (int column = 0; column < 4; column++)
        columns[column] = malloc(count + 1);
    for (int plain = 0; plain < 2; plain++) {
        (plain ? vfiokit_walk_plain : vfiokit_walk_many)(walker, addresses, NULL, header->access, count, translated,
                                                         columns[0], columns[1], columns[2], columns[3]);
        for (size_t index = 0; index < count; index++) {
            sums[plain] = mix(sums[plain], translated[index]);
            for (int column = 0; column < 4; column++)
                sums[plain] = mix(sums[plain], columns[column][index]);
        }
    }
    for (size_t index = 0; index < count; index++) {
        size_t read = vfiokit_walk_trace(walker, addresses[index], header->access, &result, reads, 64);

        for (size_t each = 0; each < read && each < 64; each++)
            sums[2] = mix(sums[2], reads[each]);
    }
    size_t mapped = vfiokit_dump(walker, runs, 16, &budget, &stopped);
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %zu\n", sums[0], sums[1], sums[2], mapped);
    for (int column = 0; column < 4; column++)
        free(columns[column]);
    free(addresses);
    free(translated);
    free(data);
    free(walker);
    free(runs);
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    struct header header;

    if (!file)
        return 2;
    while (fread(&header, sizeof(header), 1, file) == 1)
        run(file, &header);
    return fclose(file);
}
