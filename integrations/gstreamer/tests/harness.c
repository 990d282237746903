/* Drives puvaepurify through GstHarness, and real pipelines. PUVAE_BUNDLE names the bundle, PUVAE_CLIP a video file
 * that can be sought, PUVAE_SECONDS how long /soak runs. Each test is one path of GLib's test program: harness -p
 * /formats. */
#include <gst/check/gstharness.h>
#include <gst/check/gsttestclock.h>
#include <gst/video/video.h>
#include <puvae.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 64
#define HEIGHT 48

static puvae_engine* engine;
static puvae_context* context;
static puvae_engine_info info = {.struct_size = sizeof info};

typedef struct {
    GstHarness* harness;
    GstBus* bus;
    GstVideoInfo video;
} Bench;

static void set_caps(Bench* bench, const gchar* format, gint width, gint height) {
    gst_video_info_set_format(&bench->video, gst_video_format_from_string(format), width, height);
    GST_VIDEO_INFO_FPS_N(&bench->video) = 30;
    gst_harness_set_src_caps(bench->harness, gst_video_info_to_caps(&bench->video));
}

static Bench open_bench(const gchar* properties) {
    gchar* line = g_strdup_printf("puvaepurify bundle=\"%s\" %s", g_getenv("PUVAE_BUNDLE"), properties);
    Bench bench = {.harness = gst_harness_new_parse(line), .bus = gst_bus_new()};
    g_free(line);
    gst_element_set_bus(bench.harness->element, bench.bus);
    return bench;
}

static void close_bench(Bench* bench) {
    gst_element_set_bus(bench->harness->element, NULL);
    gst_harness_teardown(bench->harness);
    gst_object_unref(bench->bus);
}

/* A picture of the caps' size: smooth, and another one for each seed. */
static GstBuffer* picture(const Bench* bench, guint seed) {
    GstBuffer* buffer = gst_buffer_new_allocate(NULL, GST_VIDEO_INFO_SIZE(&bench->video), NULL);
    GstMapInfo map;
    gst_buffer_map(buffer, &map, GST_MAP_WRITE);
    for (gsize i = 0; i < map.size; ++i) map.data[i] = (guint8)(i * (seed + 3) / 7 + (i >> 6) * seed);
    gst_buffer_unmap(buffer, &map);
    GST_BUFFER_PTS(buffer) = GST_BUFFER_DTS(buffer) = seed * GST_SECOND / 30;
    GST_BUFFER_DURATION(buffer) = GST_SECOND / 30;
    return buffer;
}

/* A picture pushed, and what came of it. */
static GstBuffer* pushed(Bench* bench, GstBuffer* buffer) {
    g_assert_cmpint(gst_harness_push(bench->harness, buffer), ==, GST_FLOW_OK);
    return gst_harness_pull(bench->harness);
}

static const GstStructure* told_of(GstBuffer* buffer) {
    GstCustomMeta* meta = gst_buffer_get_custom_meta(buffer, "GstPuvaeMeta");
    g_assert_nonnull(meta);
    return gst_custom_meta_get_structure(meta);
}

static gint number(const GstStructure* told, const gchar* field) {
    gint value;
    g_assert_true(gst_structure_get_int(told, field, &value));
    return value;
}

static gboolean flag(const GstStructure* told, const gchar* field) {
    gboolean value;
    g_assert_true(gst_structure_get_boolean(told, field, &value));
    return value;
}

static guint regions(const GstStructure* told) {
    return gst_value_array_get_size(gst_structure_get_value(told, "regions"));
}

static const GstStructure* region(const GstStructure* told, guint index) {
    g_assert_cmpuint(index, <, regions(told));
    return gst_value_get_structure(gst_value_array_get_value(gst_structure_get_value(told, "regions"), index));
}

