/* QEMU TCG plugin: counts the guest instructions that an AArch64 program executes between two marks.
 *
 * A mark is getpriority(MARK, CALLER or ALL) to begin and getpriority(MARK, 0) to end: a system call
 * that no program makes with this argument, and that the kernel refuses without any effect. CALLER
 * counts the thread that makes the mark, ALL every thread of the guest, each into its own slot, since
 * QEMU runs them in parallel.
 *
 * QEMU logs one line per pair of marks (-d plugin -D FILE):
 *     instructions loads_stores=N vector=N branches=N other=N
 *
 * Built without any header but the compiler's own: Debian ships none for plugins, and a machine
 * with a compiler need not have those of libc. PLUGIN_API says for which version of the plugin API it
 * is built: 1 (QEMU 4.2 to 8.2) or 4 (QEMU 10.0), since QEMU refuses to load a plugin of a version
 * that it does not know. Source: include/qemu/qemu-plugin.h of QEMU 7.2 and 10.0.
 */
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x65707275 /* worker.py holds the same number */
#define GETPRIORITY 141 /* of AArch64 Linux */
#define CALLER 1
#define ALL 2
#define SLOTS 512
#define CLASSES 4

typedef uint64_t plugin_id;
struct qemu_info;
struct qemu_tb;
struct qemu_insn;
enum { NO_REGISTERS = 0 };

extern void qemu_plugin_outs(const char *text);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_tb *tb);
extern struct qemu_insn *qemu_plugin_tb_get_insn(const struct qemu_tb *tb, size_t index);
#if PLUGIN_API == 1
extern const void *qemu_plugin_insn_data(const struct qemu_insn *insn);
#elif PLUGIN_API == 4
extern size_t qemu_plugin_insn_data(const struct qemu_insn *insn, void *bytes, size_t size);
#else
#error "PLUGIN_API: expected 1 or 4"
#endif
extern void qemu_plugin_register_vcpu_tb_trans_cb(
    plugin_id id, void (*translated)(plugin_id, struct qemu_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_tb *tb, void (*executed)(unsigned int, void *), int flags, void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id id,
    void (*called)(plugin_id, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                   uint64_t, uint64_t, uint64_t, uint64_t));

extern int snprintf(char *text, size_t size, const char *format, ...);
extern void abort(void) __attribute__((noreturn));

EXPORT int qemu_plugin_version = PLUGIN_API;

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

static uint32_t opcode_of(const struct qemu_insn *insn)
{
#if PLUGIN_API == 1
    const uint8_t *bytes = qemu_plugin_insn_data(insn);
#else
    uint8_t bytes[4] = {0};

    qemu_plugin_insn_data(insn, bytes, sizeof bytes);
#endif
    return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
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
    counting = (int)threads;
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
