/* libpuvae: a camera frame in, a purified image and its label out. C99 and C++; this header is the manual.
 *
 *     puvae_engine *engine;
 *     puvae_context *context;
 *     if (puvae_engine_open("mnist-native-fp32/engine.puvae", NULL, &engine) != PUVAE_OK ||
 *         puvae_context_open(engine, &context) != PUVAE_OK) {
 *         fprintf(stderr, "%s\n", puvae_last_message());
 *         return 1;
 *     }
 *     float image[28 * 28];
 *     puvae_frame frame = {sizeof frame, PUVAE_BGR, pixels, 3 * width, NULL, 0, width, height};
 *     puvae_result result = {sizeof result, image};
 *     if (puvae_run(context, &frame, NULL, 1, &result) == PUVAE_OK)
 *         printf("class %d, classifier says %d\n", result.projected, result.label);
 *     puvae_context_close(context);
 *     puvae_engine_close(engine);
 *
 * Engine and context. An engine is the weights of one file, read only: any number of threads use it at once. A context
 * is the working memory of one call at a time: open one for each thread. A context keeps its engine's memory alive, so
 * the two may be closed in any order.
 *
 * Real time. All memory is taken while an engine or a context opens. A call on a context that succeeds takes none,
 * opens no file, takes no lock, starts no thread and writes no log; it computes on the calling thread alone.
 *
 * Errors. Every function that can fail returns a puvae_status. puvae_last_message() then says in a sentence what was
 * got, what was expected and how to mend it; it belongs to the calling thread. A failed call leaves the caller's
 * results as they were. No exception leaves the library.
 *
 * Versions. Each struct begins with its size as the caller was compiled: set it to sizeof. Fields are only ever added
 * at the end, so a program runs with every later library of the same major version.
 *
 * What is not guaranteed. Passing a handle that was closed, or memory smaller than is described here, is undefined, as
 * is closing a handle while another thread may still begin a call on it.
 */
#ifndef PUVAE_H
#define PUVAE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define PUVAE_API
#else
#define PUVAE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct puvae_engine puvae_engine;
typedef struct puvae_context puvae_context;

typedef enum puvae_status {
    PUVAE_OK = 0,
    PUVAE_ERROR_ARGUMENT = 1,    /* a NULL, a number out of range, a NaN */
    PUVAE_ERROR_FILE = 2,        /* absent, truncated, damaged, of another version, or no engine.puvae */
    PUVAE_ERROR_MEMORY = 3,      /* the system has none left */
    PUVAE_ERROR_BUSY = 4,        /* another thread is in a call on this context */
    PUVAE_ERROR_UNSUPPORTED = 5, /* this processor or this file cannot do what is asked */
    PUVAE_ERROR_INTERNAL = 6     /* a defect of the library: please report it */
} puvae_status;

/* "0.2.0" and so on. Never NULL. */
PUVAE_API const char* puvae_version(void);

/* What the last call of this thread that failed had to say; "" before any did. It stands until the next failure. */
PUVAE_API const char* puvae_last_message(void);

/* ---- engines --------------------------------------------------------------------------------------------------- */

typedef enum puvae_instructions {
    PUVAE_AUTO = 0,     /* the widest that this processor has */
    PUVAE_SCALAR = 1,   /* the plainest code, slow, sums in double precision: what the others are held against */
    PUVAE_PORTABLE = 2, /* four floats at a time: NEON on ARM, SSE2 on x86 */
    PUVAE_AVX2 = 3,     /* AVX2 and FMA */
    PUVAE_AVX512 = 4    /* AVX-512F */
} puvae_instructions;

typedef struct puvae_engine_options {
    size_t struct_size;
    int32_t instructions; /* a puvae_instructions */
} puvae_engine_options;

/* Opens an engine.puvae as `puvae build --target native` writes it. Every offset, size and number in it is checked.
 * The file is not needed afterwards.
 *   options: NULL takes the defaults.
 *   engine: set to the new engine, or to NULL on failure.
 */
PUVAE_API puvae_status puvae_engine_open(const char* path, const puvae_engine_options* options, puvae_engine** engine);

/* The same from `size` bytes in memory, which are not needed afterwards. */
PUVAE_API puvae_status puvae_engine_open_memory(const void* data, size_t size, const puvae_engine_options* options,
                                                puvae_engine** engine);

