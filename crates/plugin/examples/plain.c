/* A driver whose trees are plain directories: the least that a driver can be.
 *
 *     cc -shared -fPIC -I include -o libplain.so plain.c
 *
 * It has no optional functions, so that lith copies files where a layer stands on another. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lith_plugin.h"

static const lith_host *host;

/* Says what was being done, and what the system says of it. */
static int32_t failed(lith_call *call, const char *doing) {
    int error_number = errno;
    lith_text message = {doing, strlen(doing)};
    host->fail(call, error_number, message);
    return LITH_FAILED;
}

/* Removes a file or an empty directory; one that is not there is no failure. */
static int remove_one(int dir, const char *name) {
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR)
        return -1;
    /* Also says when something is mounted here, before it says that it is not empty. */
    if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    return -1;
}

static DIR *open_below(int dir, const char *name) {
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *opened = fd < 0 ? NULL : fdopendir(fd);
    if (opened == NULL && fd >= 0)
        close(fd);
    return opened;
}

/* Removes what is in a directory, up to the first directory that is not empty itself: that is opened
 * as *deeper. Counts in *seen what was there. */
static int clear(DIR *at, DIR **deeper, size_t *seen) {
    struct dirent *entry;
    *deeper = NULL;
    while (errno = 0, (entry = readdir(at)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        ++*seen;
        if (remove_one(dirfd(at), entry->d_name) == 0)
            continue;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -1;
        *deeper = open_below(dirfd(at), entry->d_name);
        return *deeper == NULL ? -1 : 0;
    }
    return errno == 0 ? 0 : -1;
}

/* Removes all that is in a directory, which it closes. It goes down and up again with one directory
 * open: trees may be deeper than any path, and than a process may have files. */
static int clear_all(DIR *at) {
    size_t depth = 1;
    int entered = 1;
    while (depth > 0) {
        DIR *next;
        size_t seen = 0;
        if (clear(at, &next, &seen) != 0)
            break;
        if (entered && seen == 0) {
            errno = ENOTEMPTY; /* was not empty, and shows nothing: it would not end */
            break;
        }
        entered = next != NULL;
        if (next != NULL) {
            ++depth;
        } else if (--depth > 0) {
            /* No link, but the parent. What is left in it is read again. */
            next = open_below(dirfd(at), "..");
            if (next == NULL)
                break;
        }
        closedir(at);
        at = next;
    }
    if (at == NULL)
        return 0;
    int error_number = errno;
    closedir(at);
    errno = error_number;
    return -1;
}

static int32_t plain_open(lith_call *call, lith_text home, void **state) {
    static char nothing;
    (void)call;
    (void)home;
    *state = &nothing; /* null would be an error */
    return LITH_DONE;
}

static void plain_close(void *state) { (void)state; }

static int32_t plain_create(void *state, lith_call *call, int dir, lith_text name) {
    (void)state;
    if (mkdirat(dir, name.data, 0700) != 0)
        return failed(call, "make a directory");
    return LITH_DONE;
}

static int32_t plain_remove(void *state, lith_call *call, int dir, lith_text name) {
    (void)state;
    if (remove_one(dir, name.data) == 0)
        return LITH_DONE;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return failed(call, "remove a tree");
    DIR *tree = open_below(dir, name.data);
    if (tree == NULL)
        return failed(call, "open a tree");
    if (clear_all(tree) != 0)
        return failed(call, "remove what is in a tree");
    if (unlinkat(dir, name.data, AT_REMOVEDIR) != 0)
        return failed(call, "remove an empty tree");
    return LITH_DONE;
}

static int32_t plain_status(void *state, lith_call *call) {
    (void)state;
    lith_text name = {"trees", 5};
    lith_text value = {"plain directories", 17};
    return host->fact(call, name, value) == LITH_DONE ? LITH_DONE : LITH_FAILED;
}

static const lith_driver driver = {
    .abi_version = LITH_ABI_VERSION,
    .size = sizeof(lith_driver),
    .powers = 0,
    .name = LITH_TEXT("plain"),
    .version = LITH_TEXT("1.0.0"),
    .open = plain_open,
    .close = plain_close,
    .create = plain_create,
    .remove = plain_remove,
    .status = plain_status,
};

const lith_driver *lith_driver_plugin(const lith_host *lith) {
    host = lith;
    return &driver;
}