static guint64 counted(Bench* bench, const gchar* field) {
    GstElement* element = gst_harness_find_element(bench->harness, "puvaepurify");
    GstStructure* stats;
    guint64 value;
    g_object_get(element, "stats", &stats, NULL);
    g_assert_true(gst_structure_get_uint64(stats, field, &value));
    gst_structure_free(stats);
    gst_object_unref(element);
    return value;
}

static GstMessage* message(Bench* bench, GstMessageType type) {
    GstMessage* got = gst_bus_pop_filtered(bench->bus, type);
    g_assert_nonnull(got);
    return got;
}

/* An error or a warning, whose text has `part` in it. */
static void complained(GstBus* bus, GstMessageType type, const gchar* part) {
    GstMessage* got = gst_bus_timed_pop_filtered(bus, 5 * GST_SECOND, type);
    g_assert_nonnull(got);
    GError* error;
    if (type == GST_MESSAGE_ERROR) gst_message_parse_error(got, &error, NULL);
    else gst_message_parse_warning(got, &error, NULL);
    if (strstr(error->message, part) == NULL) g_error("got \"%s\", expected \"%s\" in it", error->message, part);
    g_error_free(error);
    gst_message_unref(got);
}

/* What the library itself says of a region of a buffer. */
static puvae_result expected(const Bench* bench, GstBuffer* buffer, puvae_region part) {
    GstVideoFrame mapped;
    g_assert_true(gst_video_frame_map(&mapped, &bench->video, buffer, GST_MAP_READ));
    const GstVideoFormat format = GST_VIDEO_FRAME_FORMAT(&mapped);
    const gboolean nv12 = format == GST_VIDEO_FORMAT_NV12;
    const puvae_format formats[] = {PUVAE_GRAY, PUVAE_BGR, PUVAE_RGB, PUVAE_NV12};
    const GstVideoFormat theirs[] = {GST_VIDEO_FORMAT_GRAY8, GST_VIDEO_FORMAT_BGR, GST_VIDEO_FORMAT_RGB,
                                     GST_VIDEO_FORMAT_NV12};
    guint at = 0;
    while (theirs[at] != format) ++at;
    const puvae_frame frame = {sizeof frame,
                               formats[at],
                               GST_VIDEO_FRAME_PLANE_DATA(&mapped, 0),
                               GST_VIDEO_FRAME_PLANE_STRIDE(&mapped, 0),
                               nv12 ? GST_VIDEO_FRAME_PLANE_DATA(&mapped, 1) : NULL,
                               nv12 ? GST_VIDEO_FRAME_PLANE_STRIDE(&mapped, 1) : 0,
                               GST_VIDEO_FRAME_WIDTH(&mapped),
                               GST_VIDEO_FRAME_HEIGHT(&mapped)};
    puvae_result result = {.struct_size = sizeof result};
    g_assert_cmpint(puvae_run(context, &frame, &part, 1, &result), ==, PUVAE_OK);
    gst_video_frame_unmap(&mapped);
    return result;
}

static void same_region(const GstStructure* told, const puvae_result* result) {
    gdouble rmse;
    g_assert_cmpint(number(told, "label"), ==, result->label);
    g_assert_cmpint(number(told, "projected"), ==, result->projected);
    g_assert_true(gst_structure_get_double(told, "rmse", &rmse));
    g_assert_cmpfloat(rmse, ==, result->least_rmse);
    g_assert_cmpstr(gst_structure_get_string(told, "label-name"), ==, puvae_engine_class_name(engine, result->label));
}

static const gchar* const formats[] = {"BGR", "RGB", "GRAY8", "NV12"};

