/* Gives programs on Linux the poll of macOS, so that what waits with it can be tested without a Mac.
 *
 * XNU turns each entry into kevents, one for reading and one for writing, as its events ask for
 * (bsd/kern/sys_generic.c, poll_nocancel; bsd/kern/sys_pipe.c). From this it follows that
 *  - an entry that asks for nothing is left out: it reports no hang-up either, and no bad descriptor;
 *  - POLLHUP asks for the kevent for reading, which bytes that are ready use up without a report;
 *  - the kevent that does not fit a pipe's end reports its other end's close and nothing else;
 *  - that is POLLHUP at either end of a pipe, and never comes with POLLOUT;
 *  - devices other than terminals, and folders, are POLLNVAL;
 *  - flags that Linux alone has mean nothing.
 *
 * To be preloaded. Where XNU_POLL_LOG names a file, each process that asks for something adds its
 * name to it, as a proof that its polls come through here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READING (POLLIN | POLLRDNORM | POLLPRI | POLLRDBAND)
#define WRITING (POLLOUT | POLLWRNORM | POLLWRBAND)

typedef int ppoll_function(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);

static ppoll_function *linux_ppoll(void) {
    static ppoll_function *found;
    if (!found) found = (ppoll_function *)dlsym(RTLD_NEXT, "ppoll");
    if (!found) abort();
    return found;
}

static void leave_a_trace(void) {
    static int left;
    const char *path = getenv("XNU_POLL_LOG");
    if (!path || __atomic_exchange_n(&left, 1, __ATOMIC_RELAXED)) return;
    int error = errno, log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log >= 0) {
        dprintf(log, "%s\n", program_invocation_short_name);
        close(log);
    }
    errno = error;
}

/* What is left to report of an entry. */
struct kevents {
    char reading, writing, is_socket;
};

/* The kevents of an entry; or 0 for one that cannot have any. */
static int add(const struct pollfd *entry, struct kevents *kevents) {
    struct stat stat;
    *kevents = (struct kevents){
        .reading = (entry->events & (READING | POLLHUP)) != 0,
        .writing = (entry->events & WRITING) != 0,
    };
    if (entry->fd < 0) *kevents = (struct kevents){0};
    if (!kevents->reading && !kevents->writing) return 1;
    if (fstat(entry->fd, &stat) != 0 || S_ISDIR(stat.st_mode)) return 0;
    kevents->is_socket = S_ISSOCK(stat.st_mode);
    return !S_ISCHR(stat.st_mode) || isatty(entry->fd);
}

/* Takes what Linux reports of an entry, and gives what XNU would. */
static short report(short asked, short revents, struct kevents *kevents) {
    short reported = 0;
    /* Linux says POLLERR where a pipe has no reader. */
    if (revents & (POLLHUP | POLLRDHUP | POLLERR)) {
        reported = POLLHUP | (kevents->reading ? asked & READING : 0);
        kevents->reading = kevents->writing = 0;
    } else {
        if (kevents->reading && (revents & POLLIN)) {
            reported |= asked & (POLLIN | POLLRDNORM);
            kevents->reading = 0;
        }
        if (kevents->writing && (revents & POLLOUT)) {
            reported |= asked & WRITING;
            kevents->writing = 0;
        }
    }
    return reported;
}

static const struct timespec *left(const struct timespec *until, struct timespec *space) {
    if (!until) return NULL;
    clock_gettime(CLOCK_MONOTONIC, space);
    space->tv_sec = until->tv_sec - space->tv_sec;
    space->tv_nsec = until->tv_nsec - space->tv_nsec;
    if (space->tv_nsec < 0) space->tv_sec--, space->tv_nsec += 1000000000;
    if (space->tv_sec < 0) *space = (struct timespec){0, 0};
    return space;
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask) {
    struct pollfd asked[count + 1];
    struct kevents kevents[count + 1];
    struct timespec until, space;
    int reports = 0, asks = 0;

    if (time) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += time->tv_sec;
        until.tv_nsec += time->tv_nsec;
        if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    }
    for (nfds_t i = 0; i < count; i++) {
        fds[i].revents = 0;
        asks |= fds[i].events != 0;
        if (!add(&fds[i], &kevents[i])) {
            fds[i].revents = POLLNVAL;
            kevents[i] = (struct kevents){0};
            reports++;
        }
    }
    if (asks) leave_a_trace();
    /* Where an entry is wrong, the others are looked at and not waited for. */
    if (reports) until = (struct timespec){0, 0};
    for (;;) {
        for (nfds_t i = 0; i < count; i++) {
            struct kevents of = kevents[i];
            short reading = of.reading ? POLLIN | (of.is_socket ? POLLRDHUP : 0) : 0;
            asked[i].fd = of.reading || of.writing ? fds[i].fd : -1;
            asked[i].events = reading | (of.writing ? POLLOUT : 0);
        }
        const struct timespec *wait = left(time || reports ? &until : NULL, &space);
        int found = linux_ppoll()(asked, count, wait, mask);
        if (found <= 0) return reports ? reports : found;
        for (nfds_t i = 0; i < count; i++) {
            if (asked[i].fd < 0) continue;
            fds[i].revents = report(fds[i].events, asked[i].revents, &kevents[i]);
            reports += fds[i].revents != 0;
        }
        if (reports) return reports;
    }
}

/* How Rust's standard library looks for closed streams before main. On macOS it does so without poll. */
static int is_rusts_start(const struct pollfd *fds, nfds_t count, int millis) {
    if (count != 3 || millis != 0) return 0;
    for (int i = 0; i < 3; i++) {
        if (fds[i].fd != i || fds[i].events != 0) return 0;
    }
    return 1;
}

int poll(struct pollfd *fds, nfds_t count, int millis) {
    if (is_rusts_start(fds, count, millis)) return linux_ppoll()(fds, count, &(struct timespec){0, 0}, NULL);
    struct timespec time = {millis / 1000, millis % 1000 * 1000000L};
    return ppoll(fds, count, millis < 0 ? NULL : &time, NULL);
}
