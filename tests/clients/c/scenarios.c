/* The scenarios and a pipeline through hiredis, which is Debian's. Arguments go by redisCommandArgv, with their lengths: a
 * format string would cut a key at its first NUL. */

#include <hiredis/hiredis.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_WORDS 32

static char why[1024];

__attribute__((format(printf, 1, 2))) static int wrong(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return 0;
}

static int is_text(const redisReply *reply, const char *text, size_t length) {
    return (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) && (size_t)reply->len == length &&
           memcmp(reply->str, text, length) == 0;
}

static int same(const redisReply *reply, json_t *expected) {
    long long first, last;
    char rest;
    size_t i;
    switch (json_typeof(expected)) {
    case JSON_NULL:
        return reply->type == REDIS_REPLY_NIL || wrong("not nil but of type %d", reply->type);
    case JSON_INTEGER:
        return (reply->type == REDIS_REPLY_INTEGER && reply->integer == json_integer_value(expected)) ||
               wrong("%lld (type %d) is not %lld", reply->integer, reply->type, (long long)json_integer_value(expected));
    case JSON_ARRAY:
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != json_array_size(expected)) return wrong("not an array of %zu", json_array_size(expected));
        for (i = 0; i < reply->elements; i++)
            if (!same(reply->element[i], json_array_get(expected, i))) return 0;
        return 1;
    case JSON_STRING:
        if (sscanf(json_string_value(expected), "%lld..%lld%c", &first, &last, &rest) == 2)
            return (reply->type == REDIS_REPLY_INTEGER && reply->integer >= first && reply->integer <= last) ||
                   wrong("%lld is not in %s", reply->integer, json_string_value(expected));
        return is_text(reply, json_string_value(expected), json_string_length(expected)) || wrong("'%s' is not '%s'", reply->str ? reply->str : "", json_string_value(expected));
    default:
        return wrong("nothing that a reply can be");
    }
}

static int has_fields(const redisReply *reply, json_t *map) {
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        size_t i;
        if (reply->type != REDIS_REPLY_ARRAY) return wrong("not a map");
        for (i = 0; i + 1 < reply->elements; i += 2)
            if (is_text(reply->element[i], name, strlen(name))) break;
        if (i + 1 >= reply->elements) return wrong("no field %s", name);
        if (!same(reply->element[i + 1], value)) return 0;
    }
    return 1;
}

/* The word with its '$' replaced. The caller frees it. */
static char *word_of(json_t *json, const char *prefix, size_t *length) {
    const char *text = json_string_value(json), *at = memchr(text, '$', json_string_length(json));
    char *word = malloc(json_string_length(json) + strlen(prefix) + 1);
    if (!word) abort();
    *length = json_string_length(json);
    if (!at) {
        memcpy(word, text, *length);
        return word;
    }
    size_t before = (size_t)(at - text), after = *length - before - 1;
    memcpy(word, text, before);
    memcpy(word + before, prefix, strlen(prefix));
    memcpy(word + before + strlen(prefix), at + 1, after);
    *length += strlen(prefix) - 1;
    return word;
}

static int run_step(redisContext *client, json_t *step) {
    json_t *send = json_object_get(step, "send"), *error = json_object_get(step, "error"), *map = json_object_get(step, "map");
    char *words[MOST_WORDS];
    size_t lengths[MOST_WORDS], count = json_array_size(send), i;
    if (count > MOST_WORDS) return wrong("too many words");
    for (i = 0; i < count; i++) words[i] = word_of(json_array_get(send, i), "hiredis:", &lengths[i]);
    redisReply *reply = redisCommandArgv(client, (int)count, (const char **)words, lengths);
    for (i = 0; i < count; i++) free(words[i]);
    if (!reply) return wrong("%s", client->errstr);
    int ok;
    if (error)
        ok = (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, json_string_value(error), json_string_length(error)) == 0) || wrong("no error that starts with '%s'", json_string_value(error));
    else if (reply->type == REDIS_REPLY_ERROR)
        ok = wrong("%s", reply->str);
    else
        ok = map ? has_fields(reply, map) : same(reply, json_object_get(step, "reply"));
    freeReplyObject(reply);
    return ok;
}

static int run_pipeline(redisContext *client) {
    const int left[] = {4, 3, 2, 1, 0, 0};
    int ok = 1;
    for (int hit = 0; hit < 6; hit++) redisAppendCommand(client, "RL.FIXED %s 5 3650d", "hiredis:pipeline");
    for (int hit = 0; hit < 6; hit++) {
        redisReply *reply = NULL;
        if (redisGetReply(client, (void **)&reply) != REDIS_OK) return wrong("%s", client->errstr);
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 5 || reply->element[0]->integer != (hit < 5) || reply->element[2]->integer != left[hit])
            ok = wrong("hit %d", hit);
        freeReplyObject(reply);
    }
    return ok;
}

static int passed, failed;
static void report(const char *name, int ok) {
    if (ok) passed++;
    else failed++;
    printf(ok ? "ok - hiredis: %s\n" : "not ok - hiredis: %s\n    %s\n", name, why);
}

int main(void) {
    const char *file = getenv("RATELIMIT_SCENARIOS"), *port = getenv("RATELIMIT_PORT");
    json_error_t error;
    json_t *root = file ? json_load_file(file, JSON_ALLOW_NUL, &error) : NULL, *scenario, *step;
    redisContext *client = port ? redisConnect("127.0.0.1", atoi(port)) : NULL;
    if (!root || !client || client->err) {
        fprintf(stderr, "no scenarios or no server: run scripts/test-clients\n");
        return 1;
    }
    size_t i, j;
    json_array_foreach(json_object_get(root, "scenarios"), i, scenario) {
        int ok = 1;
        json_array_foreach(json_object_get(scenario, "steps"), j, step) ok = ok && run_step(client, step);
        report(json_string_value(json_object_get(scenario, "name")), ok);
    }
    report("a pipeline is answered in order", run_pipeline(client));
    redisFree(client);
    json_decref(root);
    printf("\n# %d passed, %d failed\n", passed, failed);
    return failed != 0;
}