static void test_formats(void) {
    for (guint f = 0; f < G_N_ELEMENTS(formats); ++f) {
        Bench bench = open_bench("");
        set_caps(&bench, formats[f], WIDTH, HEIGHT);
        for (guint seed = 0; seed < 3; ++seed) {
            GstBuffer* sent = picture(&bench, seed);
            GstBuffer* kept = gst_buffer_copy_deep(sent);
            GstBuffer* got = pushed(&bench, sent);
            const puvae_result result = expected(&bench, kept, (puvae_region){0, 0, WIDTH, HEIGHT});
            const GstStructure* told = told_of(got);
            g_assert_cmpuint(regions(told), ==, 1);
            same_region(region(told, 0), &result);
            GstBuffer* image;
            g_assert_true(gst_structure_get(region(told, 0), "image", GST_TYPE_BUFFER, &image, NULL));
            g_assert_cmpuint(gst_buffer_get_size(image), ==, 4u * (guint)(info.channels * info.height * info.width));
            gst_buffer_unref(image);
            GstMapInfo map;
            gst_buffer_map(kept, &map, GST_MAP_READ);
            g_assert_cmpint(gst_buffer_memcmp(got, 0, map.data, map.size), ==, 0);
            gst_buffer_unmap(kept, &map);
            gst_buffer_unref(kept);
            gst_buffer_unref(got);
        }
        g_assert_cmpuint(counted(&bench, "frames"), ==, 3);
        close_bench(&bench);
    }
}

/* How far the bytes of a region of the model's own size lie from its image, and how many others changed. */
static void compare(const Bench* bench, GstBuffer* before, GstBuffer* after, puvae_region part, guint* off,
                    guint* others) {
    GstBuffer* buffer;
    g_assert_true(gst_structure_get(region(told_of(after), 0), "image", GST_TYPE_BUFFER, &buffer, NULL));
    GstMapInfo image, old, new;
    gst_buffer_map(buffer, &image, GST_MAP_READ);
    gst_buffer_map(before, &old, GST_MAP_READ);
    gst_buffer_map(after, &new, GST_MAP_READ);
    const gint stride = GST_VIDEO_INFO_PLANE_STRIDE(&bench->video, 0), plane = info.height * info.width;
    *off = *others = 0;
    for (gint y = 0; y < HEIGHT; ++y)
        for (gint x = 0; x < WIDTH; ++x)
            for (gint c = 0; c < 3; ++c) {
                const gint at = y * stride + 3 * x + c, u = x - part.x, v = y - part.y;
                const gboolean inside = u >= 0 && v >= 0 && u < part.width && v < part.height;
                if (!inside) *others += old.data[at] != new.data[at];
                else {
                    const gint channel = MIN(c, info.channels - 1) * plane;
                    const gfloat level = 255 * ((gfloat*)image.data)[channel + v * info.width + u];
                    *off += ABS(level - new.data[at]) > .51f;
                }
            }
    gst_buffer_unmap(buffer, &image);
    gst_buffer_unmap(before, &old);
    gst_buffer_unmap(after, &new);
    gst_buffer_unref(buffer);
}

static void test_overlay(void) {
    const puvae_region parts[] = {{6, 4, info.width, info.height}, {-8, 30, info.width, info.height}};
    for (guint i = 0; i < G_N_ELEMENTS(parts); ++i) {
        gchar* properties = g_strdup_printf("overlay=true roi=\"%d,%d,%d,%d\"", parts[i].x, parts[i].y, parts[i].width,
                                            parts[i].height);
        Bench bench = open_bench(properties);
        set_caps(&bench, "RGB", WIDTH, HEIGHT);
        GstBuffer* sent = picture(&bench, 1);
        GstBuffer* kept = gst_buffer_copy_deep(sent);
        GstBuffer* got = pushed(&bench, gst_buffer_ref(sent)); /* shared: the element has to leave this one alone */
        guint off, others;
        compare(&bench, kept, got, parts[i], &off, &others);
        g_assert_cmpuint(off, ==, 0);
        g_assert_cmpuint(others, ==, 0);
        GstMapInfo map;
        gst_buffer_map(kept, &map, GST_MAP_READ);
        g_assert_cmpint(gst_buffer_memcmp(sent, 0, map.data, map.size), ==, 0);
        gst_buffer_unmap(kept, &map);
        gst_buffer_unref(kept);
        gst_buffer_unref(got);
        gst_buffer_unref(sent);
        close_bench(&bench);
        g_free(properties);
    }
}

