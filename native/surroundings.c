// What a process inherits beside its descriptors, environment and signals: set in a child between fork and exec. System calls only.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host.h"
#include "surroundings.h"

static int field_number(JSContext *ctx, JSValueConst object, const char *name, int64_t min, int64_t max, int64_t *result)
{
  JSValue value = JS_GetPropertyStr(ctx, object, name);
  int done = JS_IsException(value) ? -1 : arg_int(ctx, value, min, max, result);
  JS_FreeValue(ctx, value);
  return done;
}

static int element_number(JSContext *ctx, JSValueConst array, uint32_t index, int64_t min, int64_t max, int64_t *result)
{
  JSValue value = JS_GetPropertyUint32(ctx, array, index);
  int done = JS_IsException(value) ? -1 : arg_int(ctx, value, min, max, result);
  JS_FreeValue(ctx, value);
  return done;
}

static rlim_t limit_of(int64_t number)
{
  return number < 0 ? RLIM_INFINITY : (rlim_t)number;
}

static int read_limits(JSContext *ctx, JSValueConst array, struct surroundings *result)
{
  int64_t count, numbers[3];
  if (field_number(ctx, array, "length", 0, RLIM_NLIMITS, &count) < 0) return -1;
  for (int i = 0; i < count; i++) {
    JSValue limit = JS_GetPropertyUint32(ctx, array, (uint32_t)i);
    int done = JS_IsException(limit) ? -1 : 0;
    for (uint32_t part = 0; done == 0 && part < 3; part++) {
      done = element_number(ctx, limit, part, part == 0 ? 0 : -1, part == 0 ? RLIM_NLIMITS - 1 : INT64_MAX, &numbers[part]);
    }
    JS_FreeValue(ctx, limit);
    if (done < 0) return -1;
    result->limits[i].resource = (int)numbers[0];
    result->limits[i].value = (struct rlimit){.rlim_cur = limit_of(numbers[1]), .rlim_max = limit_of(numbers[2])};
  }
  result->limit_count = (int)count;
  return 0;
}

int read_surroundings(JSContext *ctx, JSValueConst request, struct surroundings *result)
{
  JSValue object = JS_GetPropertyStr(ctx, request, "surroundings");
  if (JS_IsException(object)) return -1;
  int done = 0;
  result->given = !JS_IsUndefined(object);
  if (result->given) {
    int64_t mask = 0, nice = 0, filter = 0;
    done = -1;
    if (field_number(ctx, object, "umask", 0, 0777, &mask) == 0 && field_number(ctx, object, "nice", -20, 19, &nice) == 0 &&
        field_number(ctx, object, "coredumpFilter", 0, UINT32_MAX, &filter) == 0 &&
        field_number(ctx, object, "timerSlackNs", 1, INT64_MAX, &result->timer_slack) == 0) {
      JSValue limits = JS_GetPropertyStr(ctx, object, "limits");
      done = JS_IsException(limits) ? -1 : read_limits(ctx, limits, result);
      JS_FreeValue(ctx, limits);
    }
    result->mask = (mode_t)mask;
    result->nice = (int)nice;
    snprintf(result->coredump_filter, sizeof result->coredump_filter, "0x%x", (unsigned)filter);
  }
  JS_FreeValue(ctx, object);
  return done;
}

// As much of a limit as is allowed: without the privilege to raise a hard limit, what there is under it.
static void set_limit(int resource, struct rlimit wanted)
{
  struct rlimit now;
  if (setrlimit((__rlimit_resource_t)resource, &wanted) == 0 || getrlimit((__rlimit_resource_t)resource, &now) < 0) return;
  if (wanted.rlim_max > now.rlim_max) wanted.rlim_max = now.rlim_max;
  if (wanted.rlim_cur > wanted.rlim_max) wanted.rlim_cur = wanted.rlim_max;
  (void)setrlimit((__rlimit_resource_t)resource, &wanted);
}

// What is refused, for want of privilege or in an older kernel, stays as it is.
void take_surroundings(const struct surroundings *wanted)
{
  if (!wanted->given) return;
  umask(wanted->mask);
  struct sched_param normal = {0};
  cpu_set_t every;
  memset(&every, 0xff, sizeof every);
  (void)sched_setscheduler(0, SCHED_OTHER, &normal);
  (void)setpriority(PRIO_PROCESS, 0, wanted->nice);
  (void)sched_setaffinity(0, sizeof every, &every);
  (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_NONE, 0));
  (void)syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
  (void)prctl(PR_SET_TIMERSLACK, wanted->timer_slack, 0, 0, 0);
  (void)prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
  (void)personality(PER_LINUX);
  int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
  if (fd >= 0 && write(fd, wanted->coredump_filter, strlen(wanted->coredump_filter)) < 0) errno = 0;
  if (fd >= 0) close(fd);
}

void take_limits(const struct surroundings *wanted)
{
  for (int i = 0; i < wanted->limit_count; i++) set_limit(wanted->limits[i].resource, wanted->limits[i].value);
}
