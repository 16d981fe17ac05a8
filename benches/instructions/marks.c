/* Two marks around the operations that are to be counted.
 *
 * They are valgrind client requests: a few instructions that callgrind recognises and that do
 * nothing elsewhere. Python calls them through ctypes, so that what is counted starts and ends
 * inside the running loop, and neither start-up nor warm-up nor the way out is in the figures.
 */
#include <valgrind/callgrind.h>

/* Whether anybody counts: without valgrind the figures would silently be nothing. */
int marks_counted(void) { return RUNNING_ON_VALGRIND != 0; }

void marks_begin(void) {
    CALLGRIND_ZERO_STATS;
    CALLGRIND_START_INSTRUMENTATION;
}

/* Writes a dump whose trigger carries `name`. */
void marks_end(const char *name) {
    CALLGRIND_STOP_INSTRUMENTATION;
    CALLGRIND_DUMP_STATS_AT(name);
}
