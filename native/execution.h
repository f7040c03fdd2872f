// Execution of this program, or of its next version, with everything open: the descriptors go over by their numbers, in the environment. Called by keeper.c.
#ifndef HOLDFAST_EXECUTION_H
#define HOLDFAST_EXECUTION_H

#include <stdbool.h>

enum { KIND_SIZE = 8 };

// The command line, which the next program gets too. `last` is its last argument, by which ps tells the keeper from the shim, or NULL. Both are the caller's, for good.
void execution_arguments(char **argv, char *last);
// Command line and environment in /proc: whoever looks for shims by theirs must not find two.
void show_as_keeper(bool yes);
// Whether this process was executed to go on where another program was.
bool execution_is_resumed(void);
// Takes over what that one had, into `keeper`, and into `kind`, of KIND_SIZE bytes, what it is to be. False if it makes no sense.
bool execution_take(char *kind);
// Replaces this process by that program, a descriptor, which is to be of that kind. Returns an errno.
int execute(int program, const char *kind);

#endif
