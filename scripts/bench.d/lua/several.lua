-- Several fixed windows in one decision: all are read, and charged if the cost fits every one. (Keys of one slot.)
-- KEYS: the counters of this window. ARGV: limit, window_ms, cost, now_ms.
local limit, window, cost, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local reset = window - now % window
local least = limit
for _, key in ipairs(KEYS) do
    local used = tonumber(redis.call('GET', key) or '0')
    if used + cost > limit then
        return {0, limit, 0, reset, reset}
    end
    least = math.min(least, limit - used - cost)
end
for _, key in ipairs(KEYS) do
    if redis.call('INCRBY', key, cost) == cost then
        redis.call('PEXPIRE', key, window)
    end
end
return {1, limit, least, 0, reset}
