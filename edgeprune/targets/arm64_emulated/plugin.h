/* What the plugins share: the part of QEMU's plugin interface that they use, and the marks.
 *
 * Built without any header but the compiler's own: Debian ships none for plugins, and a machine
 * with a compiler need not have those of libc. PLUGIN_API says for which version of the plugin API
 * it is built: 1 (QEMU 4.2 to 8.2) or 4 (QEMU 10.0), since QEMU refuses to load a plugin of a
 * version that it does not know. Source: include/qemu/qemu-plugin.h of QEMU 7.2 and 10.0.
 *
 * A mark is getpriority(MARK, CALLER, ALL or BLOCKS) to begin and getpriority(MARK, 0) to end: a
 * system call that no program makes with this argument, and that the kernel refuses without any
 * effect. With CALLER count.c counts the thread that makes the mark, with ALL every thread of the
 * guest. With BLOCKS cycles.c looks at the thread that makes the mark, and count.c does not count.
 */
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x65707275 /* worker.py holds the same numbers */
#define CALLER 1
#define ALL 2
#define BLOCKS 3
#define GETPRIORITY 141 /* of AArch64 Linux */

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
