/* puvaepurify: a GstBaseTransform that purifies regions of video frames with libpuvae, in place. */
#include <gst/base/gstbasetransform.h>
#include <gst/gst.h>
#include <string.h>

#include "puvaepurify.h"

GST_DEBUG_CATEGORY_STATIC(puvaepurify_debug);
#define GST_CAT_DEFAULT puvaepurify_debug

typedef struct {
    gchar *bundle, *roi;
    guint threads;
    gboolean roi_meta, overlay, messages;
    GstClockTime deadline; /* 0 is none */
} Settings;

typedef struct {
    guint64 frames, skipped, missed, degraded, failed;
} Counts;

typedef struct {
    GstBaseTransform parent;
    Settings settings; /* these two under the object's lock */
    Counts counts;
    PuvaeWorkers* workers; /* between start and stop */
    GstVideoInfo info;
    gboolean warned; /* of regions that the library refuses, since the caps were set */
} PuvaePurify;

typedef struct {
    GstBaseTransformClass parent;
} PuvaePurifyClass;

GType puvae_purify_get_type(void);
G_DEFINE_TYPE(PuvaePurify, puvae_purify, GST_TYPE_BASE_TRANSFORM)
#define PUVAE_PURIFY(object) ((PuvaePurify*)(object))

enum { PROP_BUNDLE = 1, PROP_ROI, PROP_ROI_META, PROP_THREADS, PROP_OVERLAY, PROP_DEADLINE, PROP_MESSAGES, PROP_STATS };

#define CAPS                                                                                                     \
    GST_VIDEO_CAPS_MAKE("{ BGR, RGB, GRAY8 }")                                                                   \
    "; video/x-raw, format = (string) NV12, width = (int) [ 2, 1048576, 2 ], height = (int) [ 2, 1048576, 2 ], " \
    "framerate = (fraction) [ 0, max ]"
