/* threads.c - the pool of worker threads: see threads.h for what it promises.
 *
 * Everything is built on one thing, a gate: a number that only grows, which one
 * thread raises and one other thread waits for. A region (one fm_parallel call)
 * is: the leader raises the `go` gate of each worker of the team, everybody runs
 * the task, and the leader waits at the `done` gate of each. Between go and the task a
 * worker takes its seat, which the leader of a loose region may have withdrawn. A barrier is a
 * dissemination barrier (Hensgen, Finkel, Manber 1988): in round r, member i
 * raises a gate of member i + 2^r and waits at its own, so that after log2(size)
 * rounds everybody has heard of everybody. No number is written by two threads,
 * and for a team of two it takes one cache line each way at the same time.
 *
 * All numbers have 64 bits and are never reset: they do not wrap.
 *
 * What the pool does not do: queues, stealing, pinning, nested teams.
 */
#include "host/threads.h"
#include "host/system.h"

#include <stdatomic.h>
#include <string.h>

enum {
    LINE = 128, /* bytes that two cores fight over: a pair of x86 lines, an Apple line */
    MAX_ROUNDS = 8, /* log2(FM_MAX_THREADS) */

    /* A waiter spins for MOST_PAUSES (7 us on Zen 3, 20 us on Skylake), then
     * offers its core to others for YIELD_NS, which costs them nothing and is
     * still a spin when there are no others, then sleeps. Waking a sleeper took
     * 15 to 60 us on a virtual machine of two cores, a barrier that nobody
     * sleeps at 0.05 to 0.2 us, a region 0.15 to 0.5 us. What SciPy's L-BFGS does
     * between two evaluations takes 0.3 to 0.6 ms; YIELD_NS spans it. */
    MOST_PAUSES = 512,
    FEWEST_PAUSES = 16,
    YIELD_NS = 1000000,
};
_Static_assert(1 << MAX_ROUNDS == FM_MAX_THREADS, "a barrier needs log2(size) rounds");

/* Whether a team lags is judged by so much of its time at once, and for how long then no other
 * is tried: twice as long each time. To try costs about a time slice, 4 ms. */
#ifndef FM_JUDGED_NS /* tests end teams after any mini-batch */
#define FM_JUDGED_NS 2000000
#endif
enum { SHORTEST_REST_NS = 5 * FM_JUDGED_NS, LONGEST_REST_NS = 125 * FM_JUDGED_NS };
/* What teams gain in so long pays for a lost time slice, and is more than fits into one. */
enum { PROOF_NS = 3 * FM_JUDGED_NS };

/* ------------------------------------------------------------------- gates */

typedef struct {
    _Alignas(LINE) _Atomic uint64_t word; /* 2 * number + (its waiter sleeps) */
    int pauses; /* the waiter's: for how long it pays to spin here */
    fm_monitor monitor; /* only to sleep */
} gate;

static void gate_init(gate *g)
{
    atomic_init(&g->word, 0);
    g->pauses = MOST_PAUSES;
    fm_monitor_init(&g->monitor);
}

static void gate_destroy(gate *g) { fm_monitor_destroy(&g->monitor); }

static void gate_raise(gate *g, uint64_t number)
{
    if (atomic_exchange_explicit(&g->word, 2 * number, memory_order_acq_rel) & 1) {
        /* The waiter entered before it set the bit and is outside in
         * fm_monitor_wait: now it is there, or already gone again. */
        fm_monitor_enter(&g->monitor);
        fm_monitor_signal(&g->monitor);
        fm_monitor_leave(&g->monitor);
    }
}

static int gate_is_raised(gate *g, uint64_t number)
{
    return atomic_load_explicit(&g->word, memory_order_acquire) / 2 >= number;
}

