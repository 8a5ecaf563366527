/* How are many drop files read, claimed and removed, with nothing but system calls in between?
 *
 * Only such files as leave nothing to decide. What is out of the ordinary stays as it was found, and
 * reactord/ipc/dropfile.py says what becomes of it. Names are relative to directories that are opened once: the kernel
 * walks no long path for each.
 */
#define _GNU_SOURCE /* F_SETLEASE */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h> /* renameat */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rk.h"

static int open_directory(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void close_if_open(int descriptor)
{
    if (descriptor >= 0)
        close(descriptor);
}

static const char *behind(const char *name)
{
    return name + strlen(name) + 1;
}

#ifdef F_SETLEASE

static int64_t mtime_ns(const struct stat *status)
{
    return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

static int is_plain(const struct stat *status, uid_t owner, size_t largest)
{
    return S_ISREG(status->st_mode) && status->st_uid == owner && status->st_nlink == 1 &&
           (uint64_t)status->st_size <= largest;
}

/* Whether nobody has the file open for writing, and whoever opens it for that from now on waits until we close it. */
static int is_leased(int file)
{
    /* the kernel tells us of him by a signal: SIGIO would end the process */
    return fcntl(file, F_SETSIG, SIGURG) == 0 && fcntl(file, F_SETLEASE, F_RDLCK) == 0;
}

static int is_whole(int file, uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t part = read(file, bytes, size);
        if (part <= 0)
            return 0;
        bytes += part;
        size -= (size_t)part;
    }
    return 1;
}

int64_t rk_read_files(const char *directory, const char *names, size_t n, uint8_t *bytes, size_t room, rk_file *found)
{
    size_t i, at = 0;
    uid_t owner = geteuid();
    int from = open_directory(directory);
    for (i = 0; i < n; i++, names = behind(names)) {
        struct stat status;
        int file = openat(from, names, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        int good = file >= 0 && fstat(file, &status) == 0 && is_plain(&status, owner, room);
        if (good && (size_t)status.st_size > room - at) {
            close(file);
            break;
        }
        if (!good || !is_leased(file) || !is_whole(file, bytes + at, (size_t)status.st_size)) {
            close_if_open(file);
            found[i] = (rk_file){.file = -1};
            continue;
        }
        found[i] = (rk_file){(int64_t)status.st_dev, (int64_t)status.st_ino, status.st_size, mtime_ns(&status),
                             (int64_t)at, file, 0};
        at += (size_t)status.st_size;
    }
    close_if_open(from);
    return (int64_t)i;
}

/* Whether what has this name is what was read, and nobody has opened it for writing since. */
static int is_as_read(int directory, const char *name, const rk_file *read)
{
    struct stat status;
    return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && (int64_t)status.st_dev == read->device &&
           (int64_t)status.st_ino == read->inode && status.st_size == read->size &&
           mtime_ns(&status) == read->mtime_ns && fcntl(read->file, F_GETLEASE) == F_RDLCK;
}

#else /* without leases nobody can tell whether a file is being written: there is something to decide about each */

int64_t rk_read_files(const char *directory, const char *names, size_t n, uint8_t *bytes, size_t room, rk_file *found)
{
    (void)directory, (void)names, (void)bytes, (void)room;
    for (size_t i = 0; i < n; i++)
        found[i] = (rk_file){.file = -1};
    return (int64_t)n;
}

static int is_as_read(int directory, const char *name, const rk_file *read)
{
    (void)directory, (void)name, (void)read;
    return 0;
}

#endif

void rk_claim_files(const char *directory, const char *names, const char *target, const char *claims, size_t n,
                    rk_file *found)
{
    int from = open_directory(directory);
    int trouble = from < 0 ? errno : 0;
    int to = open_directory(target);
    if (to < 0)
        trouble = errno;
    for (size_t i = 0; i < n; i++, names = behind(names), claims = behind(claims)) {
        if (found[i].file < 0)
            continue;
        if (trouble || renameat(from, names, to, claims) != 0)
            found[i].outcome = trouble ? trouble : errno;
        else
            found[i].outcome = is_as_read(to, claims, &found[i]) ? RK_OK : RK_ECHANGED;
        close(found[i].file);
        found[i].file = -1;
    }
    close_if_open(from);
    close_if_open(to);
}

int64_t rk_unlink_files(const char *directory, const char *names, size_t n, int32_t *error)
{
    size_t i = 0;
    int from = open_directory(directory);
    *error = from < 0 ? errno : 0;
    for (; i < n && *error == 0; names = behind(names)) {
        if (unlinkat(from, names, 0) == 0 || errno == ENOENT)
            i++;
        else
            *error = errno;
    }
    close_if_open(from);
    return (int64_t)i;
}