/* Closes an engine; NULL is allowed. Its contexts may go on. */
PUVAE_API void puvae_engine_close(puvae_engine* engine);

typedef struct puvae_engine_info {
    size_t struct_size;
    int32_t channels, height, width; /* of the images that the model takes: 1 or 3, 28x28 or 32x32 */
    int32_t classes;                 /* K */
    int32_t decoded;                 /* how many of them are decoded for a frame: K, or the shortlist's m */
    int32_t has_classifier;          /* 1 when `label` is a classifier's, 0 when it repeats `projected` */
    int32_t instructions;            /* a puvae_instructions, never PUVAE_AUTO */
    size_t engine_bytes;             /* memory of the engine, and of each of its contexts */
    size_t context_bytes;
} puvae_engine_info;

PUVAE_API puvae_status puvae_engine_get_info(const puvae_engine* engine, puvae_engine_info* info);

/* The name of a class, UTF-8, for as long as the engine is open; NULL when there is no such class. */
PUVAE_API const char* puvae_engine_class_name(const puvae_engine* engine, int32_t index);

/* ---- frames ---------------------------------------------------------------------------------------------------- */

PUVAE_API puvae_status puvae_context_open(puvae_engine* engine, puvae_context** context);

/* Closes a context; NULL is allowed. PUVAE_ERROR_BUSY, and nothing is closed, while a call on it is under way. */
PUVAE_API puvae_status puvae_context_close(puvae_context* context);

typedef enum puvae_format {
    PUVAE_GRAY = 0, /* a byte a pixel */
    PUVAE_BGR = 1,  /* three bytes a pixel, OpenCV's order */
    PUVAE_RGB = 2,
    PUVAE_NV12 = 3 /* a plane of luma, and one of chroma at half its height and width: BT.601, limited range */
} puvae_format;

typedef struct puvae_frame {
    size_t struct_size;
    int32_t format; /* a puvae_format */
    const uint8_t* pixels;
    int64_t stride;        /* bytes from one row to the next, at least a row's own; positive */
    const uint8_t* chroma; /* NV12 alone: u and v of the first two pixels, and so on; NULL otherwise */
    int64_t chroma_stride;
    int32_t width, height; /* 1 to 1,048,576 pixels; even for NV12 */
} puvae_frame;

/* Part of a frame. It may stick out, where the frame's border is repeated, but must touch the frame. It is resized to
 * the model's size by area when neither side grows, bilinearly otherwise. Sides: 1 to 1,048,576, 2^26 pixels together.
 */
typedef struct puvae_region {
    int32_t x, y, width, height;
} puvae_region;

typedef struct puvae_result {
    size_t struct_size;
    /* The caller's memory; NULL where it is not wanted. */
    float* image; /* [channels,height,width] in [0,1], RGB: the closest projection; NaN when degraded */
    float* rmse;  /* [classes], distance to the projection on each class; NaN for classes that were not decoded */
    float* score; /* [classes], what was minimized; infinite for classes that were not decoded */
    /* Written by the library. */
    int32_t projected; /* the class of `image`, -1 when degraded */
    int32_t label;     /* the classifier's class of `image`; `projected` without a classifier, -1 when degraded */
    int32_t degraded;  /* 1 when no class had a finite distance */
    float least_rmse;  /* the smallest of `rmse`: how far the frame is from everything decoded; NaN when degraded */
    int64_t preprocess_ns, purify_ns, classify_ns;
} puvae_result;

/* frame -> region -> resized image -> projections -> the closest -> classifier -> label, for each of the regions.
 *   regions: [count]; NULL takes the whole frame, and `count` has to be 1.
 *   results: [count], each with its struct_size and buffers set. All have the struct_size of the first.
 */
PUVAE_API puvae_status puvae_run(puvae_context* context, const puvae_frame* frame, const puvae_region* regions,
                                 size_t count, puvae_result* results);

/* The same for an image [channels,height,width] of floats in [0,1] at the model's own size. */
PUVAE_API puvae_status puvae_run_image(puvae_context* context, const float* image, puvae_result* result);

/* What the model would see of a region, [channels,height,width] in [0,1]; NULL is the whole frame. */
PUVAE_API puvae_status puvae_preprocess(puvae_context* context, const puvae_frame* frame, const puvae_region* region,
                                        float* image);

#ifdef __cplusplus
}
#endif
#endif
