/* The driver of the example, wrong in the function that a test names. */

#define lith_driver_plugin right_driver_plugin
#include "plain.c"
#undef lith_driver_plugin

#include <stdlib.h>

static lith_driver wrong;

#ifndef CREATE
#define CREATE
#endif
#ifndef REMOVE
#define REMOVE
#endif
#ifndef OPEN
#define OPEN
#endif

/* Counts the calls of a function: so that a test can let the first ones be. */
#define AFTER(calls) static int called; if (++called > (calls))

static int32_t wrong_open(lith_call *call, lith_text home, void **state) {
    OPEN
    return plain_open(call, home, state);
}

static int32_t wrong_create(void *state, lith_call *call, int dir, lith_text name) {
    CREATE
    return plain_create(state, call, dir, name);
}

static int32_t wrong_remove(void *state, lith_call *call, int dir, lith_text name) {
    REMOVE
    return plain_remove(state, call, dir, name);
}

const lith_driver *lith_driver_plugin(const lith_host *lith) {
    wrong = *right_driver_plugin(lith);
    wrong.open = wrong_open;
    wrong.create = wrong_create;
    wrong.remove = wrong_remove;
    return &wrong;
}
