/* test_threads.c - the pool, the count of CPUs and the system below them, from
 * outside and inside.
 *
 * The sources are included, so that their private parts can be reached and
 * thread creation and allocation made to fail.
 */
#ifndef _WIN32
#define _GNU_SOURCE
#endif
#include "host/posix.c"
#include "host/windows.c"

static int create_budget = 1 << 30, memory_budget = 1 << 30;

static int limited_start(fm_thread *thread, void (*task)(void *), void *arg)
{
    return create_budget-- > 0 ? fm_thread_start(thread, task, arg) : 0;
}

static void *limited_alloc(size_t alignment, size_t bytes)
{
    return memory_budget-- > 0 ? fm_aligned_alloc(alignment, bytes) : NULL;
}

/* The CPU that a thread says it is on, and the sets that it asked for; from 0 on, pretended. */
static _Thread_local int pretended_cpu = -1;
static fm_cpu_set asked[4];
static int n_asked;

static int pretending_cpu(void) { return pretended_cpu < 0 ? fm_current_cpu() : pretended_cpu; }

static void pretending_move(const fm_cpu_set *cpus)
{
    if (pretended_cpu < 0)
        fm_set_affinity(cpus);
    else if (n_asked < 4)
        asked[n_asked++] = *cpus;
}

#undef FM_JUDGED_NS /* as it is */
#define fm_thread_start limited_start
#define fm_aligned_alloc limited_alloc
#define fm_current_cpu pretending_cpu
#define fm_set_affinity pretending_move
#include "host/threads.c"
#undef fm_thread_start
#undef fm_aligned_alloc
#undef fm_current_cpu
#undef fm_set_affinity
#include "host/cpus.c"

#include "check.h"
#ifndef _WIN32
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#endif

#ifdef THREAD_SANITIZER
#define SLOW 20
#else
#define SLOW 1
#endif

static void sleep_us(long us)
{
#ifdef _WIN32 /* which sleeps for milliseconds */
    for (const int64_t start = fm_now_ns(); us < 1000 && fm_now_ns() - start < 1000 * us;)
        fm_yield();
    if (us < 1000)
        return;
#endif
    nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, NULL);
}

/* Each member writes its own slot, then reads everybody's; nothing but barriers
 * keeps them apart. */
typedef struct {
    int n_barriers, size, sleeper;
    int slot[FM_MAX_THREADS];
} exchange;

static void exchange_task(void *arg, fm_team *team, int rank, int size)
{
    exchange *x = arg;
    if (rank == 0)
        x->size = size;
    for (int i = 1; i <= x->n_barriers; i++) {
        if (x->sleeper == rank && i % 4 == 0)
            sleep_us(1000);
        x->slot[rank] = i;
        fm_barrier(team);
        for (int r = 0; r < size; r++)
            CHECK(x->slot[r] == i);
        fm_barrier(team);
    }
}

static int run_exchange(int size, int n_barriers, int sleeper)
{
    exchange x = {.n_barriers = n_barriers, .sleeper = sleeper};
    int used = fm_parallel(size, exchange_task, &x);
    CHECK(used == x.size && used >= 1 && used <= (size < 1 ? 1 : size));
    for (int r = 0; r < FM_MAX_THREADS; r++)
        CHECK(x.slot[r] == (r < used ? n_barriers : 0));
    return used;
}

static void barriers(void)
{
    CHECK(run_exchange(-1, 3, -1) == 1);
    CHECK(run_exchange(0, 3, -1) == 1);
    for (int size = 1; size <= 8; size++)
        CHECK(run_exchange(size, 400 / SLOW, -1) == size);
}

static void regions_of_every_size(void)
{
    for (int i = 0; i < 2000 / SLOW; i++)
        CHECK(run_exchange(1 + i * 5 % 8, i % 3, -1) == 1 + i * 5 % 8);
}

static void big_teams(void)
{
    CHECK(run_exchange(64, 3, -1) == 64);
    CHECK(run_exchange(255, 2, -1) == 255);
    CHECK(run_exchange(256, 2, -1) == 256);
    CHECK(run_exchange(1000000, 2, -1) == FM_MAX_THREADS);
    CHECK(run_exchange(3, 10, -1) == 3);
}

