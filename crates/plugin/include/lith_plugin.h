/* The ABI of lith's driver plugins. Made of crates/plugin/src/abi.rs by `cargo xtask header`.
 *
 * A plugin is a shared object (`cc -shared -fPIC`) that defines `lith_driver_plugin`, which is declared at
 * the end of this file. docs/writing-a-driver.md leads from nothing to a driver that passes its
 * tests; crates/plugin/examples/plain.c is a whole one. */

#ifndef LITH_PLUGIN_H
#define LITH_PLUGIN_H


#include <stddef.h>
#include <stdint.h>

// The version of this ABI. It changes when something here changes its meaning; functions that are
// added at the end of a table do not change it.
#define LITH_ABI_VERSION 1

// It is done.
#define LITH_DONE 0

// It is not done; the reason was given to `lith_host.fail`.
#define LITH_FAILED 1

// As LITH_FAILED, by a panic that was caught. What the driver did is not known.
#define LITH_PANICKED 2

// In `lith_driver.powers`: the driver has `snapshot`.
#define LITH_POWER_SNAPSHOT 1

// In `lith_driver.powers`: the driver has `seal`.
#define LITH_POWER_SEAL 2

// In `lith_driver.powers`: the driver has `changed`.
#define LITH_POWER_CHANGED 4

// A call of lith to the driver that is under way: what the driver gives back to the functions of
// `lith_host`. It says nothing to the driver, and holds only in the thread that was called and until the
// function returns.
typedef struct lith_call lith_call;

// A string: bytes and how many. Who gets one may read it until the function returns, and copies
// what is to stay; nobody frees it. What lith gives is followed by a NUL byte that `len` does not
// count. What a driver gives need not be; `data` may be null where `len` is 0.
typedef struct lith_text {
    // The first byte.
    const char *data;
    // How many bytes.
    size_t len;
} lith_text;

// What lith offers a driver. It stays where it is as long as the process lives.
typedef struct lith_host {
    // LITH_ABI_VERSION of lith.
    uint32_t abi_version;
    // The size of this table in lith. It may have more functions than you know, never fewer
    // than those of the first `lith_host` of this ABI version.
    uint32_t size;
    // Says why the function fails: to be called before it returns LITH_FAILED, and only then. The
    // last reason counts. `error_number` is the `errno` that made it fail, or 0. The message (at most
    // 64 KiB of UTF-8, one line) says what was being done; lith adds the meaning of the number.
    void (*fail)(struct lith_call *call, int32_t error_number, struct lith_text message);
    // Only in `changed`: names a directory in which something may differ, as a path below the tree
    // ("a/b"; empty for the tree itself). When it returns anything but LITH_DONE, return LITH_FAILED.
    int32_t (*changed)(struct lith_call *call, struct lith_text path);
    // Only in `status`: gives a fact for people, as a name and a value (UTF-8, one line each). When
    // it returns anything but LITH_DONE, return LITH_FAILED.
    int32_t (*fact)(struct lith_call *call, struct lith_text name, struct lith_text value);
} lith_host;

// A driver: what `lith_driver_plugin` returns. It and its strings must stay where they are as long
// as the process lives; lith never unloads a driver.
//
// A *tree* is a directory that holds the files of a layer. The driver makes and removes trees; what is
// in them, and everything else in the folders where they lie, is lith's: lith renames these folders when a
// layer is complete. `dir` is always an open directory below the driver's folder, and `name` a name
// in it without a slash; `tree` is a tree, opened as a directory. Descriptors are lent for the call: do
// not close or keep them.
//
// Each function may be called by several threads at once, but for `close`, which is the last. No
// exception may leave a function. Where nothing else is said, functions return LITH_DONE or
// LITH_FAILED.
typedef struct lith_driver {
    // LITH_ABI_VERSION of the header that the driver was built with.
    uint32_t abi_version;
    // sizeof(lith_driver) when the driver was built. lith reads no further.
    uint32_t size;
    // Which optional functions there are: LITH_POWER_... or-ed. A power that is set needs its function;
    // a function whose power is not set is not called.
    uint64_t powers;
    // The driver's name: 1 to 32 of a-z, 0-9 and -, the first a letter. lith keeps the trees of a
    // store in a folder of this name.
    struct lith_text name;
    // The driver's version, for people: 1 to 64 bytes of UTF-8.
    struct lith_text version;
    // Opens the driver on its folder `home`, an absolute path to a directory that is there. Sets
    // `*state` to what the other functions get; it may not be null. It may be called several times, for
    // several folders or for the same one. Fails when the driver cannot work there, and says what it
    // needs; then `close` is not called.
    int32_t (*open)(struct lith_call *call, struct lith_text home, void **state);
    // Frees what `open` made.
    void (*close)(void *state);
    // Makes an empty tree: a directory called `name` in `dir`, owned by the caller, mode 0700. When it
    // fails, nothing new is there.
    int32_t (*create)(void *state, struct lith_call *call, int dir, struct lith_text name);
    // Removes a tree that `create` or `snapshot` made, with all that is in it: files of any kind,
    // directories of any depth. Follows no symbolic link and enters no mount. A tree that is not there is no
    // failure; what an interrupted `remove` left must be removable.
    int32_t (*remove)(void *state, struct lith_call *call, int dir, struct lith_text name);
    // Gives facts for people to `lith_host.fact`, if there are any.
    int32_t (*status)(void *state, struct lith_call *call);
    // LITH_POWER_SNAPSHOT. Makes `name` in `dir` a writable copy of the tree that is open as `tree`: all
    // files with all attributes. When it fails, nothing new is there. Without this, lith copies files.
    int32_t (*snapshot)(void *state,
                        struct lith_call *call,
                        int tree,
                        int dir,
                        struct lith_text name);
    // LITH_POWER_SEAL. Makes a finished tree unwritable for everybody, until it is removed. Its
    // attributes stay. It may still be renamed.
    int32_t (*seal)(void *state, struct lith_call *call, int tree);
    // LITH_POWER_CHANGED. Gives `lith_host.changed` each directory of `tree` in which something may
    // differ from `since`, of which `tree` was made by `snapshot`. One too many costs time; one too
    // few loses changes. Without this, lith compares everything.
    int32_t (*changed)(void *state, struct lith_call *call, int tree, int since);
} lith_driver;

/* A `lith_text` of a string literal, to initialize one with. */
#define LITH_TEXT(literal) { (literal), sizeof(literal) - 1 }

#ifdef __cplusplus
extern "C" {
#endif

/* To be defined by the plugin: keeps `host` and returns its table, each time it is called. It may
 * return null where it does not want to work with such a lith; it need not compare versions, as
 * lith does. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const lith_driver *lith_driver_plugin(const lith_host *host);

#ifdef __cplusplus
}
#endif

#endif