static GstStaticPadTemplate sink_pad =
    GST_STATIC_PAD_TEMPLATE("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS(CAPS));
static GstStaticPadTemplate src_pad =
    GST_STATIC_PAD_TEMPLATE("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS(CAPS));

/* ---- one frame ------------------------------------------------------------------------------------------------- */

/* What is to be purified of a frame; FALSE, with an error on the bus, when `roi` is malformed. */
static gboolean list_jobs(PuvaePurify* self, GstBuffer* buffer, const Settings* settings, GArray* jobs) {
    const puvae_region whole = {0, 0, GST_VIDEO_INFO_WIDTH(&self->info), GST_VIDEO_INFO_HEIGHT(&self->info)};
    if (settings->roi_meta) puvae_jobs_add_metas(jobs, buffer);
    else if (settings->roi == NULL || *settings->roi == '\0') puvae_jobs_add(jobs, -1, whole);
    else if (!puvae_jobs_parse(jobs, settings->roi)) {
        GST_ELEMENT_ERROR(self, LIBRARY, SETTINGS, ("roi: got \"%s\", expected x,y,width,height;...", settings->roi),
                          (NULL));
        return FALSE;
    }
    return TRUE;
}

static puvae_frame describe(const GstVideoFrame* mapped) {
    const GstVideoFormat format = GST_VIDEO_FRAME_FORMAT(mapped);
    puvae_frame frame = {.struct_size = sizeof frame,
                         .format = format == GST_VIDEO_FORMAT_GRAY8  ? PUVAE_GRAY
                                   : format == GST_VIDEO_FORMAT_BGR  ? PUVAE_BGR
                                   : format == GST_VIDEO_FORMAT_NV12 ? PUVAE_NV12
                                                                     : PUVAE_RGB,
                         .pixels = GST_VIDEO_FRAME_PLANE_DATA(mapped, 0),
                         .stride = GST_VIDEO_FRAME_PLANE_STRIDE(mapped, 0),
                         .width = GST_VIDEO_FRAME_WIDTH(mapped),
                         .height = GST_VIDEO_FRAME_HEIGHT(mapped)};
    if (format == GST_VIDEO_FORMAT_NV12) {
        frame.chroma = GST_VIDEO_FRAME_PLANE_DATA(mapped, 1);
        frame.chroma_stride = GST_VIDEO_FRAME_PLANE_STRIDE(mapped, 1);
    }
    return frame;
}

/* How long ago the buffer was due; GST_CLOCK_TIME_NONE when there is no clock or no time stamp. */
static GstClockTime age_of(PuvaePurify* self, GstBuffer* buffer) {
    const GstClockTime now = gst_element_get_current_running_time(GST_ELEMENT(self));
    const GstClockTime due =
        gst_segment_to_running_time(&GST_BASE_TRANSFORM(self)->segment, GST_FORMAT_TIME, GST_BUFFER_PTS(buffer));
    if (!GST_CLOCK_TIME_IS_VALID(now) || !GST_CLOCK_TIME_IS_VALID(due)) return GST_CLOCK_TIME_NONE;
    return now > due ? now - due : 0;
}

static gboolean is_late(GstClockTime age, GstClockTime deadline) {
    return deadline > 0 && GST_CLOCK_TIME_IS_VALID(age) && age > deadline;
}

static gboolean purify(PuvaePurify* self, GstBuffer* buffer, gboolean overlay, GArray* jobs) {
    GstVideoFrame mapped;
    if (!gst_video_frame_map(&mapped, &self->info, buffer, overlay ? GST_MAP_READWRITE : GST_MAP_READ)) {
        GST_ELEMENT_ERROR(self, STREAM, FORMAT, ("a buffer is smaller than its caps say, or cannot be mapped"), (NULL));
        return FALSE;
    }
    const puvae_frame frame = describe(&mapped);
    puvae_workers_run(self->workers, &frame, jobs);
    for (guint i = 0; overlay && i < jobs->len; ++i) {
        const PuvaeJob* job = &g_array_index(jobs, PuvaeJob, i);
        if (job->image) puvae_patch_draw(&mapped, &job->region, job->image, puvae_workers_info(self->workers));
    }
    gst_video_frame_unmap(&mapped);
    return TRUE;
}

static void count(PuvaePurify* self, const PuvaeTimes* times, GArray* jobs) {
    const gchar* refused = NULL;
    GST_OBJECT_LOCK(self);
    ++self->counts.frames;
    self->counts.skipped += times->skipped != 0;
    self->counts.missed += times->deadline_missed != 0;
    for (guint i = 0; i < jobs->len; ++i) {
        const PuvaeJob* job = &g_array_index(jobs, PuvaeJob, i);
        self->counts.degraded += job->result.degraded != 0 && job->error == NULL;
        self->counts.failed += job->error != NULL;
        if (job->error != NULL) refused = job->error;
    }
    GST_OBJECT_UNLOCK(self);
    if (refused != NULL && !self->warned) {
        self->warned = TRUE; /* the others are in the messages and counted */
        GST_ELEMENT_WARNING(self, STREAM, FAILED, ("%s", refused), (NULL));
    }
}

static GstFlowReturn transform_with(PuvaePurify* self, GstBuffer* buffer, const Settings* settings, GArray* jobs) {
    if (!list_jobs(self, buffer, settings, jobs)) return GST_FLOW_ERROR;
    PuvaeTimes times = {.skipped = is_late(age_of(self, buffer), settings->deadline)};
    if (times.skipped) g_array_set_size(jobs, 0);
    if (jobs->len > 0 && !purify(self, buffer, settings->overlay, jobs)) return GST_FLOW_ERROR;
    times.age = age_of(self, buffer);
    times.deadline_missed = times.skipped || is_late(times.age, settings->deadline);
    count(self, &times, jobs);
    if (settings->messages) {
        const GstSegment* segment = &GST_BASE_TRANSFORM(self)->segment;
        gst_element_post_message(GST_ELEMENT(self),
                                 puvae_report_message(GST_ELEMENT(self), buffer, segment, &times, jobs, self->workers));
    }
    puvae_report_attach(buffer, &times, jobs, self->workers);
    return GST_FLOW_OK;
}

static GstFlowReturn transform_ip(GstBaseTransform* transform, GstBuffer* buffer) {
    PuvaePurify* self = PUVAE_PURIFY(transform);
    GST_OBJECT_LOCK(self);
    Settings settings = self->settings;
    settings.roi = g_strdup(settings.roi);
    GST_OBJECT_UNLOCK(self);
    GArray* jobs = puvae_jobs_new();
    const GstFlowReturn flow = transform_with(self, buffer, &settings, jobs);
    g_array_unref(jobs);
    g_free(settings.roi);
    return flow;
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

static gboolean start(GstBaseTransform* transform) {
    PuvaePurify* self = PUVAE_PURIFY(transform);
    GST_OBJECT_LOCK(self);
    gchar* bundle = g_strdup(self->settings.bundle);
    const guint threads = self->settings.threads;
    memset(&self->counts, 0, sizeof self->counts);
    GST_OBJECT_UNLOCK(self);
    if (bundle == NULL) {
        GST_ELEMENT_ERROR(self, LIBRARY, SETTINGS,
                          ("bundle: got none, expected a folder that puvae build --target native wrote"), (NULL));
        return FALSE;
    }
    const gboolean folder = g_file_test(bundle, G_FILE_TEST_IS_DIR);
    gchar* engine = folder ? g_build_filename(bundle, "engine.puvae", NULL) : g_strdup(bundle);
    self->workers = puvae_workers_open(engine, threads);
    if (self->workers == NULL)
        GST_ELEMENT_ERROR(self, RESOURCE, OPEN_READ, ("bundle: %s", puvae_last_message()),
                          ("%s is what puvae build --target native writes", engine));
    g_free(engine);
    g_free(bundle);
    return self->workers != NULL;
}

static gboolean stop(GstBaseTransform* transform) {
    g_clear_pointer(&PUVAE_PURIFY(transform)->workers, puvae_workers_close);
    return TRUE;
}

static gboolean set_caps(GstBaseTransform* transform, GstCaps* in, GstCaps* out) {
    (void)out; /* the same: the element works in place */
    PUVAE_PURIFY(transform)->warned = FALSE;
    return gst_video_info_from_caps(&PUVAE_PURIFY(transform)->info, in);
}

/* ---- properties ------------------------------------------------------------------------------------------------ */

static void set_property(GObject* object, guint id, const GValue* value, GParamSpec* spec) {
    Settings* settings = &PUVAE_PURIFY(object)->settings;
    GST_OBJECT_LOCK(object);
    if (id == PROP_BUNDLE) g_free(settings->bundle), settings->bundle = g_value_dup_string(value);
    else if (id == PROP_ROI) g_free(settings->roi), settings->roi = g_value_dup_string(value);
    else if (id == PROP_ROI_META) settings->roi_meta = g_value_get_boolean(value);
    else if (id == PROP_THREADS) settings->threads = g_value_get_uint(value);
    else if (id == PROP_OVERLAY) settings->overlay = g_value_get_boolean(value);
    else if (id == PROP_DEADLINE) settings->deadline = g_value_get_uint64(value);
    else if (id == PROP_MESSAGES) settings->messages = g_value_get_boolean(value);
    else G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    GST_OBJECT_UNLOCK(object);
}

static GstStructure* stats_of(const Counts* counts) {
    return gst_structure_new("puvaepurify-stats", "frames", G_TYPE_UINT64, counts->frames, "skipped", G_TYPE_UINT64,
                             counts->skipped, "deadline-missed", G_TYPE_UINT64, counts->missed, "degraded",
                             G_TYPE_UINT64, counts->degraded, "failed", G_TYPE_UINT64, counts->failed, NULL);
}

static void get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
    const Settings* settings = &PUVAE_PURIFY(object)->settings;
    GST_OBJECT_LOCK(object);
    if (id == PROP_BUNDLE) g_value_set_string(value, settings->bundle);
    else if (id == PROP_ROI) g_value_set_string(value, settings->roi);
    else if (id == PROP_ROI_META) g_value_set_boolean(value, settings->roi_meta);
    else if (id == PROP_THREADS) g_value_set_uint(value, settings->threads);
    else if (id == PROP_OVERLAY) g_value_set_boolean(value, settings->overlay);
    else if (id == PROP_DEADLINE) g_value_set_uint64(value, settings->deadline);
    else if (id == PROP_MESSAGES) g_value_set_boolean(value, settings->messages);
    else if (id == PROP_STATS) g_value_take_boxed(value, stats_of(&PUVAE_PURIFY(object)->counts));
    else G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    GST_OBJECT_UNLOCK(object);
}

static void finalize(GObject* object) {
    g_free(PUVAE_PURIFY(object)->settings.bundle);
    g_free(PUVAE_PURIFY(object)->settings.roi);
    G_OBJECT_CLASS(puvae_purify_parent_class)->finalize(object);
}

static void install_properties(GObjectClass* class) {
    const GParamFlags both = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;
    const GParamFlags ready = both | GST_PARAM_MUTABLE_READY, playing = both | GST_PARAM_MUTABLE_PLAYING;
    GParamSpec* specs[] = {
        [PROP_BUNDLE] =
            g_param_spec_string("bundle", "Bundle", "Bundle of target native, or its engine.puvae", NULL, ready),
        [PROP_ROI] = g_param_spec_string("roi", "Regions",
                                         "x,y,width,height;... to purify; the whole frame without any", NULL, playing),
        [PROP_ROI_META] = g_param_spec_boolean("roi-meta", "Regions from metas",
                                               "Purify each GstVideoRegionOfInterestMeta of a buffer in place of roi",
                                               FALSE, playing),
        [PROP_THREADS] = g_param_spec_uint("threads", "Threads", "Regions of a frame that are computed side by side", 1,
                                           PUVAE_MAX_THREADS, 1, ready),
        [PROP_OVERLAY] =
            g_param_spec_boolean("overlay", "Overlay", "Write the purified image over its region", FALSE, playing),
        [PROP_DEADLINE] = g_param_spec_uint64(
            "deadline", "Deadline", "Age in ns that a label may have; an older frame is passed on unpurified. 0: none",
            0, G_MAXINT64, 0, playing),
        [PROP_MESSAGES] =
            g_param_spec_boolean("post-messages", "Post messages", "Post a message for each frame", TRUE, playing),
        [PROP_STATS] = g_param_spec_boxed("stats", "Statistics", "Counts since the element was started",
                                          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS),
    };
    g_object_class_install_properties(class, G_N_ELEMENTS(specs), specs);
}

static void puvae_purify_class_init(PuvaePurifyClass* class) {
    GObjectClass* object = G_OBJECT_CLASS(class);
    GstElementClass* element = GST_ELEMENT_CLASS(class);
    GstBaseTransformClass* transform = GST_BASE_TRANSFORM_CLASS(class);
    object->set_property = set_property;
    object->get_property = get_property;
    object->finalize = finalize;
    install_properties(object);
    gst_element_class_add_static_pad_template(element, &sink_pad);
    gst_element_class_add_static_pad_template(element, &src_pad);
    gst_element_class_set_static_metadata(element, "Adversarial purifier", "Filter/Analyzer/Video",
                                          "Purifies regions of frames and labels them with libpuvae", "puvae_rt");
    transform->start = start;
    transform->stop = stop;
    transform->set_caps = set_caps;
    transform->transform_ip = transform_ip;
    transform->transform_ip_on_passthrough = FALSE;
}

static void puvae_purify_init(PuvaePurify* self) {
    self->settings.threads = 1;
    self->settings.messages = TRUE;
    gst_base_transform_set_in_place(GST_BASE_TRANSFORM(self), TRUE);
    gst_base_transform_set_qos_enabled(GST_BASE_TRANSFORM(self), TRUE);
}

static gboolean plugin_init(GstPlugin* plugin) {
    GST_DEBUG_CATEGORY_INIT(puvaepurify_debug, "puvaepurify", 0, "adversarial purifier");
    puvae_report_register();
    return gst_element_register(plugin, "puvaepurify", GST_RANK_NONE, puvae_purify_get_type());
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, puvae, "Adversarial purification", plugin_init, PLUGIN_VERSION,
                  "Apache 2.0", "puvae_rt", "https://arxiv.org/abs/1903.00585")
