/*
 * Power loss, modelled for one process: a preloaded library that keeps, for every file under a
 * directory, what is needed to return it to the content of its last sync.
 *
 *   POWERLOSS_ROOT  the directory whose files are followed (absolute)
 *   POWERLOSS_UNDO  the directory that takes the undo logs (absolute, exists, outside the first)
 *
 * The model. A change of a file's content or length is volatile until an fsync or fdatasync of that
 * file that began after the change has returned. Creating, renaming and removing a file is durable
 * at once, which is the harder case for a store: a rename that became durable before the content
 * of the file did leaves an empty file. sync_file_range, msync, sync and syncfs make nothing
 * durable. A writable shared mapping is not followed; it is noted, so that the harness can refuse
 * the run. copy_file_range and sendfile into a followed file are refused, and callers fall back to
 * write. Writes by way of stdio or raw system calls are not seen; the server uses neither.
 *
 * How. Before a change, the bytes that it is about to replace and the length of the file go into
 * the file's undo log. A sync starts a new log before it calls the kernel, and removes the older
 * ones after the kernel has answered. After SIGKILL the harness plays what is left backwards.
 * Files are known by device and inode, so a rename needs no bookkeeping.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define BUCKETS 1024
#define CHUNK (1 << 20)

struct record {
    uint64_t old_size;
    uint64_t offset;
    uint64_t length;
};

struct file {
    dev_t device;
    ino_t inode;
    int followed;
    uint64_t oldest, generation;
    int log, reader;
    pthread_mutex_t lock;
    struct file *next;
};

static struct file *table[BUCKETS];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX], undo[PATH_MAX];
static size_t root_length;

/* The next library's function of that name. */
#define NEXT(name, result, ...)                                      \
    static result (*next)(__VA_ARGS__);                              \
    if (!next)                                                       \
        next = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int next_open(const char *path, int flags, mode_t mode) {
    NEXT("open64", int, const char *, int, ...);
    return next(path, flags, mode);
}

static ssize_t next_writev(int fd, const struct iovec *parts, int count) {
    NEXT("writev", ssize_t, int, const struct iovec *, int);
    return next(fd, parts, count);
}

/* A model that lost its own notes proves nothing: stop loudly. */
static void broken(const char *what) {
    fprintf(stderr, "powerloss: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void configure(void) {
    const char *from = getenv("POWERLOSS_ROOT"), *to = getenv("POWERLOSS_UNDO");
    if (!from || !to || !realpath(to, undo))
        return;
    if (!realpath(from, root))
        snprintf(root, sizeof root, "%s", from);
    root_length = strlen(root);
}

static int is_under_root(int fd) {
    char link[64], path[PATH_MAX];
    if (!root_length)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return !strncmp(path, root, root_length) && path[root_length] == '/';
}

/* The entry of a regular file, made on first sight; null for anything else. */
static struct file *entry(int fd, struct stat *status) {
    if (fstat(fd, status) || !S_ISREG(status->st_mode))
        return NULL;
    size_t bucket = (status->st_ino ^ status->st_dev) % BUCKETS;
    pthread_mutex_lock(&table_lock);
    struct file *file = table[bucket];
    while (file && (file->inode != status->st_ino || file->device != status->st_dev))
        file = file->next;
    if (!file) {
        file = calloc(1, sizeof *file);
        if (!file)
            broken("memory");
        file->device = status->st_dev;
        file->inode = status->st_ino;
        file->followed = is_under_root(fd);
        file->log = file->reader = -1;
        pthread_mutex_init(&file->lock, NULL);
        file->next = table[bucket];
        table[bucket] = file;
    }
    pthread_mutex_unlock(&table_lock);
    return file;
}

static struct file *followed(int fd, struct stat *status) {
    int before = errno;
    struct file *file = root_length ? entry(fd, status) : NULL;
    errno = before;
    return file && file->followed ? file : NULL;
}

static void log_path(char *path, size_t size, const struct file *file, uint64_t generation) {
    int length = snprintf(path, size, "%s/%llu-%llu.%llu", undo, (unsigned long long)file->device,
                          (unsigned long long)file->inode, (unsigned long long)generation);
    if (length < 0 || (size_t)length >= size)
        broken("path of an undo log");
}

/* Removes the logs up to a generation. The lock is held. */
static void forget(struct file *file, uint64_t last) {
    char path[PATH_MAX + 64];
    for (; file->oldest <= last; file->oldest++) {
        log_path(path, sizeof path, file, file->oldest);
        if (unlink(path) && errno != ENOENT)
            broken("remove an undo log");
    }
    if (file->log < 0 && file->reader >= 0) {
        close(file->reader);
        file->reader = -1;
    }
}

static void next_generation(struct file *file) {
    if (file->log >= 0) {
        close(file->log);
        file->log = -1;
    }
    file->generation++;
}

static void append(struct file *file, const struct record *record, const void *bytes) {
    struct iovec parts[2] = {
        {(void *)record, sizeof *record},
        {(void *)bytes, record->length},
    };
    ssize_t expected = sizeof *record + record->length;
    if (next_writev(file->log, parts, 2) != expected)
        broken("write an undo log");
}

/* Notes what a change of `length` bytes at `offset` will replace. The lock is held. */
static void note(struct file *file, int fd, uint64_t offset, uint64_t length) {
    int before = errno;
    struct stat status;
    char path[PATH_MAX + 64];
    if (file->log < 0) {
        log_path(path, sizeof path, file, file->generation);
        file->log = next_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (file->log < 0)
            broken("open an undo log");
    }
    if (file->reader < 0) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        file->reader = next_open(path, O_RDONLY | O_CLOEXEC, 0);
        if (file->reader < 0)
            broken("read a followed file");
    }
    if (fstat(file->reader, &status))
        broken("fstat");
    struct record record = {status.st_size, offset, 0};
    uint64_t end = offset + length < record.old_size ? offset + length : record.old_size;
    if (offset >= end) {
        append(file, &record, NULL);
    } else {
        char *bytes = malloc(CHUNK);
        if (!bytes)
            broken("memory");
        for (; record.offset < end; record.offset += record.length) {
            record.length = end - record.offset < CHUNK ? end - record.offset : CHUNK;
            ssize_t got = pread(file->reader, bytes, record.length, record.offset);
            if (got != (ssize_t)record.length)
                broken("read what is replaced");
            append(file, &record, bytes);
        }
        free(bytes);
    }
    errno = before;
}

