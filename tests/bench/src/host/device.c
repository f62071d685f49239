/* A device of constant cost: every sync takes one millisecond, counted from the call. For data that lies in memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

static _Thread_local int exact;

static int take_one_millisecond(void) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (!exact) exact = prctl(PR_SET_TIMERSLACK, 1UL) == 0;
    until.tv_nsec += 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec += 1;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0) == EINTR) {}
    return 0;
}

int fsync(int file) { (void)file; return take_one_millisecond(); }
int fdatasync(int file) { (void)file; return take_one_millisecond(); }
