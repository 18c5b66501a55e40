/* A driver that is wrong in whatever a test defines. Without definitions it is right, and does nothing. */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lith_plugin.h"

#ifndef AFTER
#define AFTER
#endif

static const lith_host *host;
static lith_call *kept;
static char nothing;

#define SAY(number, literal) host->fail(call, (number), (lith_text)LITH_TEXT(literal))
#define FACT(name, ...) host->fact(call, (lith_text)LITH_TEXT(name), (lith_text)__VA_ARGS__)
#define CHANGED(...) host->changed(call, (lith_text)__VA_ARGS__)

/* Calls back from another thread, with the call of this one. */
static void *elsewhere(void *call) {
    host->changed(call, (lith_text)LITH_TEXT("a"));
    return NULL;
}

static void call_elsewhere(lith_call *call) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, elsewhere, call) == 0)
        pthread_join(thread, NULL);
}

#ifndef OPEN
#define OPEN *state = &nothing; return LITH_DONE;
#endif
#ifndef CREATE
#define CREATE return LITH_DONE;
#endif
#ifndef STATUS
#define STATUS return LITH_DONE;
#endif
#ifndef CHANGES
#define CHANGES return LITH_DONE;
#endif

static int32_t my_open(lith_call *call, lith_text home, void **state) {
    (void)call, (void)home, (void)state;
    OPEN
}
static void my_close(void *state) { (void)state; }
static int32_t my_create(void *state, lith_call *call, int dir, lith_text name) {
    (void)state, (void)call, (void)dir, (void)name;
    CREATE
}
static int32_t my_remove(void *state, lith_call *call, int dir, lith_text name) {
    (void)state, (void)call, (void)dir, (void)name;
    return LITH_DONE;
}
static int32_t my_status(void *state, lith_call *call) {
    (void)state, (void)call;
    STATUS
}
static int32_t my_snapshot(void *state, lith_call *call, int tree, int dir, lith_text name) {
    (void)state, (void)call, (void)tree, (void)dir, (void)name;
    return LITH_DONE;
}
static int32_t my_seal(void *state, lith_call *call, int tree) {
    (void)state, (void)call, (void)tree;
    return LITH_DONE;
}
static int32_t my_changed(void *state, lith_call *call, int tree, int since) {
    (void)state, (void)call, (void)tree, (void)since;
    CHANGES
}

#ifndef ABI
#define ABI LITH_ABI_VERSION
#endif
#ifndef SIZE
#define SIZE sizeof(lith_driver)
#endif
#ifndef POWERS
#define POWERS (LITH_POWER_SNAPSHOT | LITH_POWER_SEAL | LITH_POWER_CHANGED)
#endif
#ifndef NAME
#define NAME LITH_TEXT("broken")
#endif
#ifndef VERSION
#define VERSION LITH_TEXT("1.0")
#endif
/* Later designators win: what a test takes away. */
#ifndef INSTEAD
#define INSTEAD
#endif

static struct {
    lith_driver driver;
    /* What a newer header might have more. */
    uint64_t tail[8];
} table = {
    .driver = {
        .abi_version = ABI,
        .size = SIZE,
        .powers = POWERS,
        .name = NAME,
        .version = VERSION,
        .open = my_open,
        .close = my_close,
        .create = my_create,
        .remove = my_remove,
        .status = my_status,
        .snapshot = my_snapshot,
        .seal = my_seal,
        .changed = my_changed,
        INSTEAD
    },
    .tail = {UINT64_MAX, 1, UINT64_MAX, 3, 4, 5, 6, 7},
};

#ifndef ENTRY
#define ENTRY lith_driver_plugin
#endif
#ifndef RETURN
#define RETURN &table.driver
#endif

const lith_driver *ENTRY(const lith_host *lith) {
    host = lith;
    return RETURN;
}

AFTER
