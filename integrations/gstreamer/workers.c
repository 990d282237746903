/* Regions of a frame, computed side by side: each thread has a context, and takes the next region that nobody has. */
#include "puvaepurify.h"

struct PuvaeWorkers {
    puvae_engine* engine;
    puvae_engine_info info;
    puvae_context* contexts[PUVAE_MAX_THREADS];
    gfloat* scores[PUVAE_MAX_THREADS];
    guint threads;
    GThreadPool* pool; /* the threads beside the streaming thread; NULL when there are none */
    GMutex lock;
    GCond done;
    guint pending;
    const puvae_frame* frame;
    GArray* jobs;
    gint next;
};

static void run_job(PuvaeWorkers* workers, guint thread, PuvaeJob* job) {
    const puvae_engine_info* info = &workers->info;
    job->image = g_new(gfloat, (gsize)info->channels * (gsize)info->height * (gsize)info->width);
    job->result.struct_size = sizeof job->result;
    job->result.image = job->image;
    job->result.score = workers->scores[thread];
    job->status = puvae_run(workers->contexts[thread], workers->frame, &job->region, 1, &job->result);
    job->result.image = job->result.score = NULL;
    if (job->status != PUVAE_OK) {
        job->error = g_strdup(puvae_last_message());
        job->result.projected = job->result.label = -1;
        job->result.degraded = 1;
    }
    if (job->result.degraded) g_clear_pointer(&job->image, g_free);
    else job->score = workers->scores[thread][job->result.projected];
}

static void run_share(PuvaeWorkers* workers, guint thread) {
    guint index;
    while ((index = (guint)g_atomic_int_add(&workers->next, 1)) < workers->jobs->len)
        run_job(workers, thread, &g_array_index(workers->jobs, PuvaeJob, index));
}

static void run_in_pool(gpointer number, gpointer data) {
    PuvaeWorkers* workers = data;
    run_share(workers, GPOINTER_TO_UINT(number));
    g_mutex_lock(&workers->lock);
    if (--workers->pending == 0) g_cond_signal(&workers->done);
    g_mutex_unlock(&workers->lock);
}

void puvae_workers_run(PuvaeWorkers* workers, const puvae_frame* frame, GArray* jobs) {
    if (jobs->len == 0) return;
    workers->frame = frame;
    workers->jobs = jobs;
    workers->next = 0;
    workers->pending = MIN(workers->threads, jobs->len) - 1;
    for (guint helpers = workers->pending, i = 1; i <= helpers; ++i)
        g_thread_pool_push(workers->pool, GUINT_TO_POINTER(i), NULL);
    run_share(workers, 0);
    g_mutex_lock(&workers->lock);
    while (workers->pending > 0) g_cond_wait(&workers->done, &workers->lock);
    g_mutex_unlock(&workers->lock);
}

/* Contexts and threads; FALSE when there is no memory or no thread left. */
static gboolean open_threads(PuvaeWorkers* workers, guint threads) {
    for (workers->threads = 0; workers->threads < threads; ++workers->threads) {
        if (puvae_context_open(workers->engine, &workers->contexts[workers->threads]) != PUVAE_OK) return FALSE;
        workers->scores[workers->threads] = g_new0(gfloat, (gsize)workers->info.classes);
    }
    if (threads > 1) workers->pool = g_thread_pool_new(run_in_pool, workers, (gint)threads - 1, TRUE, NULL);
    return TRUE;
}

PuvaeWorkers* puvae_workers_open(const gchar* engine, guint threads) {
    PuvaeWorkers* workers = g_new0(PuvaeWorkers, 1);
    g_mutex_init(&workers->lock);
    g_cond_init(&workers->done);
    workers->info.struct_size = sizeof workers->info;
    if (puvae_engine_open(engine, NULL, &workers->engine) != PUVAE_OK ||
        puvae_engine_get_info(workers->engine, &workers->info) != PUVAE_OK || !open_threads(workers, threads)) {
        puvae_workers_close(workers);
        return NULL;
    }
    return workers;
}

void puvae_workers_close(PuvaeWorkers* workers) {
    if (workers->pool != NULL) g_thread_pool_free(workers->pool, FALSE, TRUE);
    for (guint i = 0; i < PUVAE_MAX_THREADS; ++i) {
        puvae_context_close(workers->contexts[i]);
        g_free(workers->scores[i]);
    }
    puvae_engine_close(workers->engine);
    g_mutex_clear(&workers->lock);
    g_cond_clear(&workers->done);
    g_free(workers);
}

const puvae_engine_info* puvae_workers_info(const PuvaeWorkers* workers) { return &workers->info; }

const gchar* puvae_workers_class_name(const PuvaeWorkers* workers, gint index) {
    return puvae_engine_class_name(workers->engine, index);
}