/* An overlay in another format shows nearly the same picture as in RGB: what is read back of it has the same label. */
static void test_overlay_formats(void) {
    gdouble levels[G_N_ELEMENTS(formats)];
    for (guint f = 0; f < G_N_ELEMENTS(formats); ++f) {
        Bench bench = open_bench("overlay=true");
        set_caps(&bench, formats[f], WIDTH, HEIGHT);
        GstBuffer* gray = gst_buffer_new_allocate(NULL, GST_VIDEO_INFO_SIZE(&bench.video), NULL);
        gst_buffer_memset(gray, 0, 128, GST_VIDEO_INFO_SIZE(&bench.video));
        GstBuffer* got = pushed(&bench, gray);
        GstVideoFrame mapped;
        gst_video_frame_map(&mapped, &bench.video, got, GST_MAP_READ);
        levels[f] = 0;
        for (gint y = 0; y < HEIGHT; ++y)
            for (gint x = 0; x < WIDTH; ++x) {
                const guint8* row =
                    (guint8*)GST_VIDEO_FRAME_PLANE_DATA(&mapped, 0) + y * GST_VIDEO_FRAME_PLANE_STRIDE(&mapped, 0);
                if (f < 2)
                    levels[f] +=
                        .299 * row[3 * x + (f ? 0 : 2)] + .587 * row[3 * x + 1] + .114 * row[3 * x + (f ? 2 : 0)];
                else levels[f] += f == 2 ? row[x] : (row[x] - 16) / .859;
            }
        levels[f] /= WIDTH * HEIGHT;
        gst_video_frame_unmap(&mapped);
        gst_buffer_unref(got);
        close_bench(&bench);
    }
    for (guint f = 1; f < G_N_ELEMENTS(formats); ++f) g_assert_cmpfloat_with_epsilon(levels[f], levels[0], 3);
}

static void test_roi_metas(void) {
    Bench bench = open_bench("roi-meta=true roi=\"ignored\"");
    set_caps(&bench, "BGR", WIDTH, HEIGHT);
    GstBuffer* buffer = picture(&bench, 2);
    const puvae_region parts[] = {{3, 5, 20, 20}, {30, 10, 34, 38}};
    for (guint i = 0; i < 2; ++i)
        gst_buffer_add_video_region_of_interest_meta(buffer, "sign", (guint)parts[i].x, (guint)parts[i].y,
                                                     (guint)parts[i].width, (guint)parts[i].height)
            ->id = 70 + (gint)i;
    gst_buffer_add_video_region_of_interest_meta(buffer, "far", G_MAXUINT, 0, 5, 5);
    GstBuffer* got = pushed(&bench, buffer);
    g_assert_cmpuint(regions(told_of(got)), ==, 3);
    for (guint i = 0; i < 2; ++i) {
        const puvae_result result = expected(&bench, got, parts[i]);
        same_region(region(told_of(got), i), &result);
        g_assert_cmpint(number(region(told_of(got), i), "roi-id"), ==, 70 + (gint)i);
    }
    g_assert_true(gst_structure_has_field(region(told_of(got), 2), "error"));
    gst_buffer_unref(got);
    got = pushed(&bench, picture(&bench, 3));
    g_assert_cmpuint(regions(told_of(got)), ==, 0); /* nothing was detected: nothing is purified */
    gst_buffer_unref(got);
    close_bench(&bench);
}

