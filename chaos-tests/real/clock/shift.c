/* The wall clock of a process, shifted and stretched while it runs: preloaded into controllers and workers by the harness. Timers and the
 * monotonic clock stay as they are.
 *
 * libfaketime would do, but it allocates memory before an allocator that the program brings itself is ready, and hangs. This one
 * only maps a file (named by CHAOS_CLOCK) of three numbers, which the harness rewrites:
 *   shown = real + offset + (real - since) * (rate - 1000) / 1000        all in nanoseconds
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct setting {
    volatile int64_t offset, since, rate;
};
static struct setting real = {0, 0, 1000};
static struct setting *setting = &real;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *setting, PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) setting = map;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int done = (int)syscall(SYS_clock_gettime, clock, at);
    if (done != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return done;
    int64_t now = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec;
    int64_t ran = setting->since ? now - setting->since : 0;
    now += setting->offset + ran / 1000 * (setting->rate - 1000);
    at->tv_sec = now / 1000000000;
    at->tv_nsec = now % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
