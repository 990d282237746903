/* The parts of the element: workers that run the regions of a frame, patches drawn into it, and the report of it. */
#pragma once

#include <gst/video/video.h>
#include <puvae.h>

#define PUVAE_MAX_THREADS 16

/* One region of a frame, and what became of it. */
typedef struct {
    gint roi; /* the id of the GstVideoRegionOfInterestMeta that it comes from, -1 without one */
    puvae_region region;
    puvae_status status;
    gchar* error;  /* the library's sentence when `status` is not PUVAE_OK */
    gfloat* image; /* [channels][height][width] in [0,1]; NULL when it failed or is degraded */
    gfloat score;  /* of the class that was chosen */
    puvae_result result;
} PuvaeJob;

/* A GArray of PuvaeJob that frees what they own. */
GArray* puvae_jobs_new(void);
void puvae_jobs_add(GArray* jobs, gint roi, puvae_region region);
/* The regions "x,y,width,height;..."; FALSE for anything else. */
gboolean puvae_jobs_parse(GArray* jobs, const gchar* roi);
/* The regions that upstream attached as GstVideoRegionOfInterestMeta. */
void puvae_jobs_add_metas(GArray* jobs, GstBuffer* buffer);

/* An open engine, and a thread with a context of its own for each region that is computed at once. */
typedef struct PuvaeWorkers PuvaeWorkers;

/* NULL on failure: puvae_last_message() says why. */
PuvaeWorkers* puvae_workers_open(const gchar* engine, guint threads);
void puvae_workers_close(PuvaeWorkers* workers);
void puvae_workers_run(PuvaeWorkers* workers, const puvae_frame* frame, GArray* jobs);
const puvae_engine_info* puvae_workers_info(const PuvaeWorkers* workers);
const gchar* puvae_workers_class_name(const PuvaeWorkers* workers, gint index);

/* Draws an image of the model over a region of a frame that is mapped for writing. */
void puvae_patch_draw(GstVideoFrame* frame, const puvae_region* region, const gfloat* image,
                      const puvae_engine_info* info);

/* What is told of a frame, apart from its regions. */
typedef struct {
    GstClockTime age; /* from the buffer's time stamp to its label; GST_CLOCK_TIME_NONE without a clock or a stamp */
    gboolean skipped; /* it came too late to be worth computing */
    gboolean deadline_missed;
} PuvaeTimes;

#define PUVAE_META_NAME "GstPuvaeMeta"

/* Registers the GstCustomMeta; once. */
void puvae_report_register(void);
/* Attaches the meta to a writable buffer; the images of the jobs go with it. */
void puvae_report_attach(GstBuffer* buffer, const PuvaeTimes* times, GArray* jobs, const PuvaeWorkers* workers);
/* The same as an element message, without the images. */
GstMessage* puvae_report_message(GstElement* element, GstBuffer* buffer, const GstSegment* segment,
                                 const PuvaeTimes* times, GArray* jobs, const PuvaeWorkers* workers);