/* Until the gate is raised, or its waiter roused, or for no reason. */
static void gate_sleep(gate *g, uint64_t number)
{
    fm_monitor_enter(&g->monitor);
    uint64_t seen = atomic_load_explicit(&g->word, memory_order_acquire);
    if (seen / 2 < number &&
        ((seen & 1) || atomic_compare_exchange_strong(&g->word, &seen, seen | 1)))
        fm_monitor_wait(&g->monitor);
    fm_monitor_leave(&g->monitor);
}

static int gate_is_watched(gate *g)
{
    return !(atomic_load_explicit(&g->word, memory_order_relaxed) & 1);
}

/* Has a sleeping waiter spin again. */
static void gate_rouse(gate *g)
{
    fm_monitor_enter(&g->monitor);
    atomic_fetch_and_explicit(&g->word, ~(uint64_t)1, memory_order_relaxed);
    fm_monitor_signal(&g->monitor);
    fm_monitor_leave(&g->monitor);
}

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* `yield` is a no-op on most cores, this takes some 10 ns */
#endif
}

/* Where spinning was in vain it is halved, where it helped it is doubled: when
 * the other thread waits for this very core, every pause is lost. Barriers 20 us
 * apart then cost 10 % of the time with two threads on a core (40 % with a fixed
 * number of pauses), and 20 to 80 % instead of 400 % with eight on two. A gate
 * found open teaches nothing. Returns for how long it waited after spinning. */
static int64_t gate_wait(gate *g, uint64_t number)
{
    if (gate_is_raised(g, number))
        return 0;
    for (int i = 0; i < g->pauses; i++) {
        pause_cpu();
        if (gate_is_raised(g, number)) {
            if (g->pauses < MOST_PAUSES)
                g->pauses *= 2;
            return 0;
        }
    }
    if (g->pauses > FEWEST_PAUSES)
        g->pauses /= 2;
    const int64_t start = fm_now_ns();
    int64_t awake = start;
    while (!gate_is_raised(g, number)) {
        if (fm_now_ns() - awake < YIELD_NS) {
            fm_yield();
        } else {
            gate_sleep(g, number);
            awake = fm_now_ns();
        }
    }
    return fm_now_ns() - start;
}

/* -------------------------------------------------------------------- pool */

struct fm_team {
    int rank, size;
    uint64_t calls; /* regions this member was called to; the leader's to write */
    uint64_t barriers; /* passed so far; the same in the whole team */
    /* The leader's: when what is judged began, and its CPU time then; between regions minus what
     * has passed of both. Since then: waited at barriers after spinning. */
    int64_t since, cpu_since, late;
    atomic_int cpu; /* that it was on when last asked; negative: unknown */
    _Atomic uint64_t seat; /* 2 * call: offered; 2 * call + 1: taken; 0: withdrawn */
    gate go, done;
    gate round[MAX_ROUNDS];
    fm_thread thread; /* not of member 0 */
};

static struct {
    atomic_int taken; /* everything below belongs to the thread that set it */
    int n_members;
    fm_team *member[FM_MAX_THREADS]; /* member 0 is whoever leads */
    fm_task *task; /* NULL: leave */
    void *arg;
    int64_t last_loose; /* when the last loose region ended */
    int calls_in_vain; /* loose ones, one after the other */
    fm_cpu_set cpus; /* that the workers may run on */
} pool;

/* While no team is tried, for how long the next time, and, for who has the pool, how long teams
 * did well since that changed. */
static struct {
    _Atomic int64_t until, length;
    int64_t well;
} rest = {.length = SHORTEST_REST_NS};

static int take_pool(void)
{
    return !atomic_load_explicit(&pool.taken, memory_order_relaxed) &&
           !atomic_exchange_explicit(&pool.taken, 1, memory_order_acquire);
}

static void release_pool(void) { atomic_store_explicit(&pool.taken, 0, memory_order_release); }

static void remove_cpu(fm_cpu_set *cpus, int cpu)
{
    if (cpu >= 0 && cpu < 8 * (int)sizeof(*cpus))
        cpus->bits[cpu / 64] &= ~((uint64_t)1 << cpu % 64);
}

