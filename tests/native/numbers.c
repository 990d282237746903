/* A C program on the public header that answers for images, so that they can be held against another's answers where no
 * Python runs: a processor that is emulated. Writes for each image its projected class as a float, the purified image,
 * rmse and score.
 *
 *     numbers ENGINE INSTRUCTIONS < floats > floats
 */
#include <stdio.h>
#include <stdlib.h>

#include "puvae.h"

static void require(int holds, const char* what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, puvae_last_message());
    exit(1);
}

int main(int count, char** arguments) {
    if (count != 3) return 2;
    puvae_engine_options options = {sizeof options, atoi(arguments[2])};
    puvae_engine* engine;
    puvae_context* context;
    require(puvae_engine_open(arguments[1], &options, &engine) == PUVAE_OK, "open");
    require(puvae_context_open(engine, &context) == PUVAE_OK, "context");
    puvae_engine_info info = {sizeof info, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    require(puvae_engine_get_info(engine, &info) == PUVAE_OK, "info");
    const size_t pixels = (size_t)(info.channels * info.height * info.width), classes = (size_t)info.classes;
    float* image = malloc(pixels * sizeof *image);
    float* out = malloc((1 + pixels + 2 * classes) * sizeof *out);
    puvae_result result = {sizeof result, out + 1, out + 1 + pixels, out + 1 + pixels + classes, 0, 0, 0, 0, 0, 0, 0};
    require(image && out, "memory");
    while (fread(image, sizeof *image, pixels, stdin) == pixels) {
        require(puvae_run_image(context, image, &result) == PUVAE_OK, "run");
        out[0] = (float)result.projected;
        require(fwrite(out, sizeof *out, 1 + pixels + 2 * classes, stdout) == 1 + pixels + 2 * classes, "write");
    }
    free(image);
    free(out);
    require(puvae_context_close(context) == PUVAE_OK, "close");
    puvae_engine_close(engine);
    return 0;
}
