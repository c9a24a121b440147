/* A module that deletes every key that it is told of by another module: what any subscriber to keyspace events may do. */

#include <stddef.h>

#define NOTIFY_MODULE (1 << 13) /* REDISMODULE_NOTIFY_MODULE */
#define OPEN_TO_WRITE (1 << 1)  /* REDISMODULE_WRITE */

typedef int get_api(const char *name, void *function);

static void *(*open_key)(void *ctx, void *name, int mode);
static int (*delete_key)(void *key);
static void (*close_key)(void *key);

static int on_event(void *ctx, int type, const char *event, void *name) {
    (void)type, (void)event;
    void *key = open_key(ctx, name, OPEN_TO_WRITE);
    if (key != NULL) {
        delete_key(key);
        close_key(key);
    }
    return 0;
}

int RedisModule_OnLoad(void *ctx, void **argv, int argc) {
    (void)argv, (void)argc;
    get_api *get = *(get_api **)ctx; /* as redismodule.h does */
    void (*introduce)(void *ctx, const char *name, int version, int api);
    int (*subscribe)(void *ctx, int types, int (*on_event)(void *, int, const char *, void *));
    if (get("RedisModule_SetModuleAttribs", &introduce) != 0 ||
        get("RedisModule_SubscribeToKeyspaceEvents", &subscribe) != 0 ||
        get("RedisModule_OpenKey", &open_key) != 0 || get("RedisModule_DeleteKey", &delete_key) != 0 ||
        get("RedisModule_CloseKey", &close_key) != 0) {
        return 1;
    }
    introduce(ctx, "deletes", 1, 1);
    return subscribe(ctx, NOTIFY_MODULE, on_event);
}
