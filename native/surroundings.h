// What spawn.c can set for a child beside its descriptors, environment and signals.
#ifndef SURROUNDINGS_H
#define SURROUNDINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "host.h"

struct surroundings {
  bool given;
  mode_t mask;
  int nice, limit_count;
  int64_t timer_slack;
  char coredump_filter[16];
  struct {
    int resource;
    struct rlimit value;
  } limits[RLIM_NLIMITS];
};

// Reads the field `surroundings` of a spawn request. Returns 0, or -1 with an exception.
int read_surroundings(JSContext *ctx, JSValueConst request, struct surroundings *result);
// In the child: everything but the limits. Nothing here fails.
void take_surroundings(const struct surroundings *wanted);
// In the child, last: the descriptors that were just moved may lie above the limit of open files.
void take_limits(const struct surroundings *wanted);

#endif
