/* A hierarchy of data caches: LRU, write-allocate, no prefetch; a level sees what the one above
 * misses. It needs nothing of QEMU, so that tests compile it alone.
 */
#include <stdint.h>

#define LINE_BITS 6 /* lines of 64 bytes */
#define LEVELS 3

/* 64 KB, 256 KB and 2 MB in 4, 8 and 16 ways, as a phone's big core has them.
 * Source: Arm, Technical Reference Manuals of cortex-a76 (64 KB in 4 ways; 128 to 512 KB in 8) and of
 * the DynamIQ Shared Unit (up to 4 MB in 16 ways, shared by all cores). */
static const struct {
    unsigned int sets, ways;
} GEOMETRY[LEVELS] = {{256, 4}, {512, 8}, {2048, 16}};

/* Of each set the lines that it holds, plus one, the one used last first; 0 is an empty place. */
static uint64_t level1[256][4], level2[512][8], level3[2048][16];
static uint64_t *const LINES[LEVELS] = {&level1[0][0], &level2[0][0], &level3[0][0]};
static uint64_t misses[LEVELS];

/* Whether a level holds a line; afterwards it does, as the one used last. */
static int touch(unsigned int level, uint64_t line)
{
    unsigned int ways = GEOMETRY[level].ways, place = 0;
    uint64_t *set = LINES[level] + (line & (GEOMETRY[level].sets - 1)) * ways;
    uint64_t wanted = line + 1;
    int found;

    while (place < ways - 1 && set[place] != wanted) {
        place++;
    }
    found = set[place] == wanted;
    for (; place > 0; place--) {
        set[place] = set[place - 1];
    }
    set[0] = wanted;
    return found;
}

static void access_line(uint64_t line)
{
    for (unsigned int level = 0; level < LEVELS && !touch(level, line); level++) {
        misses[level]++;
    }
}

/* An access to some bytes, which may lie in two lines. */
static void access_bytes(uint64_t address, uint64_t bytes)
{
    uint64_t last = (address + bytes - 1) >> LINE_BITS;

    for (uint64_t line = address >> LINE_BITS; line <= last; line++) {
        access_line(line);
    }
}