/* A member that comes late sends the others to sleep in every place where one can. */
static void latecomers(void)
{
    for (int size = 2; size <= 5; size++)
        for (int sleeper = 0; sleeper < size; sleeper++) {
            CHECK(run_exchange(size, 12, sleeper) == size);
            sleep_us(1000); /* and the workers until the next region */
        }
}

static void numbers_beyond_32_bits(void)
{
    const uint64_t from[] = {INT32_MAX / 2, INT32_MAX, UINT32_MAX, 1ull << 53}; /* ascending */
    run_exchange(5, 1, -1);
    for (size_t i = 0; i < sizeof(from) / sizeof(*from); i++) {
        pool.member[0]->barriers = from[i] - 50;
        for (int size = 2; size <= 5; size++)
            CHECK(run_exchange(size, 50, i % 2 ? 1 : -1) == size);
        CHECK(pool.member[0]->barriers == from[i] - 50 + 400);
    }
    stop_if_idle();
}

/* ------------------------------------------------------- several callers */

static void inner_task(void *arg, fm_team *team, int rank, int size)
{
    fm_barrier(team);
    CHECK(rank == 0 && size == 1);
    ++*(int *)arg;
}

static void outer_task(void *arg, fm_team *team, int rank, int size)
{
    int *count = arg;
    CHECK(size == 3);
    CHECK(fm_parallel(3, inner_task, &count[rank]) == 1);
    fm_barrier(team);
    CHECK(count[0] + count[1] + count[2] == 3);
}

/* A team of two that has run for ten seconds: its leader waited so long, or did not run. */
static int lags(double late, double idle)
{
    const int64_t s = 1000000000;
    fm_team leader = {.size = 2,
                      .since = fm_now_ns() - 10 * s,
                      .cpu_since = fm_thread_ns() - (int64_t)((10 - idle) * s),
                      .late = (int64_t)(late * s)};
    const int result = fm_team_lags(&leader);
    CHECK(leader.late == 0 && fm_now_ns() - leader.since < 10 * s);
    return result;
}

static void lagging_teams(void)
{
    fm_team alone = {.size = 1, .late = 1};
    CHECK(!fm_team_lags(&alone) && !fm_teams_lag());
    CHECK(!lags(0, 0) && !lags(3, 0) && !lags(0, 3) && !lags(3, 3) && !fm_teams_lag());
    CHECK(lags(6, 0) && lags(0, 6) && rest.until > 0 && rest.length == 4 * SHORTEST_REST_NS);
    for (int i = 0; i < 20; i++)
        CHECK(lags(9, 9));
    CHECK(rest.length >= LONGEST_REST_NS && rest.length < 2 * LONGEST_REST_NS);
    CHECK(rest.until - fm_now_ns() <= rest.length);
    for (int i = 0; i < 20; i++)
        CHECK(!lags(0, 0));
    CHECK(rest.length == SHORTEST_REST_NS);
    begin_rest(fm_now_ns());
    shorten_rest(PROOF_NS - 1);
    begin_rest(fm_now_ns());
    shorten_rest(1); /* what was before counts no more */
    shorten_rest(PROOF_NS - 2);
    CHECK(rest.length == 4 * SHORTEST_REST_NS);
    shorten_rest(1);
    CHECK(rest.length == 2 * SHORTEST_REST_NS);
    shorten_rest(PROOF_NS);
    CHECK(rest.length == SHORTEST_REST_NS);
    rest.until = fm_now_ns() + LONGEST_REST_NS * (int64_t)1000;
    CHECK(fm_teams_lag());
    rest.until = fm_now_ns() - 1;
    CHECK(!fm_teams_lag());
    rest.until = 0;
}

static void nested(void)
{
    int count[3] = {0};
    CHECK(fm_parallel(3, outer_task, count) == 3);
}

/* Relaxed, so that nothing but the pool orders what its users do. */
#define GET(variable) atomic_load_explicit(&variable, memory_order_relaxed)
#define SET(variable, value) atomic_store_explicit(&variable, value, memory_order_relaxed)
static atomic_int stop, solo_runs, team_runs;

static void caller(void *arg)
{
    while (!GET(stop)) {
        const int alone = run_exchange(*(int *)arg, 5, -1) == 1;
        atomic_fetch_add_explicit(alone ? &solo_runs : &team_runs, 1, memory_order_relaxed);
    }
}

