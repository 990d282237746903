/* What is told of a frame: a GstCustomMeta on its buffer, and an element message on the bus. docs/howto/gstreamer.md
 * lists the fields. */
#include "puvaepurify.h"

void puvae_report_register(void) {
    static const gchar* tags[] = {"video", "size", "orientation", NULL}; /* places are wrong once a frame is resized */
    gst_meta_register_custom(PUVAE_META_NAME, tags, NULL, NULL, NULL);
}

static GstBuffer* image_buffer(PuvaeJob* job, const puvae_engine_info* info) {
    const gsize bytes = sizeof(gfloat) * (gsize)info->channels * (gsize)info->height * (gsize)info->width;
    return gst_buffer_new_wrapped(g_steal_pointer(&job->image), bytes);
}

static GstStructure* region_structure(PuvaeJob* job, const PuvaeWorkers* workers, gboolean with_image) {
    const puvae_result* result = &job->result;
    const gchar* name = puvae_workers_class_name(workers, result->label);
    GstStructure* told = gst_structure_new(
        "region", "roi-id", G_TYPE_INT, job->roi, "x", G_TYPE_INT, job->region.x, "y", G_TYPE_INT, job->region.y,
        "width", G_TYPE_INT, job->region.width, "height", G_TYPE_INT, job->region.height, "label", G_TYPE_INT,
        result->label, "projected", G_TYPE_INT, result->projected, "degraded", G_TYPE_BOOLEAN, result->degraded != 0,
        "preprocess-ns", G_TYPE_INT64, (gint64)result->preprocess_ns, "purify-ns", G_TYPE_INT64,
        (gint64)result->purify_ns, "classify-ns", G_TYPE_INT64, (gint64)result->classify_ns, NULL);
    if (!result->degraded)
        gst_structure_set(told, "label-name", G_TYPE_STRING, name, "rmse", G_TYPE_DOUBLE, (gdouble)result->least_rmse,
                          "score", G_TYPE_DOUBLE, job->score, NULL);
    if (job->error != NULL) gst_structure_set(told, "error", G_TYPE_STRING, job->error, NULL);
    if (with_image && job->image != NULL) {
        GstBuffer* image = image_buffer(job, puvae_workers_info(workers));
        gst_structure_set(told, "image", GST_TYPE_BUFFER, image, NULL);
        gst_buffer_unref(image);
    }
    return told;
}

static void fill(GstStructure* told, const PuvaeTimes* times, GArray* jobs, const PuvaeWorkers* workers,
                 gboolean with_image) {
    const puvae_engine_info* info = puvae_workers_info(workers);
    GValue regions = G_VALUE_INIT;
    g_value_init(&regions, GST_TYPE_ARRAY);
    for (guint i = 0; i < jobs->len; ++i) {
        GValue value = G_VALUE_INIT;
        g_value_init(&value, GST_TYPE_STRUCTURE);
        g_value_take_boxed(&value, region_structure(&g_array_index(jobs, PuvaeJob, i), workers, with_image));
        gst_value_array_append_and_take_value(&regions, &value);
    }
    gst_structure_set(told, "age", GST_TYPE_CLOCK_TIME, times->age, "deadline-missed", G_TYPE_BOOLEAN,
                      times->deadline_missed, "skipped", G_TYPE_BOOLEAN, times->skipped, "image-channels", G_TYPE_INT,
                      info->channels, "image-height", G_TYPE_INT, info->height, "image-width", G_TYPE_INT, info->width,
                      NULL);
    gst_structure_take_value(told, "regions", &regions);
}

GstMessage* puvae_report_message(GstElement* element, GstBuffer* buffer, const GstSegment* segment,
                                 const PuvaeTimes* times, GArray* jobs, const PuvaeWorkers* workers) {
    const GstClockTime stamp = GST_BUFFER_PTS(buffer);
    GstStructure* told =
        gst_structure_new("puvaepurify", "timestamp", GST_TYPE_CLOCK_TIME, stamp, "running-time", GST_TYPE_CLOCK_TIME,
                          gst_segment_to_running_time(segment, GST_FORMAT_TIME, stamp), "stream-time",
                          GST_TYPE_CLOCK_TIME, gst_segment_to_stream_time(segment, GST_FORMAT_TIME, stamp), NULL);
    fill(told, times, jobs, workers, FALSE);
    return gst_message_new_element(GST_OBJECT(element), told);
}

void puvae_report_attach(GstBuffer* buffer, const PuvaeTimes* times, GArray* jobs, const PuvaeWorkers* workers) {
    GstCustomMeta* meta = gst_buffer_add_custom_meta(buffer, PUVAE_META_NAME);
    fill(gst_custom_meta_get_structure(meta), times, jobs, workers, TRUE);
}