static int note_cpu(fm_team *self)
{
    const int cpu = fm_current_cpu();
    atomic_store_explicit(&self->cpu, cpu, memory_order_relaxed);
    return cpu;
}

static int noted_cpu(int rank)
{
    return atomic_load_explicit(&pool.member[rank]->cpu, memory_order_relaxed);
}

/* Linux leaves two members on one CPU for 50 ms: they hand it to each other at every barrier, so
 * that neither has waited for long. Whoever finds a member of lower rank on its CPU, as the leader
 * never does, goes where no other is; it may be moved back. Where teams do badly for all that,
 * others keep the CPUs busy, and a move would cost a time slice. */
static void leave_shared_cpu(fm_team *self)
{
    const int cpu = note_cpu(self);
    int shared = 0;
    for (int i = 0; i < self->rank; i++)
        shared |= noted_cpu(i) == cpu;
    if (cpu < 0 || !shared || atomic_load(&rest.length) > 2 * SHORTEST_REST_NS)
        return;
    fm_cpu_set others = pool.cpus;
    for (int i = 0; i < self->size; i++)
        remove_cpu(&others, noted_cpu(i));
    fm_set_affinity(&others);
    fm_set_affinity(&pool.cpus);
    note_cpu(self);
}

static void worker(void *arg)
{
    fm_team *self = arg;
    for (uint64_t call = 1;; call++) {
        uint64_t offered = 2 * call;
        gate_wait(&self->go, call);
        if (!atomic_compare_exchange_strong(&self->seat, &offered, offered + 1))
            continue;
        if (!pool.task)
            return;
        leave_shared_cpu(self);
        pool.task(pool.arg, self, self->rank, self->size);
        gate_raise(&self->done, call);
    }
}

static void free_member(fm_team *m)
{
    gate_destroy(&m->go);
    gate_destroy(&m->done);
    for (int r = 0; r < MAX_ROUNDS; r++)
        gate_destroy(&m->round[r]);
    fm_aligned_free(m);
}

static fm_team *new_member(int rank)
{
    fm_team *m = fm_aligned_alloc(LINE, sizeof(*m));
    if (!m)
        return NULL;
    memset(m, 0, sizeof(*m));
    m->rank = rank;
    atomic_init(&m->cpu, -1);
    gate_init(&m->go);
    gate_init(&m->done);
    for (int r = 0; r < MAX_ROUNDS; r++)
        gate_init(&m->round[r]);
    if (rank > 0 && !fm_thread_start(&m->thread, worker, m)) {
        free_member(m);
        return NULL;
    }
    return m;
}

/* A worker starts with the affinity of its first leader. The next may have another:
 * a thread with a CPU of its own, or one whose process has been moved since. */
static void follow_leader(void)
{
    fm_cpu_set now = {{0}};
    if (!fm_get_affinity(&now) || !memcmp(&now, &pool.cpus, sizeof(now)))
        return;
    pool.cpus = now;
    for (int i = 1; i < pool.n_members; i++)
        fm_thread_set_affinity(&pool.member[i]->thread, &now);
}

/* Has up to `size` members ready and returns how many there are of those. */
static int hire(int size)
{
    while (pool.n_members < size) {
        fm_team *m = new_member(pool.n_members);
        if (!m)
            return pool.n_members;
        pool.member[pool.n_members++] = m;
    }
    return size;
}

static void call_member(fm_team *m)
{
    atomic_store_explicit(&m->seat, 2 * ++m->calls, memory_order_release);
    gate_raise(&m->go, m->calls);
}

/* Returns 0 if the member has taken its seat. */
static int withdraw(fm_team *m)
{
    uint64_t offered = 2 * m->calls;
    return atomic_compare_exchange_strong(&m->seat, &offered, 0);
}