static void several_callers(void)
{
    fm_thread thread[4];
    int size[4] = {2, 3, 4, 5};
    SET(stop, 0);
    for (int i = 0; i < 4; i++)
        CHECK(fm_thread_start(&thread[i], caller, &size[i]));
    while (GET(solo_runs) < 50 || GET(team_runs) < 50)
        sleep_us(1000);
    SET(stop, 1);
    for (int i = 0; i < 4; i++)
        fm_thread_join(&thread[i]);
    CHECK(run_exchange(4, 20, -1) == 4);
}

/* Work that whoever comes takes from a counter. */
typedef struct {
    int n, is_over;
    long leader_sleeps;
    atomic_int next, finished, helpers;
} pile;

static void pile_task(void *arg, fm_team *team, int rank, int size)
{
    pile *p = arg;
    CHECK(!p->is_over && rank < size);
    atomic_fetch_add(&p->helpers, rank > 0);
    if (rank == 0 && p->leader_sleeps)
        sleep_us(p->leader_sleeps);
    while (atomic_fetch_add(&p->next, 1) < p->n)
        atomic_fetch_add(&p->finished, 1);
    if (rank == 0)
        fm_await(team, &p->finished, p->n);
}

static int run_pile(int size, int wake, long leader_sleeps)
{
    pile p = {.n = 20, .leader_sleeps = leader_sleeps};
    atomic_store(&rest.until, 0);
    fm_parallel_loosely(size, wake, pile_task, &p);
    CHECK(p.finished == p.n && p.helpers < size);
    p.is_over = 1; /* for a worker that comes too late all the same */
    return p.helpers;
}

static void loose_teams(void)
{
    for (int i = 0; i < 4000 / SLOW; i++) {
        run_pile(1 + i % 5, i % 3 == 0, 0);
        if (i % 100 == 0)
            sleep_us(i % 200 ? 3000 : 300);
        if (i % 50 == 0)
            CHECK(run_exchange(4, 3, -1) == 4);
    }
    CHECK(run_pile(1, 1, 0) == 0);
}

static void sleepers_help_if_calls_are_close(void)
{
    int helpers = 0;
    sleep_us(20000);
    CHECK(run_pile(3, 0, 5000) == 0); /* they slept, and a call stands alone */
    sleep_us(20000);
    CHECK(run_pile(3, 0, 5000) == 0);
    for (int i = 0; i < 1000 && helpers == 0; i++)
        helpers += run_pile(3, 0, 300);
    CHECK(helpers > 0);
    sleep_us(20000);
    for (helpers = 0; helpers == 0;)
        helpers += run_pile(3, 1, 300); /* woken for the call itself */
}

/* A leader that waits and asks, in regions much shorter than what is judged at once. */
static void waiting_task(void *arg, fm_team *team, int rank, int size)
{
    int *lagged = arg;
    (void)size;
    if (rank > 0)
        return;
    const int64_t start = fm_now_ns();
    sleep_us(FM_JUDGED_NS / 20000);
    team->late += fm_now_ns() - start;
    *lagged |= fm_team_lags(team);
}

static void short_regions_are_judged_together(void)
{
    int lagged = 0;
    pool.calls_in_vain = 0;
    for (int i = 0; i < 40 && !lagged; i++) {
        CHECK(fm_parallel(2, waiting_task, &lagged) == 2);
        CHECK(pool.member[0]->since <= 0 && pool.member[0]->cpu_since <= 0);
    }
    CHECK(lagged && fm_teams_lag());
    rest.until = 0;
    rest.length = SHORTEST_REST_NS;
    const int64_t taken = -pool.member[0]->since;
    sleep_us(5000); /* what passes between them is not judged */
    const int64_t start = fm_now_ns();
    run_exchange(2, 1, -1);
    CHECK(-pool.member[0]->since - taken <= fm_now_ns() - start);
}