/* Where a write without a position goes. */
static uint64_t position(int fd) {
    int before = errno;
    struct stat status;
    off_t at;
    if (fcntl(fd, F_GETFL) & O_APPEND)
        at = fstat(fd, &status) ? 0 : status.st_size;
    else
        at = lseek(fd, 0, SEEK_CUR);
    errno = before;
    return at < 0 ? 0 : at;
}

static uint64_t total(const struct iovec *parts, int count) {
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    return bytes;
}

/* Notes a change of a followed file, then makes it, under the file's lock. */
#define CHANGE(result, fd, offset, length, call)                     \
    do {                                                             \
        struct stat status_;                                         \
        struct file *file_ = followed(fd, &status_);                 \
        if (!file_)                                                  \
            return call;                                             \
        pthread_mutex_lock(&file_->lock);                            \
        note(file_, fd, offset, length);                             \
        result value_ = call;                                        \
        pthread_mutex_unlock(&file_->lock);                          \
        return value_;                                               \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
    NEXT("write", ssize_t, int, const void *, size_t);
    CHANGE(ssize_t, fd, position(fd), length, next(fd, bytes, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    CHANGE(ssize_t, fd, position(fd), total(parts, count), next_writev(fd, parts, count));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    NEXT("pwrite64", ssize_t, int, const void *, size_t, off64_t);
    CHANGE(ssize_t, fd, offset, length, next(fd, bytes, length, offset));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    NEXT("pwritev64", ssize_t, int, const struct iovec *, int, off64_t);
    CHANGE(ssize_t, fd, offset, total(parts, count), next(fd, parts, count, offset));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(fd, parts, count, offset);
}

int ftruncate64(int fd, off64_t length) {
    NEXT("ftruncate64", int, int, off64_t);
    CHANGE(int, fd, length, INT64_MAX - length, next(fd, length));
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    NEXT("fallocate64", int, int, int, off64_t, off64_t);
    /* Without a mode it only grows the file; with one it may move or clear what follows. */
    uint64_t replaced = mode & ~FALLOC_FL_KEEP_SIZE ? INT64_MAX - offset : 0;
    CHANGE(int, fd, offset, replaced, next(fd, mode, offset, length));
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fallocate64(fd, mode, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    NEXT("posix_fallocate64", int, int, off64_t, off64_t);
    CHANGE(int, fd, offset, 0, next(fd, offset, length));
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return posix_fallocate64(fd, offset, length);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length,
                        unsigned flags) {
    NEXT("copy_file_range", ssize_t, int, off64_t *, int, off64_t *, size_t, unsigned);
    struct stat status;
    if (followed(to, &status)) {
        errno = EXDEV;
        return -1;
    }
    return next(from, from_at, to, to_at, length, flags);
}

ssize_t sendfile64(int to, int from, off64_t *from_at, size_t length) {
    NEXT("sendfile64", ssize_t, int, int, off64_t *, size_t);
    struct stat status;
    if (followed(to, &status)) {
        errno = EINVAL;
        return -1;
    }
    return next(to, from, from_at, length);
}

ssize_t sendfile(int to, int from, off_t *from_at, size_t length) {
    return sendfile64(to, from, from_at, length);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    NEXT("mmap64", void *, void *, size_t, int, int, int, off64_t);
    struct stat status;
    if (fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED) && followed(fd, &status)) {
        char path[PATH_MAX + 64];
        snprintf(path, sizeof path, "%s/mapped", undo);
        int mark = next_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (mark < 0)
            broken("note a mapping");
        close(mark);
    }
    return next(address, length, protection, flags, fd, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(address, length, protection, flags, fd, offset);
}

/* A sync covers what was noted before it began. */
#define SYNC(fd, call)                                               \
    do {                                                             \
        struct stat status_;                                         \
        struct file *file_ = followed(fd, &status_);                 \
        if (!file_)                                                  \
            return call;                                             \
        pthread_mutex_lock(&file_->lock);                            \
        uint64_t covered_ = file_->generation;                       \
        next_generation(file_);                                      \
        pthread_mutex_unlock(&file_->lock);                          \
        int value_ = call;                                           \
        if (!value_) {                                               \
            pthread_mutex_lock(&file_->lock);                        \
            forget(file_, covered_);                                 \
            pthread_mutex_unlock(&file_->lock);                      \
        }                                                            \
        return value_;                                               \
    } while (0)

int fsync(int fd) {
    NEXT("fsync", int, int);
    SYNC(fd, next(fd));
}

int fdatasync(int fd) {
    NEXT("fdatasync", int, int);
    SYNC(fd, next(fd));
}

/* A new file may have the inode of one that is gone: its past is not this file's. */
static void begin(int fd) {
    int before = errno;
    struct stat status;
    struct file *file = root_length ? entry(fd, &status) : NULL;
    if (file) {
        pthread_mutex_lock(&file->lock);
        uint64_t past = file->generation;
        next_generation(file);
        forget(file, past);
        file->followed = is_under_root(fd);
        pthread_mutex_unlock(&file->lock);
    }
    errno = before;
}

/* O_TRUNC replaces the whole content. */
static struct file *note_truncation(int directory, const char *path, int *reader) {
    NEXT("openat64", int, int, const char *, int, ...);
    struct stat status;
    *reader = next(directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (*reader < 0)
        return NULL;
    struct file *file = followed(*reader, &status);
    if (file) {
        pthread_mutex_lock(&file->lock);
        note(file, *reader, 0, INT64_MAX);
    }
    return file;
}

int openat64(int directory, const char *path, int flags, ...) {
    NEXT("openat64", int, int, const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (!root_length)
        return next(directory, path, flags, mode);

    struct stat status;
    int before = errno, reader = -1;
    int existed = !fstatat(directory, path, &status, 0);
    struct file *truncated = NULL;
    if (existed && (flags & O_TRUNC) && S_ISREG(status.st_mode))
        truncated = note_truncation(directory, path, &reader);
    errno = before;
    int fd = next(directory, path, flags, mode);
    before = errno;
    if (truncated)
        pthread_mutex_unlock(&truncated->lock);
    if (reader >= 0)
        close(reader);
    int created = (flags & O_CREAT && !existed) || (flags & O_TMPFILE) == O_TMPFILE;
    if (fd >= 0 && created)
        begin(fd);
    errno = before;
    return fd;
}

/* The variable argument is read only where it was passed. */
#define MODE(flags, mode)                                            \
    mode_t mode = 0;                                                 \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                           \
        va_list rest_;                                               \
        va_start(rest_, flags);                                      \
        mode = va_arg(rest_, mode_t);                                \
        va_end(rest_);                                               \
    }

int openat(int directory, const char *path, int flags, ...) {
    MODE(flags, mode);
    return openat64(directory, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags, mode);
    return openat64(AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    MODE(flags, mode);
    return openat64(AT_FDCWD, path, flags, mode);
}

int creat64(const char *path, mode_t mode) {
    return openat64(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat(const char *path, mode_t mode) {
    return creat64(path, mode);
}

int truncate64(const char *path, off64_t length) {
    int fd = openat64(AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = ftruncate64(fd, length);
    int before = errno;
    close(fd);
    errno = before;
    return result;
}

int truncate(const char *path, off_t length) {
    return truncate64(path, length);
}
