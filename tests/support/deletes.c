/* A module that deletes keys upon what it is told of: what any subscriber to keyspace events may do, such as one that drops
 * what a cache derived from them.
 *
 *   loadmodule deletes.so               every key that another module tells of: that key
 *   loadmodule deletes.so EVENT [KEY]   each time that this event is published: that key, or KEY upon another's */

#include <stddef.h>
#include <string.h>

#define NOTIFY_MODULE (1 << 13) /* REDISMODULE_NOTIFY_MODULE */
#define NOTIFY_EVERYTHING                                                                                              \
    (NOTIFY_MODULE | 1 << 8 /* EXPIRED */ | 1 << 11 /* KEY_MISS */ | 1 << 14 /* NEW */)
#define OPEN_TO_WRITE (1 << 1) /* REDISMODULE_WRITE */

typedef int get_api(const char *name, void *function);

static void *(*open_key)(void *ctx, void *name, int mode);
static int (*delete_key)(void *key);
static void (*close_key)(void *key);
static void *(*create_string)(void *ctx, const char *text, size_t length);
static const char *(*string_text)(const void *string, size_t *length);
static void (*free_string)(void *ctx, void *string);

static char awaited[64];
static char victim[64];

static int on_event(void *ctx, int type, const char *event, void *name) {
    static int is_busy; /* what is done here publishes events, too */
    (void)type;
    if (is_busy || (awaited[0] != '\0' && strcmp(event, awaited) != 0)) {
        return 0;
    }
    size_t length;
    const char *told = string_text(name, &length);
    if (length == strlen(victim) && memcmp(told, victim, length) == 0) {
        return 0;
    }
    is_busy = 1;
    void *of = victim[0] == '\0' ? name : create_string(NULL, victim, strlen(victim));
    void *key = open_key(ctx, of, OPEN_TO_WRITE);
    if (key != NULL) {
        delete_key(key);
        close_key(key);
    }
    if (of != name) {
        free_string(NULL, of);
    }
    is_busy = 0;
    return 0;
}

static void keep(char *to, void *argument) {
    size_t length;
    const char *text = string_text(argument, &length);
    if (length < sizeof awaited) {
        memcpy(to, text, length); /* zeros follow */
    }
}

int RedisModule_OnLoad(void *ctx, void **argv, int argc) {
    get_api *get = *(get_api **)ctx; /* as redismodule.h does */
    void (*introduce)(void *ctx, const char *name, int version, int api);
    int (*subscribe)(void *ctx, int types, int (*on_event)(void *, int, const char *, void *));
    if (get("RedisModule_SetModuleAttribs", &introduce) != 0 ||
        get("RedisModule_SubscribeToKeyspaceEvents", &subscribe) != 0 ||
        get("RedisModule_OpenKey", &open_key) != 0 || get("RedisModule_DeleteKey", &delete_key) != 0 ||
        get("RedisModule_CloseKey", &close_key) != 0 || get("RedisModule_CreateString", &create_string) != 0 ||
        get("RedisModule_StringPtrLen", &string_text) != 0 || get("RedisModule_FreeString", &free_string) != 0) {
        return 1;
    }
    introduce(ctx, "deletes", 1, 1);
    if (argc > 0) {
        keep(awaited, argv[0]);
    }
    if (argc > 1) {
        keep(victim, argv[1]);
    }
    return subscribe(ctx, argc > 0 ? NOTIFY_EVERYTHING : NOTIFY_MODULE, on_event);
}
