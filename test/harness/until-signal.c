/* until-signal [WORD] SIGNAL=STATUS[:WORD] | SIGNAL:WORD ...   waits for signals in a container: at SIGNAL (TERM, USR1 or a number) it prints WORD, and
 * ends with STATUS or goes on. The first WORD is printed once no signal can be missed. A shell that does so with traps and a loop can lose one.
 * Compiled and put into every root filesystem by rootfs.ts. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNALS 65

static void nothing(int number)
{
	(void)number;
}

static int number_of(const char *name)
{
	if (strcmp(name, "TERM") == 0)
		return SIGTERM;
	if (strcmp(name, "USR1") == 0)
		return SIGUSR1;
	int number = atoi(name);
	if (number < 1 || number >= SIGNALS) {
		fprintf(stderr, "until-signal: what signal is %s?\n", name);
		exit(125);
	}
	return number;
}

int main(int argc, char **argv)
{
	const char *words[SIGNALS] = { 0 };
	int statuses[SIGNALS];
	sigset_t set;
	sigemptyset(&set);
	int first = argc > 1 && strpbrk(argv[1], "=:") == NULL ? 2 : 1;
	for (int n = first; n < argc; n++) {
		/* A copy: ps shows the arguments as they are. */
		char *rule = strdup(argv[n]);
		char *word = strchr(rule, ':');
		if (word != NULL)
			*word++ = '\0';
		char *status = strchr(rule, '=');
		if (status != NULL)
			*status++ = '\0';
		int number = number_of(rule);
		words[number] = word;
		statuses[number] = status == NULL ? -1 : atoi(status);
		sigaddset(&set, number);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* A handler, although it never runs: /proc tells of it, and a parent may have had the signal ignored. */
	struct sigaction action = { .sa_handler = nothing };
	for (int number = 1; number < SIGNALS; number++)
		if (sigismember(&set, number) == 1)
			sigaction(number, &action, NULL);
	if (first == 2) {
		puts(argv[1]);
		fflush(stdout);
	}
	for (;;) {
		int number;
		if (sigwait(&set, &number) != 0)
			return 125;
		if (words[number] != NULL) {
			puts(words[number]);
			fflush(stdout);
		}
		if (statuses[number] >= 0)
			return statuses[number];
	}
}
