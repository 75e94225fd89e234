/* cpus.c - the number of threads that n_threads = 0 stands for.
 *
 * It is the smallest of
 *   - the CPUs online, and in the affinity mask (Linux),
 *   - the CPU quota of the process's control group and of every group above it,
 *     rounded up (Linux, versions 1 and 2, at the usual mount points),
 *   - the caller's limit.
 * It is found at first use and kept until fm_set_num_threads(0) forgets it.
 */
#include "fastmlp.h"
#include "host/system.h"
#include "host/threads.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
/* A folder's name, with room behind it for that of a file in it. Names are shorter than Linux
 * allows: musl's printf takes 8 KB of the same stack. */
enum { LINE_BYTES = 2048, FOLDER_BYTES = LINE_BYTES + 320, FILE_BYTES = 40 };

/* Reads at most two whitespace-separated words of a file; returns how many. */
static int read_words(char *folder, const char *name, char word[2][32])
{
    char *end = folder + strlen(folder);
    snprintf(end, FILE_BYTES, "%s", name);
    FILE *file = fopen(folder, "re");
    *end = '\0';
    if (!file)
        return 0;
    int n = fscanf(file, "%31s %31s", word[0], word[1]);
    fclose(file);
    return n < 0 ? 0 : n;
}

/* The CPUs that the files of one group allow, rounded up; 0: no limit. */
static int group_quota(char *folder, int version)
{
    char quota[2][32], period[2][32];
    if (version == 2) {
        if (read_words(folder, "/cpu.max", quota) < 2)
            return 0;
        memcpy(period[0], quota[1], sizeof(period[0]));
    } else {
        if (read_words(folder, "/cpu.cfs_quota_us", quota) < 1)
            return 0;
        if (read_words(folder, "/cpu.cfs_period_us", period) < 1)
            return 0;
    }
    /* No limit is "max" in version 2 and -1 in version 1. */
    double q = strtod(quota[0], NULL), p = strtod(period[0], NULL);
    if (!(q > 0 && p > 0))
        return 0;
    double cpus = q / p;
    if (cpus >= FM_MAX_THREADS)
        return FM_MAX_THREADS;
    return (int)cpus + (cpus > (int)cpus);
}

/* The tightest quota from the group at mount + path up to the mount itself. A
 * container often sees its own group as the mount while `path` is the host's
 * name of it: folders that are not there set no limit. */
static int quota_upwards(const char *mount, const char *path, int version)
{
    char folder[FOLDER_BYTES + FILE_BYTES];
    int n = snprintf(folder, FOLDER_BYTES, "%s%s", mount, path);
    if (n < 0 || n >= FOLDER_BYTES)
        return 0;
    size_t root = strlen(mount);
    int least = 0;
    for (;;) {
        int cpus = group_quota(folder, version);
        if (cpus && (!least || cpus < least))
            least = cpus;
        char *slash = strrchr(folder + root, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

static int has_controller(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, name, n) && (at[n] == ',' || at[n] == '\0'))
            return 1;
    }
    return 0;
}

/* root: "", but for tests. */
static int quota_cpus(const char *root)
{
    /* Lines are id:controllers:path, with no controllers in version 2. */
    char name[256], line[LINE_BYTES], mount[320];
    snprintf(name, sizeof(name), "%s/proc/self/cgroup", root);
    FILE *file = fopen(name, "re");
    if (!file)
        return 0;
    int least = 0;
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        controllers++;
        int version = *controllers ? 1 : 2;
        if (version == 1 && !has_controller(controllers, "cpu"))
            continue;
        snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup%s", root, version == 1 ? "/cpu" : "");
        int cpus = quota_upwards(mount, path, version);
        if (cpus && (!least || cpus < least))
            least = cpus;
    }
    fclose(file);
    return least;
}
#endif

static atomic_int n_threads; /* 0: not looked up yet */
static atomic_int limit; /* of what is looked up; 0: none */

static int usable_threads(void)
{
    int limits[] = {
        fm_system_cpus(),
#ifdef __linux__
        quota_cpus(""),
#endif
        atomic_load(&limit),
        FM_MAX_THREADS,
    };
    int least = FM_MAX_THREADS;
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
        if (limits[i] > 0 && limits[i] < least)
            least = limits[i];
    return least;
}

int fm_get_num_threads(void)
{
    int n = atomic_load(&n_threads);
    if (n == 0) {
        /* Somebody may set another number meanwhile: theirs counts. */
        int usable = usable_threads();
        n = atomic_compare_exchange_strong(&n_threads, &n, usable) ? usable : n;
    }
    return n;
}

void fm_set_num_threads(int n)
{
    atomic_store(&n_threads, n < 1 ? 0 : n < FM_MAX_THREADS ? n : FM_MAX_THREADS);
}

void fm_limit_num_threads(int n)
{
    atomic_store(&limit, n);
    fm_set_num_threads(0);
}