static void test_threads(void) {
    GString* many = g_string_new("roi=\"");
    for (guint i = 0; i < 20; ++i) g_string_append_printf(many, "%s%u,%u,%u,%u", i ? ";" : "", i, i, 20 + i, 24u);
    gchar* single = g_strdup_printf("threads=1 %s\"", many->str);
    gchar* several = g_strdup_printf("threads=5 %s\"", many->str);
    Bench one = open_bench(single), five = open_bench(several);
    set_caps(&one, "BGR", WIDTH, HEIGHT);
    set_caps(&five, "BGR", WIDTH, HEIGHT);
    for (guint seed = 0; seed < 5; ++seed) {
        GstBuffer* a = pushed(&one, picture(&one, seed));
        GstBuffer* b = pushed(&five, picture(&five, seed));
        g_assert_cmpuint(regions(told_of(a)), ==, 20);
        for (guint i = 0; i < 20; ++i) {
            gdouble x, y;
            g_assert_true(gst_structure_get_double(region(told_of(a), i), "score", &x));
            g_assert_true(gst_structure_get_double(region(told_of(b), i), "score", &y));
            g_assert_cmpfloat(x, ==, y);
            g_assert_cmpint(number(region(told_of(a), i), "x"), ==, (gint)i);
        }
        gst_buffer_unref(a);
        gst_buffer_unref(b);
    }
    close_bench(&one);
    close_bench(&five);
    g_free(single);
    g_free(several);
    g_string_free(many, TRUE);
}

static void test_bad_regions(void) {
    const gchar* malformed[] = {"1,2,3", "1,2,3,4;", "a", "1,2,3,4 ", "1,2,3,4;;"};
    for (guint i = 0; i < G_N_ELEMENTS(malformed); ++i) {
        Bench bench = open_bench("");
        gst_harness_set(bench.harness, "puvaepurify", "roi", malformed[i], NULL);
        set_caps(&bench, "BGR", WIDTH, HEIGHT);
        g_assert_cmpint(gst_harness_push(bench.harness, picture(&bench, 0)), ==, GST_FLOW_ERROR);
        complained(bench.bus, GST_MESSAGE_ERROR, "expected x,y,width,height");
        close_bench(&bench);
    }
    Bench bench = open_bench("roi=\"100,0,5,5;0,0,0,4;0,0,9,9\"");
    set_caps(&bench, "BGR", WIDTH, HEIGHT);
    for (guint seed = 0; seed < 2; ++seed) {
        GstBuffer* got = pushed(&bench, picture(&bench, seed));
        for (guint i = 0; i < 3; ++i) {
            const GstStructure* told = region(told_of(got), i);
            g_assert_cmpint(gst_structure_has_field(told, "error"), ==, i < 2);
            g_assert_cmpint(flag(told, "degraded"), ==, i < 2);
        }
        gst_buffer_unref(got);
    }
    complained(bench.bus, GST_MESSAGE_WARNING, "region: got");
    g_assert_null(gst_bus_pop_filtered(bench.bus, GST_MESSAGE_WARNING)); /* once for each caps */
    g_assert_cmpuint(counted(&bench, "failed"), ==, 4);
    close_bench(&bench);
}

static void test_bundles(void) {
    const gchar* wrong[] = {NULL, "/absent", g_get_tmp_dir(), g_getenv("PUVAE_FOREIGN")};
    for (guint i = 0; i < G_N_ELEMENTS(wrong); ++i) {
        GstElement* element = gst_element_factory_make("puvaepurify", NULL);
        GstBus* bus = gst_bus_new();
        gst_element_set_bus(element, bus);
        g_object_set(element, "bundle", wrong[i], NULL);
        g_assert_cmpint(gst_element_set_state(element, GST_STATE_PAUSED), ==, GST_STATE_CHANGE_FAILURE);
        complained(bus, GST_MESSAGE_ERROR, "bundle: ");
        gst_element_set_bus(element, NULL);
        gst_element_set_state(element, GST_STATE_NULL);
        gst_object_unref(element);
        gst_object_unref(bus);
    }
}