static void waiting_begins_a_rest(void)
{
    fm_team leader = {.size = 2};
    atomic_int number = 0;
    fm_await(&leader, &number, 0);
    CHECK(leader.late == 0);
    atomic_store(&rest.until, 0);
    CHECK(!fm_teams_lag());
    begin_rest(fm_now_ns() + 1000000000);
    CHECK(fm_teams_lag());
    pile p = {.n = 5};
    fm_parallel_loosely(3, 0, pile_task, &p);
    CHECK(p.finished == 5 && p.helpers == 0);
    atomic_store(&rest.until, 0);
}

static void calls_in_vain_begin_a_rest(void)
{
    const int64_t now = fm_now_ns();
    atomic_store(&rest.length, SHORTEST_REST_NS);
    atomic_store(&rest.until, 0);
    pool.calls_in_vain = 0;
    for (int i = 1; i < PATIENCE_CALLS; i++)
        judge_loosely(now, now, 0, 2, i % 2);
    CHECK(!fm_teams_lag());
    judge_loosely(now, now, 0, 2, 2);
    for (int i = 0; i < PATIENCE_CALLS; i++)
        judge_loosely(now, now + 1000000000, 0, 2, 1);
    CHECK(fm_teams_lag() && atomic_load(&rest.length) == 2 * SHORTEST_REST_NS);
    judge_loosely(now - PROOF_NS, now, 0, 0, 0);
    judge_loosely(now - PROOF_NS + 1, now, 0, 2, 2);
    CHECK(atomic_load(&rest.length) == 2 * SHORTEST_REST_NS);
    judge_loosely(now - 1, now, 0, 2, 2);
    CHECK(atomic_load(&rest.length) == SHORTEST_REST_NS);
    judge_loosely(now, now + 2000000000, PATIENCE_NS + 1, 2, 2);
    CHECK(atomic_load(&rest.until) > now + 2000000000);
    atomic_store(&rest.until, 0);
}

/* ------------------------------------------------------------------ fork */

#ifndef _WIN32
static void expect_success(pid_t child)
{
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#ifdef __linux__
static int n_threads_of_process(void)
{
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(tasks));)
        n += entry->d_name[0] != '.';
    closedir(tasks);
    return n;
}

static void pool_goes_home_before_fork(void)
{
    run_exchange(4, 5, -1);
    int n = n_threads_of_process(); /* a sanitizer may have one of its own */
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    expect_success(child);
    /* A joined thread is gone from the list at once or soon. */
    while (n_threads_of_process() > n - 3)
        sleep_us(100);
}
#endif

static void fork_of_idle(void)
{
    CHECK(run_exchange(4, 20, -1) == 4);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        CHECK(run_exchange(4, 20, -1) == 4);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            CHECK(run_exchange(6, 20, -1) == 6);
            _exit(0);
        }
        expect_success(grandchild);
        CHECK(run_exchange(3, 20, -1) == 3);
        _exit(0);
    }
    CHECK(run_exchange(5, 20, -1) == 5);
    expect_success(child);
}

/* The child is born at any moment of somebody else's regions: while workers are
 * started, sleep, wake one another or hold a gate's mutex. */
static void fork_while_busy(void)
{
    fm_thread thread[2];
    int size[2] = {3, 4};
    SET(stop, 0);
    for (int i = 0; i < 2; i++)
        CHECK(fm_thread_start(&thread[i], caller, &size[i]));
    for (int i = 0; i < 100 / SLOW; i++) {
        sleep_us(i * 37 % 500);
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            CHECK(run_exchange(4, 20, -1) == 4);
            CHECK(run_exchange(2, 20, i % 2) == 2);
            _exit(0);
        }
        expect_success(child);
    }
    SET(stop, 1);
    for (int i = 0; i < 2; i++)
        fm_thread_join(&thread[i]);
    CHECK(run_exchange(4, 20, -1) == 4);
}

#endif

/* ---------------------------------------------------------------- the system */

static void aligned_memory(void)
{
    for (size_t alignment = sizeof(void *); alignment <= 4096; alignment *= 2) {
        char *memory = fm_aligned_alloc(alignment, 1000);
        CHECK(memory && (uintptr_t)memory % alignment == 0);
        memset(memory, 1, 1000);
        fm_aligned_free(memory);
    }
#ifndef INSTRUMENTED /* sanitizers end the program */
    CHECK(!fm_aligned_alloc(64, PTRDIFF_MAX / 2));
#endif
    fm_aligned_free(NULL);
}

