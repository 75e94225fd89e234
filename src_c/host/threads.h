/* threads.h - the only parallelism: a small pool of worker threads.
 *
 * A task runs once on each member of a team; member 0 is the calling thread.
 * The pool is shared by the whole process. When it is taken (another thread is
 * inside fm_parallel, or the caller is itself a member of a team) the task runs
 * on the calling thread alone with size 1, so a task must be right for any size
 * and its results must not depend on it.
 *
 * Any thread may fork() at any time, except a task. The child has an empty pool
 * and starts workers of its own when it first needs them. Workers that wait
 * spin briefly, then sleep. Workers block all signals but faults of their own.
 * They run on the CPUs that their leader may run on (Linux). A worker that cannot
 * be started makes the team smaller, never an error.
 */
#ifndef FM_THREADS_H
#define FM_THREADS_H

#include <stdatomic.h>

enum { FM_MAX_THREADS = 256 }; /* of a team */

/* A member's place in its team: each member is given its own. */
typedef struct fm_team fm_team;

/* rank: 0 .. size-1. May neither fork, exit the thread nor jump out. */
typedef void fm_task(void *arg, fm_team *team, int rank, int size);

/* Runs task on a team of at most max_size members and returns the size used,
 * at least one. Returns after every member has finished; all their writes are
 * visible. */
int fm_parallel(int max_size, fm_task *task, void *arg);

/* The same for a task that meets no barrier and hands its work out itself, so that member 0
 * would do all of it alone: a member that has not begun when member 0 returns takes no part, and
 * `size` may be more than come. wake: whether sleepers are woken for this call; otherwise, where
 * calls follow each other closely, for the next. */
void fm_parallel_loosely(int max_size, int wake, fm_task *task, void *arg);

/* Waits until another member has made *number at least this. */
void fm_await(fm_team *team, atomic_int *number, int least);

/* Every member of the team must call it, with its own team pointer and equally
 * often; orders memory among them. With size one it does nothing. */
void fm_barrier(fm_team *team);

/* Whether the team has lately done less than one thread alone would have, because some
 * member must share its CPU: for its leader to ask, now and then. */
int fm_team_lags(fm_team *team);

/* Whether some team did, so shortly before that another would, too. */
int fm_teams_lag(void);

#endif