static void test_renegotiation(void) {
    Bench bench = open_bench("");
    const gint sizes[][2] = {{WIDTH, HEIGHT}, {200, 10}, {2, 2}, {31, 57}};
    for (guint i = 0; i < G_N_ELEMENTS(sizes); ++i) {
        set_caps(&bench, i == 2 ? "NV12" : formats[i % 3], sizes[i][0], sizes[i][1]);
        GstBuffer* got = pushed(&bench, picture(&bench, i));
        const puvae_result result = expected(&bench, got, (puvae_region){0, 0, sizes[i][0], sizes[i][1]});
        same_region(region(told_of(got), 0), &result);
        gst_buffer_unref(got);
    }
    GstCaps* odd = gst_caps_from_string("video/x-raw,format=NV12,width=31,height=57,framerate=30/1");
    GstCaps* template = gst_pad_query_caps(bench.harness->srcpad, NULL);
    GstCaps* peer = gst_pad_peer_query_caps(bench.harness->srcpad, NULL);
    g_assert_false(gst_caps_can_intersect(odd, peer)); /* libpuvae takes even sides of NV12 alone */
    gst_caps_unref(odd);
    gst_caps_unref(template);
    gst_caps_unref(peer);
    close_bench(&bench);
}

static GstEvent* pulled_event(Bench* bench, GstEventType type) {
    GstEvent* event;
    while ((event = gst_harness_try_pull_event(bench->harness)) != NULL && GST_EVENT_TYPE(event) != type)
        gst_event_unref(event);
    g_assert_nonnull(event);
    return event;
}

static void test_flush_and_eos(void) {
    Bench bench = open_bench("");
    set_caps(&bench, "BGR", WIDTH, HEIGHT);
    gst_buffer_unref(pushed(&bench, picture(&bench, 0)));
    g_assert_true(gst_harness_push_event(bench.harness, gst_event_new_flush_start()));
    g_assert_cmpint(gst_harness_push(bench.harness, picture(&bench, 1)), ==, GST_FLOW_FLUSHING);
    g_assert_true(gst_harness_push_event(bench.harness, gst_event_new_flush_stop(TRUE)));
    GstSegment segment;
    gst_segment_init(&segment, GST_FORMAT_TIME);
    segment.start = segment.time = 2 * GST_SECOND;
    g_assert_true(gst_harness_push_event(bench.harness, gst_event_new_segment(&segment)));
    GstBuffer* got = pushed(&bench, picture(&bench, 60));
    g_assert_cmpuint(regions(told_of(got)), ==, 1);
    gst_buffer_unref(got);
    g_assert_true(gst_harness_push_event(bench.harness, gst_event_new_eos()));
    gst_event_unref(pulled_event(&bench, GST_EVENT_EOS));
    close_bench(&bench);
}

static void test_qos(void) {
    Bench bench = open_bench("");
    set_caps(&bench, "BGR", WIDTH, HEIGHT);
    gst_buffer_unref(pushed(&bench, picture(&bench, 0)));
    /* The sink says that it is half a second late: what is due before that is not worth computing. */
    gst_harness_push_upstream_event(bench.harness, gst_event_new_qos(GST_QOS_TYPE_UNDERFLOW, 2, GST_SECOND / 2, 0));
    g_assert_cmpint(gst_harness_push(bench.harness, picture(&bench, 3)), ==, GST_FLOW_OK);
    g_assert_null(gst_harness_try_pull(bench.harness));
    gst_message_unref(message(&bench, GST_MESSAGE_QOS));
    gst_buffer_unref(pushed(&bench, picture(&bench, 40)));
    g_assert_cmpuint(counted(&bench, "frames"), ==, 2);
    close_bench(&bench);
}