static void clocks(void)
{
    const int64_t now = fm_now_ns(), run = fm_thread_ns();
    sleep_us(30000);
    const int64_t passed = fm_now_ns() - now;
    CHECK(passed >= 29000000 && passed < 30000000000);
    CHECK(fm_thread_ns() - run >= 0 && fm_thread_ns() - run <= fm_now_ns() - now);
}

/* What is handed over is behind a monitor only. */
typedef struct {
    fm_monitor monitor;
    int turn, given;
} handover;

static void take_turns(handover *h, int me, int n)
{
    for (int i = 0; i < n; i++) {
        fm_monitor_enter(&h->monitor);
        while (h->turn != me)
            fm_monitor_wait(&h->monitor);
        h->given++;
        h->turn = !me;
        fm_monitor_signal(&h->monitor);
        fm_monitor_leave(&h->monitor);
    }
}

enum { N_TURNS = 500 };

static void other_side(void *arg) { take_turns(arg, 1, N_TURNS); }

static void system_layer(void)
{
    aligned_memory();
    clocks();
    handover h = {.turn = 0};
    fm_thread thread;
    fm_monitor_init(&h.monitor);
    CHECK(fm_thread_start(&thread, other_side, &h));
    take_turns(&h, 0, N_TURNS);
    fm_thread_join(&thread);
    CHECK(h.given == 2 * N_TURNS && h.turn == 0);
    fm_monitor_destroy(&h.monitor);
}

/* ----------------------------------------------------- failures and manners */

static void failures_make_the_team_smaller(void)
{
    stop_if_idle();
    create_budget = 0;
    CHECK(run_exchange(4, 5, -1) == 1);
    create_budget = 2;
    CHECK(run_exchange(6, 5, -1) == 3);
    create_budget = 1;
    CHECK(run_exchange(6, 5, -1) == 4);
    create_budget = 1 << 30;
    CHECK(run_exchange(6, 5, -1) == 6);

    stop_if_idle();
    memory_budget = 0;
    CHECK(run_exchange(4, 5, -1) == 1);
    memory_budget = 3;
    CHECK(run_exchange(4, 5, -1) == 3);
    memory_budget = 1 << 30;
    CHECK(run_exchange(4, 5, -1) == 4);
}

#ifndef _WIN32
static void mask_task(void *arg, fm_team *team, int rank, int size)
{
    (void)team, (void)size;
    pthread_sigmask(SIG_SETMASK, NULL, (sigset_t *)arg + rank);
}

static void workers_block_signals(void)
{
    stop_if_idle();
    sigset_t mask[4];
    const int signals[] = {SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGCHLD, SIGPROF};
    CHECK(fm_parallel(4, mask_task, mask) == 4);
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        for (int rank = 0; rank < 4; rank++)
            CHECK(sigismember(&mask[rank], signals[i]) == (rank > 0));
}

static atomic_int faults_seen;

static void see_fault(int signal)
{
    (void)signal;
    atomic_fetch_add(&faults_seen, 1);
}

static void raise_task(void *arg, fm_team *team, int rank, int size)
{
    (void)team, (void)size;
    if (rank > 0)
        raise(*(int *)arg);
}

static void workers_show_their_faults(void)
{
    int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        struct sigaction before, action = {.sa_handler = see_fault};
        CHECK(!sigaction(signals[i], &action, &before));
        atomic_store(&faults_seen, 0);
        CHECK(fm_parallel(3, raise_task, &signals[i]) == 3);
        CHECK(atomic_load(&faults_seen) == 2);
        CHECK(!sigaction(signals[i], &before, NULL));
    }
}
#endif

#ifdef __linux__
static void affinity_task(void *arg, fm_team *team, int rank, int size)
{
    (void)team, (void)size;
    cpu_set_t *mask = (cpu_set_t *)arg + rank;
    CHECK(!sched_getaffinity(0, sizeof(*mask), mask));
}

static void expect_workers_on(const cpu_set_t *cpus)
{
    cpu_set_t mask[3];
    CHECK(!sched_setaffinity(0, sizeof(*cpus), cpus));
    CHECK(fm_parallel(3, affinity_task, mask) == 3);
    for (int rank = 0; rank < 3; rank++)
        CHECK(CPU_EQUAL(&mask[rank], cpus));
}

