// The sockets of a process that will answer nobody any more: sockets.c.
#ifndef SOCKETS_H
#define SOCKETS_H

// Closes every socket, and removes the names of those that listen. Whoever is connected, or waits to be, learns that nobody answers any more.
void close_sockets(void);

#endif
