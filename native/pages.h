// Pages that a process in its rest does not need: pages.c.
#ifndef PAGES_H
#define PAGES_H

// The program's code and constants, which were needed to get here. What is needed after all comes back from the file by itself.
void pages_forget_program(void);
// The stack below the caller, which a burst of calls has used.
void pages_forget_stack(void);

#endif