static void test_deadline(void) {
    Bench bench = open_bench("deadline=100000000 overlay=true");
    gst_harness_use_testclock(bench.harness);
    set_caps(&bench, "BGR", WIDTH, HEIGHT);
    const GstClockTime late[] = {0, 100 * GST_MSECOND, 101 * GST_MSECOND};
    for (guint i = 0; i < G_N_ELEMENTS(late); ++i) {
        GstBuffer* sent = picture(&bench, i * 30);
        gst_harness_set_time(bench.harness, GST_BUFFER_PTS(sent) + late[i]);
        GstBuffer* kept = gst_buffer_copy_deep(sent);
        GstBuffer* got = pushed(&bench, sent);
        GstClockTime age;
        g_assert_true(gst_structure_get_clock_time(told_of(got), "age", &age));
        g_assert_cmpuint(age, ==, late[i]);
        g_assert_cmpint(flag(told_of(got), "skipped"), ==, i == 2);
        g_assert_cmpint(flag(told_of(got), "deadline-missed"), ==, i == 2);
        g_assert_cmpuint(regions(told_of(got)), ==, i == 2 ? 0 : 1);
        GstMapInfo map;
        gst_buffer_map(kept, &map, GST_MAP_READ);
        g_assert_cmpint(gst_buffer_memcmp(got, 0, map.data, map.size) == 0, ==, i == 2);
        gst_buffer_unmap(kept, &map);
        gst_buffer_unref(kept);
        gst_buffer_unref(got);
    }
    g_assert_cmpuint(counted(&bench, "skipped"), ==, 1);
    g_assert_cmpuint(counted(&bench, "deadline-missed"), ==, 1);
    close_bench(&bench);
}

static void test_messages(void) {
    Bench bench = open_bench("");
    set_caps(&bench, "BGR", WIDTH, HEIGHT);
    GstBuffer* got = pushed(&bench, picture(&bench, 30));
    GstMessage* posted = message(&bench, GST_MESSAGE_ELEMENT);
    const GstStructure* told = gst_message_get_structure(posted);
    g_assert_true(gst_structure_has_name(told, "puvaepurify"));
    GstClockTime stamp;
    g_assert_true(gst_structure_get_clock_time(told, "timestamp", &stamp));
    g_assert_cmpuint(stamp, ==, GST_SECOND);
    g_assert_cmpint(number(region(told, 0), "label"), ==, number(region(told_of(got), 0), "label"));
    g_assert_false(gst_structure_has_field(region(told, 0), "image"));
    gst_message_unref(posted);
    gst_buffer_unref(got);
    gst_harness_set(bench.harness, "puvaepurify", "post-messages", FALSE, NULL);
    gst_buffer_unref(pushed(&bench, picture(&bench, 31)));
    g_assert_null(gst_bus_pop_filtered(bench.bus, GST_MESSAGE_ELEMENT));
    close_bench(&bench);
}

/* A pipeline of the line, its bus in `bus`. */
static GstElement* pipeline(const gchar* line, GstBus** bus) {
    GError* error = NULL;
    GstElement* made = gst_parse_launch(line, &error);
    g_assert_no_error(error);
    *bus = gst_element_get_bus(made);
    return made;
}

/* The stream time of the next frame that was purified; an error ends the test. */
static GstClockTime next_frame(GstBus* bus) {
    GstMessage* got = gst_bus_timed_pop_filtered(bus, 20 * GST_SECOND, GST_MESSAGE_ELEMENT | GST_MESSAGE_ERROR);
    g_assert_nonnull(got);
    g_assert_cmpint(GST_MESSAGE_TYPE(got), ==, GST_MESSAGE_ELEMENT);
    GstClockTime stamp;
    g_assert_true(gst_structure_get_clock_time(gst_message_get_structure(got), "stream-time", &stamp));
    gst_message_unref(got);
    return stamp;
}

