/* misuse ENGINE: every allocation of open fails once, then a context is closed under a call. Prints how many
 * allocations were refused; exits with 1 when something is wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "puvae.h"

enum { SIDE = 40, REGIONS = 100 };

extern void* __libc_malloc(size_t);

static long left = -1; /* how many allocations still succeed; -1 for all */
static long mapped;    /* anonymous mappings that are open */

/* Whether this allocation is the one that fails. */
static int refused(void) { return left >= 0 && left-- == 0; }

void* malloc(size_t size) { return refused() ? NULL : __libc_malloc(size); }

void* mmap(void* address, size_t size, int protection, int flags, int file, off_t offset) {
    if (flags & MAP_ANONYMOUS && refused()) return errno = ENOMEM, MAP_FAILED;
    if (flags & MAP_ANONYMOUS) ++mapped;
    return (void*)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

static void require(int holds, const char* what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, puvae_last_message());
    exit(1);
}

/* Opens an engine and a context with the allocation `at` refused: 1 when there is no such allocation any more. */
static int open_without(const char* path, long at) {
    puvae_engine* engine = (puvae_engine*)1;
    puvae_context* context = (puvae_context*)1;
    left = at;
    puvae_status status = puvae_engine_open(path, NULL, &engine);
    const int opened = status == PUVAE_OK;
    if (opened) status = puvae_context_open(engine, &context);
    const int met = left < 0;
    left = -1;
    require((status == PUVAE_OK) != met, "a refused allocation, and a success");
    require(!met || status == PUVAE_ERROR_MEMORY, "status");
    require(!met || strstr(puvae_last_message(), "expected") != NULL, "message");
    require(!met || (opened ? context == NULL : engine == NULL), "a handle in spite of the failure");
    if (opened) puvae_engine_close(engine);
    if (!met) require(puvae_context_close(context) == PUVAE_OK, "close");
    return !met;
}

static uint8_t pixels[SIDE][SIDE * 3];
static puvae_region regions[REGIONS];
static puvae_result results[REGIONS];

static void* run(void* context) {
    const puvae_frame frame = {sizeof frame, PUVAE_BGR, pixels[0], sizeof pixels[0], NULL, 0, SIDE, SIDE};
    require(puvae_run(context, &frame, regions, REGIONS, results) == PUVAE_OK, "run");
    return NULL;
}

static void close_under_a_call(const char* path) {
    puvae_engine* engine;
    puvae_context* context;
    pthread_t thread;
    require(puvae_engine_open(path, NULL, &engine) == PUVAE_OK, "open");
    require(puvae_context_open(engine, &context) == PUVAE_OK, "context");
    for (int i = 0; i < REGIONS; ++i) {
        regions[i] = (puvae_region){0, 0, SIDE, SIDE};
        results[i].struct_size = sizeof results[i];
    }
    require(pthread_create(&thread, NULL, run, context) == 0, "thread");
    while (__atomic_load_n(&results[0].purify_ns, __ATOMIC_RELAXED) == 0) sched_yield();
    require(puvae_context_close(context) == PUVAE_ERROR_BUSY, "a context was closed under a call");
    puvae_engine_close(engine); /* this is allowed: the context keeps the weights */
    pthread_join(thread, NULL);
    require(puvae_context_close(context) == PUVAE_OK, "close");
}

int main(int count, char** arguments) {
    if (count != 2) return 2;
    long at = 0;
    while (!open_without(arguments[1], at)) ++at;
    close_under_a_call(arguments[1]);
    printf("{\"refused\": %ld, \"mapped\": %ld}\n", at, mapped);
    return 0;
}
