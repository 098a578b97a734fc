/* QEMU TCG plugin: counts the guest instructions that an AArch64 program executes between two marks.
 *
 * QEMU logs one line per pair of marks (-d plugin -D FILE):
 *     instructions loads_stores=N vector=N branches=N other=N
 *
 * With CALLER it counts the thread that makes the mark, with ALL every thread of the guest, each into
 * its own slot, since QEMU runs them in parallel.
 */
#include "plugin.h"

#define SLOTS 512
#define CLASSES 4

/* A slot fills whole cache lines, so that threads do not slow each other down. */
static struct {
    uint64_t counts[CLASSES];
    char padding[128 - CLASSES * sizeof(uint64_t)];
} slots[SLOTS];
static volatile int counting; /* 0, CALLER or ALL */
static volatile unsigned int caller;

/* Top-level groups by bits 28:25; Arm Architecture Reference Manual (DDI 0487), section C4.1. */
static unsigned int class_of(uint32_t opcode)
{
    unsigned int group = opcode >> 25 & 15;

    if ((group & 5) == 4) {
        return 0; /* x1x0: loads and stores */
    }
    if ((group & 7) == 7) {
        return 1; /* x111: Advanced SIMD and floating point */
    }
    if ((group & 14) == 10) {
        return 2; /* 101x: branches, exceptions and system */
    }
    return 3;
}

/* The four counts of a block travel in the 64 bits of its callback's argument. */
static void on_execution(unsigned int vcpu, void *packed)
{
    uint64_t counts = (uint64_t)packed;

    if (!counting || (counting == CALLER && vcpu != caller)) {
        return;
    }
    if (vcpu >= SLOTS) {
        qemu_plugin_outs("more threads than the plugin has slots\n");
        abort();
    }
    for (unsigned int i = 0; i < CLASSES; i++) {
        slots[vcpu].counts[i] += counts >> 16 * i & 0xffff;
    }
}

/* A block has at most 512 instructions (TCG_MAX_INSNS), so 16 bits hold each count. */
static void on_translation(plugin_id id, struct qemu_tb *tb)
{
    uint64_t packed = 0;

    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        uint32_t opcode = opcode_of(qemu_plugin_tb_get_insn(tb, i));

        packed += (uint64_t)1 << 16 * class_of(opcode);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execution, NO_REGISTERS, (void *)packed);
}

static void report(void)
{
    uint64_t sums[CLASSES] = {0};
    char text[160];

    for (unsigned int vcpu = 0; vcpu < SLOTS; vcpu++) {
        for (unsigned int i = 0; i < CLASSES; i++) {
            sums[i] += slots[vcpu].counts[i];
            slots[vcpu].counts[i] = 0;
        }
    }
    snprintf(text, sizeof text,
             "instructions loads_stores=%llu vector=%llu branches=%llu other=%llu\n",
             (unsigned long long)sums[0], (unsigned long long)sums[1],
             (unsigned long long)sums[2], (unsigned long long)sums[3]);
    qemu_plugin_outs(text);
}

static void on_system_call(plugin_id id, unsigned int vcpu, int64_t number, uint64_t which,
                           uint64_t threads, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                           uint64_t a7, uint64_t a8)
{
    (void)id, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPRIORITY || (uint32_t)which != MARK) {
        return;
    }
    if (counting && !threads) {
        report();
    }
    caller = vcpu;
    counting = threads == BLOCKS ? 0 : (int)threads;
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
