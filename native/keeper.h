// What the keeper and the engine's process share: a page of memory, and descriptors. keeper.c makes it, mod_keeper.c shows it to TypeScript.
#ifndef HOLDFAST_KEEPER_H
#define HOLDFAST_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// A process that fell to the keeper and has ended.
struct kept_exit {
  int32_t pid, status, signal, unused;
  int64_t at; // realtime ns
};

enum {
  KEPT_EXITS = 160,
  // Exit statuses of the engine's process that are requests to the keeper. Any other but 0 is a death.
  EXIT_EXECUTE = 75,
};

struct kept {
  uint32_t serving; // the start is over: from here on a death is made good
  int32_t executable; // what EXIT_EXECUTE is about: a descriptor
  uint32_t deaths; // of engines, since the keeper began
  uint32_t failed_executions;
  uint32_t generation; // how many processes have served before the one that does
  int64_t died_at[3]; // monotonic ns, the latest first
  uint64_t written, taken; // exits so far; the keeper writes one, the engine takes them
  struct kept_exit exits[KEPT_EXITS];
};
_Static_assert(sizeof(struct kept) <= 4096, "one page");

struct keeper {
  pid_t pid; // the keeper's; 0 without one
  bool resumed; // whether another process has served before this one
  bool executed; // whether this one is the first of a program that took another one's place
  int state, page, poke, program; // descriptors: the state, the page's, an eventfd that tells of exits, this program's file
  int fallback; // the program that ran before this one
  struct kept *kept;
};
extern struct keeper keeper;

// How many processes have served before this one.
unsigned keeper_generation(void);

// Who ran the program.
extern pid_t starter;

// Whether this process was executed to go on where another program was: its descriptors and blocked signals are ours.
bool keeper_goes_on(void);
// To be called first of all, with signals as they are to be. With `start` as the last argument it forks: the caller waits for a word and ends, its child is
// the keeper, and the function returns in the keeper's child. A process that was executed to go on where another one was goes on.
void keeper_start(int argc, char **argv);
// Lets the process go that waits for the start, with that status; the engine serves from now on.
void keeper_started(int status);
// Makes what outlives this process, where there is no keeper that has made it. Returns an errno.
int keeper_prepare(void);
// Replaces this process by a program that goes on with its state: as a keeper if `keeps`. Returns an errno.
int keeper_execute(int program, bool keeps);

#endif