static void test_seek(void) {
    GstBus* bus;
    gchar* line = g_strdup_printf(
        "filesrc location=\"%s\" ! avidemux ! jpegdec ! videoconvert ! puvaepurify bundle=\"%s\" ! fakesink sync=true",
        g_getenv("PUVAE_CLIP"), g_getenv("PUVAE_BUNDLE"));
    GstElement* made = pipeline(line, &bus);
    gst_element_set_state(made, GST_STATE_PAUSED);
    g_assert_cmpint(gst_element_get_state(made, NULL, NULL, 20 * GST_SECOND), ==, GST_STATE_CHANGE_SUCCESS);
    g_assert_cmpuint(next_frame(bus), ==, 0);
    g_assert_true(
        gst_element_seek_simple(made, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE, GST_SECOND));
    g_assert_cmpint(gst_element_get_state(made, NULL, NULL, 20 * GST_SECOND), ==, GST_STATE_CHANGE_SUCCESS);
    g_assert_cmpuint(next_frame(bus) / GST_MSECOND, >=, 990);
    gst_element_set_state(made, GST_STATE_PLAYING);
    GstMessage* end = gst_bus_timed_pop_filtered(bus, 20 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    g_assert_nonnull(end);
    g_assert_cmpint(GST_MESSAGE_TYPE(end), ==, GST_MESSAGE_EOS);
    gst_message_unref(end);
    gst_element_set_state(made, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(made);
    g_free(line);
}

static glong resident_kb(void) {
    glong pages = 0;
    FILE* file = fopen("/proc/self/statm", "r");
    g_assert_cmpint(fscanf(file, "%*s %ld", &pages), ==, 1);
    fclose(file);
    return pages * 4;
}

static void test_soak(void) {
    const gint64 seconds = atol(g_getenv("PUVAE_SECONDS")), begin = g_get_monotonic_time();
    GstBus* bus;
    gchar* line = g_strdup_printf(
        "videotestsrc is-live=true pattern=smpte ! video/x-raw,format=NV12,width=640,height=480,framerate=30/1 "
        "! puvaepurify bundle=\"%s\" roi=\"10,10,100,100;200,50,64,64\" threads=2 overlay=true ! fakesink sync=true",
        g_getenv("PUVAE_BUNDLE"));
    GstElement* made = pipeline(line, &bus);
    gst_element_set_state(made, GST_STATE_PLAYING);
    glong early = 0;
    guint64 frames = 0;
    while (g_get_monotonic_time() - begin < seconds * G_USEC_PER_SEC) {
        next_frame(bus);
        if (++frames == 100) early = resident_kb();
    }
    g_assert_cmpuint(frames, >, 100);
    g_assert_cmpint(resident_kb() - early, <, 2048);
    gst_element_set_state(made, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(made);
    g_free(line);
}

int main(int count, char** arguments) {
    gst_init(&count, &arguments);
    g_test_init(&count, &arguments, NULL);
    g_test_add_func("/formats", test_formats);
    g_test_add_func("/overlay", test_overlay);
    g_test_add_func("/overlay-formats", test_overlay_formats);
    g_test_add_func("/roi-metas", test_roi_metas);
    g_test_add_func("/threads", test_threads);
    g_test_add_func("/bad-regions", test_bad_regions);
    g_test_add_func("/bundles", test_bundles);
    g_test_add_func("/renegotiation", test_renegotiation);
    g_test_add_func("/flush-and-eos", test_flush_and_eos);
    g_test_add_func("/qos", test_qos);
    g_test_add_func("/deadline", test_deadline);
    g_test_add_func("/messages", test_messages);
    g_test_add_func("/seek", test_seek);
    g_test_add_func("/soak", test_soak);
    gchar* file = g_build_filename(g_getenv("PUVAE_BUNDLE"), "engine.puvae", NULL);
    if (puvae_engine_open(file, NULL, &engine) != PUVAE_OK || puvae_context_open(engine, &context) != PUVAE_OK ||
        puvae_engine_get_info(engine, &info) != PUVAE_OK)
        g_error("%s", puvae_last_message());
    g_free(file);
    const int status = g_test_run();
    puvae_context_close(context);
    puvae_engine_close(engine);
    return status;
}
