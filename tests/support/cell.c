/* A module of another name that brings CL.THROTTLE, as redis-cell does. */

typedef int get_api(const char *name, void *function);

static int (*reply)(void *ctx, long long number);

static int throttle(void *ctx, void **argv, int argc) {
    (void)argv, (void)argc;
    return reply(ctx, 42);
}

int RedisModule_OnLoad(void *ctx, void **argv, int argc) {
    (void)argv, (void)argc;
    get_api *get = *(get_api **)ctx; /* as redismodule.h does */
    void (*introduce)(void *ctx, const char *name, int version, int api);
    int (*create)(void *ctx, const char *name, int (*run)(void *, void **, int), const char *flags, int first, int last, int step);
    if (get("RedisModule_SetModuleAttribs", &introduce) != 0 || get("RedisModule_CreateCommand", &create) != 0 ||
        get("RedisModule_ReplyWithLongLong", &reply) != 0) {
        return 1;
    }
    introduce(ctx, "redis-cell", 1, 1);
    return create(ctx, "cl.throttle", throttle, "write", 1, 1, 1);
}
