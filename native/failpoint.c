// Named places where tests have a process of the shim's killed, stopped or fail: HOLDFAST_FAILPOINT=PLACE,PLACE…, a PLACE for each process that serves
// after another one, and one that begins with "keeper:" for the keeper. A PLACE is NAME[#TURN][=kill|=stop|=throw]. Without the variable, a comparison each.
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"

#define VARIABLE "HOLDFAST_FAILPOINT"
#define KEEPERS "keeper:"

// A copy: the keeper overwrites its environment. Empty for none.
static char name_of_place[64];
static unsigned long turn;
static char action;

static void choose(const char *place)
{
  size_t length = strcspn(place, ",#="), whole = strcspn(place, ",");
  if (length >= sizeof name_of_place) return;
  memcpy(name_of_place, place, length);
  name_of_place[length] = '\0';
  turn = place[length] == '#' ? strtoul(place + length + 1, NULL, 10) : 1;
  const char *equals = memchr(place, '=', whole);
  action = equals == NULL ? 'k' : equals[1];
}

void failpoint_choose(unsigned generation)
{
  name_of_place[0] = '\0';
  const char *place = getenv(VARIABLE);
  for (; place != NULL && generation > 0; generation--) {
    place = strchr(place, ',');
    if (place != NULL) place++;
  }
  if (place != NULL) choose(place);
}

void failpoint_choose_keepers(void)
{
  for (const char *place = getenv(VARIABLE); place != NULL; place = strchr(place, ',')) {
    place += *place == ',';
    if (strncmp(place, KEEPERS, strlen(KEEPERS)) == 0) choose(place);
  }
}

bool failpoint(const char *name)
{
  if (name_of_place[0] == '\0' || strcmp(name, name_of_place) != 0 || turn == 0 || --turn > 0) return false;
  if (action != 't') kill(getpid(), action == 's' ? SIGSTOP : SIGKILL);
  return action == 't';
}

static JSValue host_failpoint(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *name = arg_string(ctx, argv[0]);
  if (name == NULL) return JS_EXCEPTION;
  bool fails = failpoint(name);
  JS_FreeCString(ctx, name);
  return fails ? JS_ThrowInternalError(ctx, "a test's failpoint") : JS_UNDEFINED;
}

static JSValue host_has_failpoint(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  return JS_NewBool(ctx, name_of_place[0] != '\0');
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("failpoint", 1, host_failpoint),
    JS_CFUNC_DEF("hasFailpoint", 0, host_has_failpoint),
};
HOST_EXPORTS(failpoint_exports, entries);
