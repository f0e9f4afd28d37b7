/* A disk that fails on demand. Preloaded, it stands between a process and libc for every call that touches a file below
 * one folder. It counts such calls, lets one of them fail or the process die there, and writes down what was done.
 *
 *   shim_arm    which calls count, and what happens at call number `at`
 *   shim_trace  where to write down every change to the folder, for replays
 *   shim_calls  how many calls have counted
 *
 * What a descriptor refers to is asked of /proc at every call, so nothing has to be tracked. Real fsyncs are left out
 * while armed: a process that dies keeps what it wrote, and power cuts are replayed from the trace.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define REAL(name) ((__typeof__(&name))real(#name))

/* Kept in step with faults.py. */
enum op { CREATE, WRITE, SYNC, RENAME, UNLINK, TRUNCATE, MKDIR, RMDIR, OPEN, READ, MARK };
enum action { NOTHING, FAIL_ONCE, FAIL_FROM, SHORT, SIGNAL_BEFORE, SIGNAL_AFTER, SIGNAL_TORN };

/* Shared with the process that forked this one, which reads it when this one is gone. */
struct report {
  int64_t calls, fired;
  int32_t op;
  char path[PATH_MAX];
};

static struct {
  char root[PATH_MAX];
  size_t root_length;
  enum action action;
  int value; /* errno or signal */
  int64_t at;
  unsigned counted;   /* bits of op */
  int clock_jump;     /* seconds, once fired */
  int trace;          /* descriptor */
  struct report *report;
  int armed;
} shim = {.trace = -1};

static struct report own_report;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

EXPORT void shim_arm(const char *root, int action, int value, long at, unsigned counted, int clock_jump, void *report) {
  snprintf(shim.root, sizeof shim.root, "%s", root);
  shim.root_length = strlen(shim.root);
  shim.action = action;
  shim.value = value;
  shim.at = at;
  shim.counted = counted;
  shim.clock_jump = clock_jump;
  shim.report = report ? report : &own_report;
  shim.report->calls = shim.report->fired = 0;
  shim.armed = 1;
}

EXPORT void shim_trace(int descriptor) { shim.trace = descriptor; }
EXPORT long shim_calls(void) { return shim.report ? shim.report->calls : 0; }
EXPORT size_t shim_report_size(void) { return sizeof(struct report); }

/* Paths */

