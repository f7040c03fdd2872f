// What the fuzzers that unpack layers share.
#ifndef UNPACKING_H
#define UNPACKING_H

#include "layer.h"
#include "sandbox.h"

// Unpacks the sandbox's input into that root. Returns whether it came to its end: fail() ends it before.
int sandbox_unpack(const char *root, const struct limits *limits, const struct placing *placing);

#endif
