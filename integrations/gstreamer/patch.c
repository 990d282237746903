/* The purified image over its region, resized bilinearly, in the frame's own format. What sticks out is cut off. */
#include "puvaepurify.h"

typedef struct {
    const gfloat* image;
    const puvae_engine_info* info;
    const puvae_region* region;
} Source;

static gfloat plane_at(const Source* source, gint channel, gfloat x, gfloat y) {
    const gint width = source->info->width, height = source->info->height;
    const gint left = CLAMP((gint)x, 0, width - 1), top = CLAMP((gint)y, 0, height - 1);
    const gint right = MIN(left + 1, width - 1), bottom = MIN(top + 1, height - 1);
    const gfloat u = CLAMP(x - (gfloat)left, 0, 1), v = CLAMP(y - (gfloat)top, 0, 1);
    const gfloat* plane = source->image + (gsize)channel * (gsize)width * (gsize)height;
    const gfloat above = plane[top * width + left] * (1 - u) + plane[top * width + right] * u;
    const gfloat below = plane[bottom * width + left] * (1 - u) + plane[bottom * width + right] * u;
    return above * (1 - v) + below * v;
}

/* Red, green and blue, 0 to 255, at a pixel of the frame. */
static void color_at(const Source* source, gint x, gint y, gfloat rgb[3]) {
    const puvae_region* region = source->region;
    const gfloat column = ((gfloat)(x - region->x) + .5f) * (gfloat)source->info->width / (gfloat)region->width - .5f;
    const gfloat row = ((gfloat)(y - region->y) + .5f) * (gfloat)source->info->height / (gfloat)region->height - .5f;
    for (gint c = 0; c < 3; ++c)
        rgb[c] = 255 * plane_at(source, MIN(c, source->info->channels - 1), MAX(column, 0), MAX(row, 0));
}

static guint8 level(gfloat value) { return (guint8)CLAMP(value + .5f, 0, 255); }

/* One pixel; an even one of NV12 brings the chroma of four. BT.601, limited range, as libpuvae reads it. */
static void write_pixel(GstVideoFrame* frame, gint x, gint y, const gfloat rgb[3]) {
    guint8* row = (guint8*)GST_VIDEO_FRAME_PLANE_DATA(frame, 0) + (gssize)y * GST_VIDEO_FRAME_PLANE_STRIDE(frame, 0);
    const GstVideoFormat format = GST_VIDEO_FRAME_FORMAT(frame);
    if (format == GST_VIDEO_FORMAT_GRAY8) {
        row[x] = level(.299f * rgb[0] + .587f * rgb[1] + .114f * rgb[2]);
    } else if (format == GST_VIDEO_FORMAT_NV12) {
        row[x] = level(16 + .257f * rgb[0] + .504f * rgb[1] + .098f * rgb[2]);
        if (x % 2 || y % 2) return;
        guint8* chroma = (guint8*)GST_VIDEO_FRAME_PLANE_DATA(frame, 1) +
                         (gssize)(y / 2) * GST_VIDEO_FRAME_PLANE_STRIDE(frame, 1) + x;
        chroma[0] = level(128 - .148f * rgb[0] - .291f * rgb[1] + .439f * rgb[2]);
        chroma[1] = level(128 + .439f * rgb[0] - .368f * rgb[1] - .071f * rgb[2]);
    } else {
        const gboolean bgr = format == GST_VIDEO_FORMAT_BGR;
        for (gint c = 0; c < 3; ++c) row[3 * x + c] = level(rgb[bgr ? 2 - c : c]);
    }
}

void puvae_patch_draw(GstVideoFrame* frame, const puvae_region* region, const gfloat* image,
                      const puvae_engine_info* info) {
    const Source source = {image, info, region};
    const gint right = (gint)MIN((gint64)region->x + region->width, GST_VIDEO_FRAME_WIDTH(frame));
    const gint bottom = (gint)MIN((gint64)region->y + region->height, GST_VIDEO_FRAME_HEIGHT(frame));
    for (gint y = MAX(region->y, 0); y < bottom; ++y)
        for (gint x = MAX(region->x, 0); x < right; ++x) {
            gfloat rgb[3];
            color_at(&source, x, y, rgb);
            write_pixel(frame, x, y, rgb);
        }
}