static int of_descriptor(int descriptor, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = syscall(SYS_readlink, link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return 1;
}

static int absolute(int folder, const char *name, char *path) {
  if (name[0] == '/') return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
  char base[PATH_MAX];
  if (folder == AT_FDCWD ? syscall(SYS_getcwd, base, sizeof base) < 0 : !of_descriptor(folder, base)) return 0;
  return snprintf(path, PATH_MAX, "%s/%s", base, name) < PATH_MAX;
}

static int below(const char *path) {
  return !strncmp(path, shim.root, shim.root_length) && (path[shim.root_length] == '/' || !path[shim.root_length]);
}

static int named(int folder, const char *name, char *path) {
  return shim.armed && name && absolute(folder, name, path) && below(path);
}

static int held(int descriptor, char *path) {
  return shim.armed && descriptor >= 0 && of_descriptor(descriptor, path) && below(path);
}

/* The trace: a head, two paths, data. */

struct head {
  int32_t op, path, other, truncates;
  int64_t offset, data;
};

static void note(enum op op, const char *path, const char *other, int64_t offset, const void *data, size_t length,
                 int truncates) {
  if (shim.trace < 0) return;
  struct head head = {op, strlen(path), other ? strlen(other) : 0, truncates, offset, length};
  struct iovec parts[] = {
      {&head, sizeof head}, {(void *)path, head.path}, {(void *)other, head.other}, {(void *)data, length}};
  syscall(SYS_writev, shim.trace, parts, 4);
}

EXPORT void shim_mark(const char *text) { note(MARK, text, NULL, 0, NULL, 0, 0); }

/* What becomes of a call */

enum fate { GOES_ON, FAILS, CUT, DIES_AFTER };

static void die(void) {
  syscall(SYS_kill, getpid(), shim.value);
}

static enum fate meet(enum op op, const char *path) {
  if (!(shim.counted >> op & 1)) return GOES_ON;
  int64_t number = ++shim.report->calls;
  if (shim.action == NOTHING || number < shim.at || (number > shim.at && shim.action != FAIL_FROM)) return GOES_ON;
  if (!shim.report->fired) {
    shim.report->op = op;
    snprintf(shim.report->path, PATH_MAX, "%s", path);
    shim.report->fired = number;
  }
  switch (shim.action) {
    case FAIL_ONCE:
    case FAIL_FROM:
      errno = shim.value;
      return FAILS;
    case SHORT:
      return CUT;
    case SIGNAL_BEFORE:
      die();
      return GOES_ON;
    case SIGNAL_TORN:
      return op == WRITE ? CUT : DIES_AFTER;
    default:
      return DIES_AFTER;
  }
}

/* `call` is made at most once, while no other thread is in here: the trace has the order in which things happened. */
#define MEET(op, path, call, noted)                           \
  pthread_mutex_lock(&mutex);                                 \
  enum fate fate = meet(op, path);                            \
  __typeof__(call) result = -1;                               \
  if (fate != FAILS) {                                        \
    result = (call);                                          \
    int kept = errno;                                         \
    if (result >= 0) noted;                                   \
    if (fate == DIES_AFTER || (fate == CUT && shim.action == SIGNAL_TORN)) die(); \
    errno = kept;                                             \
  }                                                           \
  pthread_mutex_unlock(&mutex);                               \
  return result

/* Opening */

static int open_met(int folder, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  if (!named(folder, name, path)) return syscall(SYS_openat, folder, name, flags, mode);
  int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
  MEET(writes ? CREATE : OPEN, path, (int)syscall(SYS_openat, folder, name, flags, mode),
       writes ? note(CREATE, path, NULL, 0, NULL, 0, (flags & O_TRUNC) != 0) : (void)0);
}

#define MODE                                   \
  mode_t mode = 0;                             \
  if (flags & (O_CREAT | O_TMPFILE)) {         \
    va_list rest;                              \
    va_start(rest, flags);                     \
    mode = va_arg(rest, mode_t);               \
    va_end(rest);                              \
  }

EXPORT int open(const char *name, int flags, ...) { MODE return open_met(AT_FDCWD, name, flags, mode); }
EXPORT int open64(const char *name, int flags, ...) { MODE return open_met(AT_FDCWD, name, flags, mode); }
EXPORT int openat(int folder, const char *name, int flags, ...) { MODE return open_met(folder, name, flags, mode); }
EXPORT int openat64(int folder, const char *name, int flags, ...) { MODE return open_met(folder, name, flags, mode); }

/* Writing and reading */

static ssize_t write_met(int descriptor, const void *data, size_t length, off_t offset, int at_offset) {
  char path[PATH_MAX];
  if (!held(descriptor, path))
    return at_offset ? syscall(SYS_pwrite64, descriptor, data, length, offset)
                     : syscall(SYS_write, descriptor, data, length);
  if (!at_offset) offset = syscall(SYS_lseek, descriptor, 0, SEEK_CUR);
  MEET(WRITE, path,
       (ssize_t)(at_offset ? syscall(SYS_pwrite64, descriptor, data, fate == CUT ? (length + 1) / 2 : length, offset)
                           : syscall(SYS_write, descriptor, data, fate == CUT ? (length + 1) / 2 : length)),
       note(WRITE, path, NULL, offset, data, result, 0));
}

EXPORT ssize_t write(int descriptor, const void *data, size_t length) {
  return write_met(descriptor, data, length, 0, 0);
}
EXPORT ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset) {
  return write_met(descriptor, data, length, offset, 1);
}
EXPORT ssize_t pwrite64(int descriptor, const void *data, size_t length, off_t offset) {
  return write_met(descriptor, data, length, offset, 1);
}

/* Several pieces: the first one, as a short write; callers have to go on after that anyway. */
EXPORT ssize_t writev(int descriptor, const struct iovec *parts, int count) {
  char path[PATH_MAX];
  if (!held(descriptor, path)) return syscall(SYS_writev, descriptor, parts, count);
  for (int i = 0; i < count; i++)
    if (parts[i].iov_len) return write_met(descriptor, parts[i].iov_base, parts[i].iov_len, 0, 0);
  return 0;
}

