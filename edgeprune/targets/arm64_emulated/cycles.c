/* QEMU TCG plugin: the blocks that a thread executes between two marks, and its cache misses.
 *
 * QEMU logs, for a pair of marks that begins with BLOCKS (-d plugin -D FILE):
 *     misses l1=N l2=N l3=N
 *     block EXECUTIONS OPCODES       (8 hexadecimal digits each, one line per translated block)
 * What the thread does between a pair that begins with CALLER fills the caches before that.
 *
 * Blocks are instrumented from the first mark on, which costs a flush of what was translated before:
 * a callback for every access to memory would make the start of the guest's Python several times
 * slower. Blocks are translated one at a time (QEMU's mmap lock), so that their list needs no lock.
 */
#include "caches.h"
#include "plugin.h"

enum { LOADS_AND_STORES = 3 };

extern void qemu_plugin_reset(plugin_id id, void (*done)(plugin_id));
extern void qemu_plugin_register_vcpu_mem_cb(
    struct qemu_insn *insn, void (*accessed)(unsigned int, uint32_t, uint64_t, void *), int flags,
    int accesses, void *data);
extern unsigned int qemu_plugin_mem_size_shift(uint32_t info);
extern void *malloc(size_t size);

struct block {
    uint64_t executions;
    struct block *next;
    size_t size;
    uint32_t opcodes[];
};

static struct block *blocks;
static int instrumented;
static volatile int phase; /* 0, CALLER or BLOCKS */
static volatile unsigned int caller;

static void on_execution(unsigned int vcpu, void *executed)
{
    struct block *block = executed;

    if (phase == BLOCKS && vcpu == caller) {
        block->executions++;
    }
}

static void on_access(unsigned int vcpu, uint32_t info, uint64_t address, void *data)
{
    (void)data;
    if (phase && vcpu == caller) {
        access_bytes(address, (uint64_t)1 << qemu_plugin_mem_size_shift(info));
    }
}

static void on_translation(plugin_id id, struct qemu_tb *tb)
{
    size_t size = qemu_plugin_tb_n_insns(tb);
    struct block *block = malloc(sizeof *block + size * sizeof *block->opcodes);

    (void)id;
    if (!block) {
        qemu_plugin_outs("no memory for the blocks\n");
        abort();
    }
    *block = (struct block){.next = blocks, .size = size};
    for (size_t i = 0; i < size; i++) {
        struct qemu_insn *insn = qemu_plugin_tb_get_insn(tb, i);

        block->opcodes[i] = opcode_of(insn);
        qemu_plugin_register_vcpu_mem_cb(insn, on_access, NO_REGISTERS, LOADS_AND_STORES, NULL);
    }
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execution, NO_REGISTERS, block);
}

static void report(void)
{
    char text[160];

    snprintf(text, sizeof text, "misses l1=%llu l2=%llu l3=%llu\n", (unsigned long long)misses[0],
             (unsigned long long)misses[1], (unsigned long long)misses[2]);
    qemu_plugin_outs(text);
    for (struct block *block = blocks; block; block = block->next) {
        if (!block->executions) {
            continue;
        }
        snprintf(text, sizeof text, "block %llu ", (unsigned long long)block->executions);
        qemu_plugin_outs(text);
        for (size_t i = 0; i < block->size; i++) {
            snprintf(text, sizeof text, "%08x", block->opcodes[i]);
            qemu_plugin_outs(text);
        }
        qemu_plugin_outs("\n");
        block->executions = 0;
    }
}

static void on_system_call(plugin_id id, unsigned int vcpu, int64_t number, uint64_t which,
                           uint64_t threads, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                           uint64_t a7, uint64_t a8);

static void instrument(plugin_id id)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
}

static void on_system_call(plugin_id id, unsigned int vcpu, int64_t number, uint64_t which,
                           uint64_t threads, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                           uint64_t a7, uint64_t a8)
{
    (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPRIORITY || (uint32_t)which != MARK) {
        return;
    }
    if (phase == BLOCKS && !threads) {
        report();
    }
    caller = vcpu;
    phase = threads == ALL ? 0 : (int)threads;
    for (unsigned int level = 0; level < LEVELS; level++) {
        misses[level] = 0;
    }
    if (phase && !instrumented) {
        instrumented = 1;
        qemu_plugin_reset(id, instrument);
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