/* Also those hired later, and those that a team in between had no use for. */
static void workers_follow_their_leader(void)
{
    cpu_set_t all, one, mask[3];
    CHECK(!sched_getaffinity(0, sizeof(all), &all));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    stop_if_idle();
    CHECK(!sched_setaffinity(0, sizeof(one), &one));
    CHECK(fm_parallel(2, affinity_task, mask) == 2 && CPU_EQUAL(&mask[1], &one));
    expect_workers_on(&all);
    CHECK(!sched_setaffinity(0, sizeof(one), &one));
    CHECK(fm_parallel(2, affinity_task, mask) == 2 && CPU_EQUAL(&mask[1], &one));
    expect_workers_on(&one);
    expect_workers_on(&all);
}

enum { TOLD, AT_CALL, AT_BARRIER };

/* Both say that they are on the CPU `first`; at a barrier for which the worker waits for long, only
 * from then on. */
static int first, found[2], stage;

static void shared_cpu_task(void *arg, fm_team *team, int rank, int size)
{
    (void)arg, (void)size;
    if (stage == AT_BARRIER) {
        sleep_us(rank == 0 ? 20000 : 0);
        pretended_cpu = first;
        if (rank == 0)
            atomic_store(&team->cpu, first);
        fm_barrier(team);
    }
    pretended_cpu = stage == TOLD ? first : -1;
    found[rank] = team->cpu;
}

static void run_on_shared_cpu(int next)
{
    stage = next;
    n_asked = 0;
    CHECK(fm_parallel(2, shared_cpu_task, NULL) == 2);
}

static void expect_a_move(void)
{
    CHECK(n_asked == 2 && found[0] == first && found[1] == first);
    fm_cpu_set others = pool.cpus;
    CHECK(others.bits[first / 64] >> first % 64 & 1);
    others.bits[first / 64] -= (uint64_t)1 << first % 64;
    CHECK(!memcmp(&asked[0], &others, sizeof(others)));
    CHECK(!memcmp(&asked[1], &pool.cpus, sizeof(others)));
}

static void workers_leave_a_shared_cpu(void)
{
    cpu_set_t all;
    CHECK(!sched_getaffinity(0, sizeof(all), &all));
    for (first = 0; !CPU_ISSET(first, &all);)
        first++;
    atomic_store(&rest.length, SHORTEST_REST_NS);
    run_on_shared_cpu(TOLD);
    run_on_shared_cpu(AT_CALL);
    expect_a_move();
    run_on_shared_cpu(AT_BARRIER);
    expect_a_move();
    run_on_shared_cpu(TOLD);
    atomic_store(&rest.length, 4 * SHORTEST_REST_NS); /* teams do badly in any case */
    run_on_shared_cpu(AT_CALL);
    CHECK(n_asked == 0);
    atomic_store(&rest.length, SHORTEST_REST_NS);
    expect_workers_on(&all);
}
#endif

static void idle_pool_sleeps(void)
{
    CHECK(run_exchange(8, 10, -1) == 8);
    sleep_us(20000); /* to fall asleep in */
    double before = cpu_seconds();
    sleep_us(300000);
    CHECK(cpu_seconds() - before < 0.03);
}

/* -------------------------------------------------------------------- cpus */

static int threads_within(int limit)
{
    fm_limit_num_threads(limit);
    return fm_get_num_threads();
}

static void numbers_of_threads(void)
{
    CHECK(fm_system_cpus() >= 1);
    const int all = threads_within(0);
    CHECK(all >= 1 && all <= FM_MAX_THREADS);
    CHECK(threads_within(1) == 1);
    CHECK(threads_within(1000000) == all && threads_within(-1) == all);

    CHECK(threads_within(1) == 1);
    fm_set_num_threads(7);
    CHECK(fm_get_num_threads() == 7);
    fm_set_num_threads(1000000);
    CHECK(fm_get_num_threads() == FM_MAX_THREADS);
    fm_set_num_threads(-3);
    CHECK(fm_get_num_threads() == 1); /* the limit is kept */
    CHECK(threads_within(0) == all);
}

