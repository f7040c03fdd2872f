// What the host of `holdfast` has beside the shim's. The contract towards TypeScript is src/node-parts/host.d.ts.
#ifndef FRONT_H
#define FRONT_H

#include "../host.h"

// As main() got them.
extern char **front_arguments;

extern const struct host_exports system_exports, terminal_exports;

#endif
