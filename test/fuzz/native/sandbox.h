// What the fuzzers of holdfast-layer share: a directory of their own that is the root while a piece of the program runs, and a way out of fail().
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stddef.h>
#include <stdint.h>

// A small file system with two roots, "a" and "b", and files beside them that nothing may touch. Needs root. Ends the program if it cannot be made.
void sandbox_make(void);
// Empties a root ("a" or "b") and puts the same few files into it: what a lower layer has.
void sandbox_reset(const char *root);
// Runs `piece` with that root as its root and working directory. Returns whether it came to its end: fail() ends it before.
int sandbox_run(const char *root, void (*piece)(void *), void *context);
// Ends the program, as a crash does, if something outside of the roots has changed.
void sandbox_check(void);
// A descriptor of a root.
int sandbox_open(const char *root);
// Ends the program, as a crash does, unless both roots hold the same.
void sandbox_compare(void);
// The text of the last fail().
const char *sandbox_reason(void);

// Keeps the fuzzer's input where it is found after a crash.
void sandbox_show(const uint8_t *data, size_t size);
// These bytes are what comes on stdin; what has been written to stdout until now is forgotten.
void sandbox_input(const uint8_t *data, size_t size);
// What has been written to stdout is what comes on stdin.
void sandbox_turn_around(void);

#endif