static void dismiss_all(void)
{
    pool.task = NULL;
    for (int i = 1; i < pool.n_members; i++)
        call_member(pool.member[i]);
    for (int i = 1; i < pool.n_members; i++)
        fm_thread_join(&pool.member[i]->thread);
    while (pool.n_members > 0)
        free_member(pool.member[--pool.n_members]);
}

static void begin_to_judge(fm_team *leader, int64_t now)
{
    leader->since = now;
    leader->cpu_since = fm_thread_ns();
    leader->late = 0;
}

/* Short regions are judged together. One by one, only those would last long enough that were
 * disturbed: L-BFGS on the digits gave up its team for most of the time. */
static void go_on_judging(fm_team *leader)
{
    leader->since += fm_now_ns();
    leader->cpu_since += fm_thread_ns();
}

static void stop_judging(fm_team *leader)
{
    leader->since -= fm_now_ns();
    leader->cpu_since -= fm_thread_ns();
}

static void lead(int size, fm_task *task, void *arg)
{
    go_on_judging(pool.member[0]);
    fm_team **member = pool.member;
    pool.task = task;
    pool.arg = arg;
    member[0]->size = size;
    note_cpu(member[0]);
    for (int i = 1; i < size; i++) {
        member[i]->size = size;
        member[i]->barriers = member[0]->barriers;
        call_member(member[i]);
    }
    task(arg, member[0], 0, size);
    for (int i = 1; i < size; i++)
        gate_wait(&member[i]->done, member[i]->calls);
    stop_judging(member[0]);
}

/* No team is tried for a while, each time longer. */
static void begin_rest(int64_t now)
{
    const int64_t length = atomic_load(&rest.length);
    atomic_store(&rest.until, now + length);
    if (length < LONGEST_REST_NS)
        atomic_store(&rest.length, 2 * length);
    rest.well = 0;
}

/* Where another process keeps a CPU busy, a team does well until its time slice ends, and then
 * loses a whole one: only those halve the next rest that do well for longer. */
static void shorten_rest(int64_t time)
{
    const int64_t length = atomic_load(&rest.length);
    if (length == SHORTEST_REST_NS || (rest.well += time) < PROOF_NS)
        return;
    atomic_store(&rest.length, length / 2);
    rest.well = 0;
}

/* Members of a loose region whose CPUs others use come late, or are called in vain, which costs
 * the leader a sixth of a large layer: it has cut its columns for nobody. So much waiting at once
 * (several times the longest share, less than a time slice) or so many calls end that. */
enum { PATIENCE_NS = 300000, PATIENCE_CALLS = 8 };

static void judge_loosely(int64_t start, int64_t now, int64_t late, int n_called, int n_came)
{
    pool.calls_in_vain = n_came < n_called ? pool.calls_in_vain + 1 : 0;
    if (late > PATIENCE_NS || pool.calls_in_vain >= PATIENCE_CALLS) {
        pool.calls_in_vain = 0;
        begin_rest(now);
    } else if (n_called > 0 && n_came == n_called) {
        shorten_rest(now - start);
    }
}

static void lead_loosely(int size, int wake, fm_task *task, void *arg)
{
    fm_team **member = pool.member, *leader = member[0];
    const int64_t start = fm_now_ns();
    const int closely = !wake && start - pool.last_loose < YIELD_NS;
    int n_called = 0, n_came = 0;
    char called[FM_MAX_THREADS];
    pool.task = task;
    pool.arg = arg;
    leader->size = size;
    note_cpu(leader);
    const int64_t late = leader->late;
    for (int i = 1; i < size; i++) {
        called[i] = wake || gate_is_watched(&member[i]->go);
        if (called[i]) {
            member[i]->size = size;
            call_member(member[i]);
            n_called++;
        } else if (closely) {
            gate_rouse(&member[i]->go);
        }
    }
    task(arg, leader, 0, size);
    for (int i = 1; i < size; i++)
        if (called[i] && !withdraw(member[i])) {
            leader->late += gate_wait(&member[i]->done, member[i]->calls);
            n_came++;
        }
    pool.last_loose = fm_now_ns();
    if (!wake)
        judge_loosely(start, pool.last_loose, leader->late - late, n_called, n_came);
    leader->late = late;
}