static ssize_t read_met(int descriptor, void *data, size_t length, off_t offset, int at_offset) {
  char path[PATH_MAX];
  if (!held(descriptor, path))
    return at_offset ? syscall(SYS_pread64, descriptor, data, length, offset)
                     : syscall(SYS_read, descriptor, data, length);
  MEET(READ, path,
       (ssize_t)(at_offset ? syscall(SYS_pread64, descriptor, data, fate == CUT ? (length + 1) / 2 : length, offset)
                           : syscall(SYS_read, descriptor, data, fate == CUT ? (length + 1) / 2 : length)),
       (void)0);
}

EXPORT ssize_t read(int descriptor, void *data, size_t length) { return read_met(descriptor, data, length, 0, 0); }
EXPORT ssize_t pread(int descriptor, void *data, size_t length, off_t offset) {
  return read_met(descriptor, data, length, offset, 1);
}
EXPORT ssize_t pread64(int descriptor, void *data, size_t length, off_t offset) {
  return read_met(descriptor, data, length, offset, 1);
}

static int truncate_met(int descriptor, off_t length) {
  char path[PATH_MAX];
  if (!held(descriptor, path)) return syscall(SYS_ftruncate, descriptor, length);
  MEET(TRUNCATE, path, (int)syscall(SYS_ftruncate, descriptor, length),
       note(TRUNCATE, path, NULL, length, NULL, 0, 0));
}

EXPORT int ftruncate(int descriptor, off_t length) { return truncate_met(descriptor, length); }
EXPORT int ftruncate64(int descriptor, off_t length) { return truncate_met(descriptor, length); }

static int sync_met(int descriptor, long call) {
  char path[PATH_MAX];
  if (!held(descriptor, path)) return syscall(call, descriptor);
  MEET(SYNC, path, 0, note(SYNC, path, NULL, 0, NULL, 0, 0));
}

EXPORT int fsync(int descriptor) { return sync_met(descriptor, SYS_fsync); }
EXPORT int fdatasync(int descriptor) { return sync_met(descriptor, SYS_fdatasync); }

/* Names */

static int rename_met(int from_folder, const char *from, int to_folder, const char *to) {
  char path[PATH_MAX], other[PATH_MAX];
  if (!named(from_folder, from, path) || !absolute(to_folder, to, other))
    return syscall(SYS_renameat, from_folder, from, to_folder, to);
  MEET(RENAME, path, (int)syscall(SYS_renameat, from_folder, from, to_folder, to),
       note(RENAME, path, other, 0, NULL, 0, 0));
}

EXPORT int rename(const char *from, const char *to) { return rename_met(AT_FDCWD, from, AT_FDCWD, to); }
EXPORT int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  return rename_met(from_folder, from, to_folder, to);
}

static int unlink_met(int folder, const char *name, int flags) {
  char path[PATH_MAX];
  if (!named(folder, name, path)) return syscall(SYS_unlinkat, folder, name, flags);
  enum op op = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
  MEET(op, path, (int)syscall(SYS_unlinkat, folder, name, flags), note(op, path, NULL, 0, NULL, 0, 0));
}

EXPORT int unlink(const char *name) { return unlink_met(AT_FDCWD, name, 0); }
EXPORT int rmdir(const char *name) { return unlink_met(AT_FDCWD, name, AT_REMOVEDIR); }
EXPORT int unlinkat(int folder, const char *name, int flags) { return unlink_met(folder, name, flags); }

static int mkdir_met(int folder, const char *name, mode_t mode) {
  char path[PATH_MAX];
  if (!named(folder, name, path)) return syscall(SYS_mkdirat, folder, name, mode);
  MEET(MKDIR, path, (int)syscall(SYS_mkdirat, folder, name, mode), note(MKDIR, path, NULL, 0, NULL, 0, 0));
}

EXPORT int mkdir(const char *name, mode_t mode) { return mkdir_met(AT_FDCWD, name, mode); }
EXPORT int mkdirat(int folder, const char *name, mode_t mode) { return mkdir_met(folder, name, mode); }

/* A clock on the wall that was set while the process stood still */

EXPORT int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*next)(clockid_t, struct timespec *);
  if (!next) next = REAL(clock_gettime);
  int result = next(clock, now);
  if (clock == CLOCK_REALTIME && shim.armed && shim.report->fired) now->tv_sec += shim.clock_jump;
  return result;
}
