// Where a diff is in the tree, and what it writes of it.
#ifndef WALK_H
#define WALK_H

#include <stddef.h>
#include <sys/stat.h>

struct archive;
struct walk;

// What a walk makes of the files that it is given.
enum walk_form {
  WALK_LAYER, // entries and whiteouts
  WALK_PLAIN, // entries of any name
  WALK_LIST,  // a letter and a path, each ended by a zero byte, on stdout: "A" added, "C" changed, "D" gone, "P" the same, but not what is in it
};

// `tar` may be NULL for WALK_LIST.
struct walk *walk_new(struct archive *tar, enum walk_form form, long long latest);
void walk_free(struct walk *walk);

// Into a directory: all names from here on are in it. `fd` must stay open until walk_leave(). The root's name is NULL. `written` says whether the
// directory's own entry is not needed any more.
void walk_enter(struct walk *walk, const char *name, int fd, const struct stat *about, int written);
void walk_leave(struct walk *walk);

// Writes the file `name`, and the directories that lead to it if they have not been written. `was` says that there was one of that name.
void walk_add(struct walk *walk, int directory, const char *name, const struct stat *about, int was);
// Notes a file that stays as it is: it may have a new name elsewhere.
void walk_kept(struct walk *walk, const char *name, const struct stat *about);
// Writes that `name` is gone.
void walk_gone(struct walk *walk, const char *name);
// Writes the directories that lead here.
void walk_add_parents(struct walk *walk);

// Writes a file with all that is below it.
void walk_tree(struct walk *walk, int directory, const char *name, const struct stat *about);
// Writes all that is in a directory.
void walk_content(struct walk *walk, int directory);

// The names in a directory in the order of their bytes; none for a negative `fd`.
struct names {
  size_t count;
  char **names;
};
void names_read(int fd, struct names *names);
void names_free(struct names *names);

// Files with several names.
struct links;
struct links *links_new(void);
void links_free(struct links *links);
// `path` is written: returns the name under which the file has been written before, or NULL.
const char *links_written(struct links *links, const struct stat *about, const char *path);
// `path` stays: returns the name under which the file has been written, or NULL.
const char *links_kept(struct links *links, const struct stat *about, const char *path);
// The names of the file that stay.
const struct names *links_kept_names(struct links *links, const struct stat *about);

// A directory that is in another; negative if there is none of that name any more.
int open_directory(int at, const char *name);
// 0, or -1 if there is nothing of that name any more.
int stat_at(int at, const char *name, struct stat *about);

#endif
