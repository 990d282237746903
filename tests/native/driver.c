/* A C program on the public header: runs frames through an engine.puvae, counts what is allocated meanwhile, and
 * closes and misuses contexts from several threads. Prints one JSON object; exits with 1 when something is wrong.
 *
 *     driver ENGINE INSTRUCTIONS FRAMES
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "puvae.h"

enum { WIDTH = 61, HEIGHT = 47, REGIONS = 3, THREADS = 3 };

static atomic_long allocations;

#ifndef WITHOUT_COUNTING /* the sanitizers have an allocator of their own */
extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, size);
}
void* realloc(void* old, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(old, size);
}
int posix_memalign(void** to, size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    *to = __libc_memalign(alignment, size);
    return *to == NULL;
}
void* aligned_alloc(size_t alignment, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(alignment, size);
}
#endif

static void require(int holds, const char* what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, puvae_last_message());
    exit(1);
}

static uint8_t pixels[HEIGHT][WIDTH * 3];

static void fill_pixels(void) {
    for (int y = 0; y < HEIGHT; ++y)
        for (int x = 0; x < WIDTH * 3; ++x) pixels[y][x] = (uint8_t)(x * 7 + y * y);
}

static puvae_frame make_frame(void) {
    puvae_frame frame = {sizeof frame, PUVAE_BGR, pixels[0], WIDTH * 3, NULL, 0, WIDTH, HEIGHT};
    return frame;
}

static const puvae_region regions[REGIONS] = {{0, 0, WIDTH, HEIGHT}, {-5, 40, 30, 20}, {3, 4, 9, 70}};

/* FRAMES calls on one context; a thread's work. */
struct work {
    puvae_engine* engine;
    puvae_context* context; /* of its own where NULL */
    int frames;
    int busy; /* how often another thread was in a call */
    int32_t projected[REGIONS];
};

static void* work(void* argument) {
    struct work* w = argument;
    puvae_context* context = w->context;
    if (!context) require(puvae_context_open(w->engine, &context) == PUVAE_OK, "context");
    const puvae_frame frame = make_frame();
    for (int i = 0; i < w->frames; ++i) {
        puvae_result results[REGIONS];
        memset(results, 0, sizeof results);
        for (int r = 0; r < REGIONS; ++r) results[r].struct_size = sizeof results[r];
        const puvae_status status = puvae_run(context, &frame, regions, REGIONS, results);
        if (status == PUVAE_ERROR_BUSY) ++w->busy;
        else require(status == PUVAE_OK, "run");
        for (int r = 0; r < REGIONS && status == PUVAE_OK; ++r) w->projected[r] = results[r].projected;
    }
    if (!w->context) require(puvae_context_close(context) == PUVAE_OK, "close");
    return NULL;
}

/* Runs `work` on several threads at once; how often one of them found the context busy. */
static int at_once(struct work* works, int count) {
    pthread_t threads[THREADS];
    int busy = 0;
    for (int i = 0; i < count; ++i) require(pthread_create(&threads[i], NULL, work, &works[i]) == 0, "thread");
    for (int i = 0; i < count; ++i) {
        pthread_join(threads[i], NULL);
        busy += works[i].busy;
    }
    return busy;
}

int main(int count, char** arguments) {
    if (count != 4) return 2;
    fill_pixels();
    puvae_engine_options options = {sizeof options, atoi(arguments[2])};
    const int frames = atoi(arguments[3]);
    puvae_engine* engine;
    puvae_context* context;
    require(puvae_engine_open(arguments[1], &options, &engine) == PUVAE_OK, "open");
    require(puvae_context_open(engine, &context) == PUVAE_OK, "context");

    puvae_engine_info info = {sizeof info, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    require(puvae_engine_get_info(engine, &info) == PUVAE_OK, "info");
    float* image = calloc((size_t)(info.channels * info.height * info.width), sizeof *image);
    const puvae_frame frame = make_frame();
    puvae_result result;
    memset(&result, 0, sizeof result);
    result.struct_size = sizeof result;
    result.image = image;
    const long before = atomic_load(&allocations);
    for (int i = 0; i < frames; ++i) require(puvae_run(context, &frame, NULL, 1, &result) == PUVAE_OK, "run");
    require(puvae_run_image(context, image, &result) == PUVAE_OK, "run_image");
    const long allocated = atomic_load(&allocations) - before;

    struct work own[THREADS], shared[THREADS];
    memset(own, 0, sizeof own);
    for (int i = 0; i < THREADS; ++i) own[i].engine = engine, own[i].frames = frames;
    memcpy(shared, own, sizeof own);
    for (int i = 0; i < THREADS; ++i) shared[i].context = context;
    require(at_once(own, THREADS) == 0, "contexts of their own");
    const int busy = at_once(shared, THREADS);
    for (int i = 1; i < THREADS; ++i)
        require(memcmp(own[0].projected, own[i].projected, sizeof own[0].projected) == 0, "answers differ");

    puvae_engine_close(engine); /* before its context, which goes on */
    require(puvae_run(context, &frame, NULL, 1, &result) == PUVAE_OK, "after the engine was closed");
    require(puvae_context_close(context) == PUVAE_OK, "close");
    free(image);
    printf("{\"allocated\": %ld, \"busy\": %d, \"counted\": %ld}\n", allocated, busy, before);
    return 0;
}
