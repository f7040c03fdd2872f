// The engine for fuzzers of the shim's host: a context with what the shim's has, and none of its program.
#ifndef FUZZ_ENGINE_H
#define FUZZ_ENGINE_H

#include "host.h"

// Makes it the first time it is called.
JSContext *fuzz_engine(void);
// An object with the functions of the lists; NULL ends them.
JSValue fuzz_host(const struct host_exports *const *lists);
// Calls one of them. Takes `args`. What it throws is the result.
JSValue fuzz_call(JSValueConst host, const char *name, int count, JSValue *args);
// Ends the program, as a crash does.
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Frees what one input has left in circles.
void fuzz_collect(void);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
