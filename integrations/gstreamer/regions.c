/* Which regions of a frame are purified. */
#include <stdio.h>

#include "puvaepurify.h"

static void clear_job(gpointer job) {
    g_free(((PuvaeJob*)job)->error);
    g_free(((PuvaeJob*)job)->image);
}

GArray* puvae_jobs_new(void) {
    GArray* jobs = g_array_new(FALSE, TRUE, sizeof(PuvaeJob));
    g_array_set_clear_func(jobs, clear_job);
    return jobs;
}

void puvae_jobs_add(GArray* jobs, gint roi, puvae_region region) {
    PuvaeJob job = {.roi = roi, .region = region};
    g_array_append_val(jobs, job);
}

gboolean puvae_jobs_parse(GArray* jobs, const gchar* roi) {
    while (TRUE) {
        puvae_region region;
        gint read = 0;
        if (sscanf(roi, "%d,%d,%d,%d%n", &region.x, &region.y, &region.width, &region.height, &read) != 4) return FALSE;
        puvae_jobs_add(jobs, -1, region);
        roi += read;
        if (*roi == '\0') return TRUE;
        if (*roi++ != ';') return FALSE;
    }
}

static gint bounded(guint value) { return (gint)MIN(value, (guint)G_MAXINT); }

void puvae_jobs_add_metas(GArray* jobs, GstBuffer* buffer) {
    gpointer state = NULL;
    GstMeta* meta;
    while ((meta = gst_buffer_iterate_meta_filtered(buffer, &state, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE))) {
        const GstVideoRegionOfInterestMeta* roi = (GstVideoRegionOfInterestMeta*)meta;
        const puvae_region region = {bounded(roi->x), bounded(roi->y), bounded(roi->w), bounded(roi->h)};
        puvae_jobs_add(jobs, roi->id, region);
    }
}
