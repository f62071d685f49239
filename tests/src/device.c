/* A device of constant cost, for data that lies in memory: loaded before the C library, whose calls it takes over.

   DEVICE_SYNC_MICROS       what every sync takes, counted from the call; 1000 unless set
   DEVICE_BYTES_PER_SECOND  how fast positional writes are taken; as fast as they come unless set */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static long sync_micros = 1000;
static long bytes_per_second = 0;
static _Thread_local int exact;

__attribute__((constructor)) static void settings(void) {
    const char *micros = getenv("DEVICE_SYNC_MICROS"), *bytes = getenv("DEVICE_BYTES_PER_SECOND");
    if (micros) sync_micros = atol(micros);
    if (bytes) bytes_per_second = atol(bytes);
}

static void take(struct timespec from, long long nanos) {
    if (!exact) exact = prctl(PR_SET_TIMERSLACK, 1UL) == 0;
    nanos += from.tv_nsec;
    from.tv_sec += nanos / 1000000000;
    from.tv_nsec = nanos % 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &from, 0) == EINTR) {}
}

static struct timespec now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now;
}

static int sync_file(void) {
    take(now(), sync_micros * 1000LL);
    return 0;
}

int fsync(int file) { (void)file; return sync_file(); }
int fdatasync(int file) { (void)file; return sync_file(); }

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    struct timespec begun = now();
    ssize_t written = syscall(SYS_pwrite64, file, bytes, count, at);
    int error = errno;
    if (bytes_per_second && written > 0) take(begun, written * 1000000000LL / bytes_per_second);
    errno = error;
    return written;
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return pwrite64(file, bytes, count, at); }
