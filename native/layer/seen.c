// The paths that this layer has made, as a set of 128-bit hashes: a million of them take 32 MB. Two that fall together would keep a file of a lower layer
// that an opaque directory should hide: in the layer of whoever arranged that.
#include <stdlib.h>
#include <string.h>

#include "layer.h"

struct mark {
  uint64_t a, b;
};

static struct mark *table;
static size_t room, used;

static struct mark mark_of(const char *path)
{
  struct mark mark = {0xcbf29ce484222325u, 0x84222325cbf29ce4u};
  for (const unsigned char *at = (const unsigned char *)path; *at != 0; at++) {
    mark.a = (mark.a ^ *at) * 0x100000001b3u;
    mark.b = (mark.b + *at) * 0x9e3779b97f4a7c15u;
    mark.b ^= mark.b >> 29;
  }
  if (mark.a == 0 && mark.b == 0) mark.a = 1; // nothing stands at an empty place
  return mark;
}

// The place of `mark`, or the empty one where it would stand.
static struct mark *place_of(struct mark mark)
{
  size_t at = (size_t)mark.a & (room - 1);
  while ((table[at].a != 0 || table[at].b != 0) && (table[at].a != mark.a || table[at].b != mark.b)) at = (at + 1) & (room - 1);
  return &table[at];
}

static void grow(void)
{
  struct mark *old = table;
  size_t count = room;
  room = room == 0 ? 1024 : 2 * room;
  table = calloc(room, sizeof *table);
  if (table == NULL) fail("out of memory");
  for (size_t i = 0; i < count; i++)
    if (old[i].a != 0 || old[i].b != 0) *place_of(old[i]) = old[i];
  free(old);
}

void seen_add(const char *path)
{
  if (2 * used >= room) grow();
  struct mark mark = mark_of(path), *place = place_of(mark);
  if (place->a == 0 && place->b == 0) used++;
  *place = mark;
}

int seen_has(const char *path)
{
  if (room == 0) return 0;
  struct mark *place = place_of(mark_of(path));
  return place->a != 0 || place->b != 0;
}