#ifdef __linux__
static void affinity(void)
{
    cpu_set_t all, one;
    CHECK(!sched_getaffinity(0, sizeof(all), &all));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    CHECK(fm_system_cpus() == CPU_COUNT(&all));
    CHECK(!sched_setaffinity(0, sizeof(one), &one));
    CHECK(fm_system_cpus() == 1 && threads_within(0) == 1);
    CHECK(!sched_setaffinity(0, sizeof(all), &all));
    fm_set_num_threads(0);
}

static char tree[] = "/tmp/fastmlp-cgroup-XXXXXX";

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof(full), "%s%s", tree, path);
    for (char *slash = full + strlen(tree); (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    CHECK(file && fputs(text, file) >= 0 && !fclose(file));
}

static void control_groups(void)
{
    CHECK(mkdtemp(tree));
    CHECK(quota_cpus(tree) == 0); /* no /proc */
    put("/proc/self/cgroup", "0::/\n");
    CHECK(quota_cpus(tree) == 0); /* no files */

    /* Version 2: the tightest group on the way up, rounded up. */
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    CHECK(quota_cpus(tree) == 0);
    put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    CHECK(quota_cpus(tree) == 2);
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    CHECK(quota_cpus(tree) == 2);
    put("/sys/fs/cgroup/cpu.max", "1000 100000\n");
    CHECK(quota_cpus(tree) == 1);
    put("/sys/fs/cgroup/cpu.max", "99999999900000 100000\n");
    CHECK(quota_cpus(tree) == FM_MAX_THREADS);
    put("/sys/fs/cgroup/cpu.max", "700000 100000\n");
    put("/proc/self/cgroup", "0::/a.slice/b.service/missing\n");
    CHECK(quota_cpus(tree) == 7);
    put("/sys/fs/cgroup/a.slice/cpu.max", "250000 100000\n");
    CHECK(quota_cpus(tree) == 3);
    put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
    CHECK(quota_cpus(tree) == 3);
    put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "50000 50000\n");
    CHECK(quota_cpus(tree) == 1);

    /* Version 1: only the line of the cpu controller counts. */
    put("/proc/self/cgroup", "3:cpuset:/x\n2:cpuacct,cpu:/y\n1:name=systemd:/x\nnonsense\n");
    CHECK(quota_cpus(tree) == 0);
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "100000\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    CHECK(quota_cpus(tree) == 0);
    put("/sys/fs/cgroup/cpu/y/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/y/cpu.cfs_period_us", "100000\n");
    CHECK(quota_cpus(tree) == 0);
    put("/sys/fs/cgroup/cpu/y/cpu.cfs_quota_us", "350000\n");
    CHECK(quota_cpus(tree) == 4);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
    CHECK(quota_cpus(tree) == 4);
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    CHECK(quota_cpus(tree) == 2);
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "0\n");
    CHECK(quota_cpus(tree) == 4);
    put("/sys/fs/cgroup/cpu/y/cpu.cfs_quota_us", "garbage\n");
    CHECK(quota_cpus(tree) == 0);

    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", tree);
    CHECK(system(command) == 0);
}
#endif

int main(void)
{
    RUN(barriers);
    RUN(regions_of_every_size);
    RUN(latecomers);
    RUN(big_teams);
    RUN(numbers_beyond_32_bits);
    RUN(lagging_teams);
    RUN(short_regions_are_judged_together);
    RUN(nested);
    RUN(several_callers);
    RUN(loose_teams);
    RUN(sleepers_help_if_calls_are_close);
    RUN(waiting_begins_a_rest);
    RUN(calls_in_vain_begin_a_rest);
#ifdef __linux__
    RUN(pool_goes_home_before_fork);
#endif
#ifndef _WIN32
    RUN(fork_of_idle);
    RUN(fork_while_busy);
#endif
    RUN(system_layer);
    RUN(failures_make_the_team_smaller);
#ifndef _WIN32
    RUN(workers_block_signals);
    RUN(workers_show_their_faults);
#endif
#ifdef __linux__
    RUN(workers_follow_their_leader);
    RUN(workers_leave_a_shared_cpu);
#endif
    RUN(idle_pool_sleeps);
    RUN(numbers_of_threads);
#ifdef __linux__
    RUN(affinity);
    RUN(control_groups);
#endif
    return 0;
}