/* Takes the pool and has members ready, or returns 1. */
static int gather_team(int max_size)
{
    if (max_size <= 1 || !take_pool())
        return 1;
    follow_leader();
    const int size = hire(max_size < FM_MAX_THREADS ? max_size : FM_MAX_THREADS);
    if (size <= 1)
        release_pool();
    return size;
}

static void run_alone(fm_task *task, void *arg)
{
    static fm_team alone = {.size = 1};
    task(arg, &alone, 0, 1);
}

int fm_parallel(int max_size, fm_task *task, void *arg)
{
    const int size = gather_team(max_size);
    if (size <= 1) {
        run_alone(task, arg);
        return 1;
    }
    lead(size, task, arg);
    release_pool();
    return size;
}

void fm_parallel_loosely(int max_size, int wake, fm_task *task, void *arg)
{
    const int size = wake || !fm_teams_lag() ? gather_team(max_size) : 1;
    if (size <= 1) {
        run_alone(task, arg);
        return;
    }
    lead_loosely(size, wake, task, arg);
    release_pool();
}

void fm_await(fm_team *team, atomic_int *number, int least)
{
    for (int i = 0; i < MOST_PAUSES; i++) {
        if (atomic_load_explicit(number, memory_order_acquire) >= least)
            return;
        pause_cpu();
    }
    const int64_t start = fm_now_ns();
    while (atomic_load_explicit(number, memory_order_acquire) < least)
        fm_yield();
    team->late += fm_now_ns() - start;
}

void fm_barrier(fm_team *team)
{
    if (team->size == 1)
        return;
    uint64_t number = ++team->barriers;
    const int64_t late = team->late;
    for (int r = 0; 1 << r < team->size; r++) {
        int to = team->rank + (1 << r);
        if (to >= team->size)
            to -= team->size;
        gate_raise(&pool.member[to]->round[r], number);
        team->late += gate_wait(&team->round[r], number);
    }
    if (team->late > late)
        leave_shared_cpu(team);
}

/* Each member has an equal share, so a team does the leader's work times its size. Another
 * thread on some member's CPU shows either in the others' waiting for it, or in
 * the leader's not running. */
int fm_team_lags(fm_team *team)
{
    if (team->size == 1)
        return 0;
    const int64_t now = fm_now_ns(), time = now - team->since;
    if (time < FM_JUDGED_NS)
        return 0;
    const int64_t idle = time - (fm_thread_ns() - team->cpu_since);
    const int64_t lost = idle > team->late ? idle : team->late;
    const int lags = 10 * team->size * (time - lost) < 11 * time;
    if (lags)
        begin_rest(now);
    else
        shorten_rest(time);
    begin_to_judge(team, now);
    return lags;
}

int fm_teams_lag(void)
{
    const int64_t until = atomic_load_explicit(&rest.until, memory_order_relaxed);
    return until > 0 && fm_now_ns() < until;
}

/* ---------------------------------------------------- fork, end of the code */

/* An idle pool is sent home before a fork, so that the child has nothing to
 * forget, and so that Python (3.12 and later) sees no threads to warn about. */
static void stop_if_idle(void)
{
    if (take_pool()) {
        dismiss_all();
        release_pool();
    }
}

/* Only the forking thread lives on in the child. If another one was in the
 * pool, its members are as they were at that instant, locks included: they are
 * abandoned, a few kilobytes each. */
static void forget(void)
{
    pool.n_members = 0;
    release_pool();
}

/* Not in a pthread_once: a fork in the middle of one leaves it half done. */
__attribute__((constructor)) static void load(void) { fm_stop_threads_by(stop_if_idle, forget); }
