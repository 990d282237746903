/* purify ENGINE WIDTHxHEIGHT < frame.bgr: the label of one raw BGR frame, and
 * the distance that speaks for it. */
#include <puvae.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(void) {
    fprintf(stderr, "purify: %s\n", puvae_last_message());
    return 1;
}

/* Reads a frame from standard input and prints what the model says of it; 0
 * when all went well. */
static int purify(const puvae_engine* engine, puvae_context* context, int32_t width, int32_t height) {
    const size_t bytes = (size_t)width * (size_t)height * 3;
    uint8_t* pixels = malloc(bytes);
    int status = 1;
    if (pixels == NULL || fread(pixels, 1, bytes, stdin) != bytes) {
        fprintf(stderr,
                "purify: got a shorter frame, expected %zu bytes of BGR on "
                "standard input\n",
                bytes);
    } else {
        const puvae_frame frame = {sizeof frame, PUVAE_BGR, pixels, (int64_t)width * 3, NULL, 0, width, height};
        puvae_result result = {sizeof result, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0};
        status = puvae_run(context, &frame, NULL, 1, &result) == PUVAE_OK ? 0 : failed();
        if (status == 0 && result.degraded) puts("degraded: no class had a finite distance");
        else if (status == 0) printf("%s %.4f\n", puvae_engine_class_name(engine, result.label), result.least_rmse);
    }
    free(pixels);
    return status;
}

int main(int count, char** arguments) {
    int32_t width = 0, height = 0;
    if (count != 3 || sscanf(arguments[2], "%dx%d", &width, &height) != 2 || width < 1 || height < 1) {
        fprintf(stderr, "usage: purify ENGINE WIDTHxHEIGHT < frame.bgr (libpuvae %s)\n", puvae_version());
        return 2;
    }
    puvae_engine* engine;
    puvae_context* context;
    if (puvae_engine_open(arguments[1], NULL, &engine) != PUVAE_OK) return failed();
    if (puvae_context_open(engine, &context) != PUVAE_OK) return puvae_engine_close(engine), failed();
    const int status = purify(engine, context, width, height);
    puvae_context_close(context);
    puvae_engine_close(engine);
    return status;
}
