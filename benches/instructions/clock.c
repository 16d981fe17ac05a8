/* The clock that the measured process sees, preloaded into it.
 *
 * Counting makes a program hundreds of times slower, and some loops decide by the clock how often
 * they look at the kernel. With the real clock they would look so often that their figures would
 * be wrong, and different in each run. So monotonic time passes here at about the pace that it has
 * when nobody counts: the processor time used, divided by SLOWDOWN. A sleep takes no time at all:
 * the clock jumps. What other programs do on the machine does not show in it.
 *
 * It serves whoever asks libc. Wall-clock time is left alone. So are waits with a deadline, which the
 * kernel compares with its own clock: this one starts with it and stays behind it by the seconds that
 * the process has run, so a deadline that is minutes ahead is still ahead.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Processor time under callgrind over processor time without, roughly: a factor of two either way
 * changes nothing in the figures. */
#ifndef SLOWDOWN /* the gates have a clock that stands still */
#define SLOWDOWN 200
#endif

static const int64_t SECOND = 1000000000;
static _Atomic int64_t slept;
static int64_t loaded;

static int64_t kernel_ns(clockid_t clock) {
    struct timespec time;
    syscall(SYS_clock_gettime, clock, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static int64_t now_ns(void) {
    return loaded + kernel_ns(CLOCK_PROCESS_CPUTIME_ID) / SLOWDOWN + atomic_load(&slept);
}

/* A process that reads the clock in an earlier constructor reads a small number, and nothing worse. */
__attribute__((constructor)) static void start(void) {
    loaded = kernel_ns(CLOCK_MONOTONIC);
}

static int is_ours(clockid_t clock) {
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!is_ours(clock))
        return syscall(SYS_clock_gettime, clock, time);
    int64_t now = now_ns();
    time->tv_sec = now / SECOND;
    time->tv_nsec = now % SECOND;
    return 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    (void)left; /* never interrupted, so nothing is left */
    int64_t ns = until->tv_sec * SECOND + until->tv_nsec;
    if (flags & TIMER_ABSTIME)
        ns -= is_ours(clock) ? now_ns() : kernel_ns(clock);
    if (ns > 0)
        atomic_fetch_add(&slept, ns);
    return 0;
}
