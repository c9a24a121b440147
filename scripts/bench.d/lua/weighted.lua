-- Sliding window as two weighted counters: what the window before counted, weighted by how much of it a window that
-- ends now still covers, plus what this one counted. The client picks both keys by its own clock.
-- KEYS: the counter of this window, the counter of the window before. ARGV: limit, window_ms, cost, now_ms.
local limit, window, cost, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local current = tonumber(redis.call('GET', KEYS[1]) or 0)
local previous = tonumber(redis.call('GET', KEYS[2]) or 0)
local elapsed = now % window
local used = current + math.floor(previous * (window - elapsed) / window)
if used + cost > limit then
    return {0, limit, math.max(0, limit - used), window - elapsed, 2 * window - elapsed}
end
if redis.call('INCRBY', KEYS[1], cost) == cost then
    redis.call('PEXPIRE', KEYS[1], 2 * window)
end
return {1, limit, limit - used - cost, 0, 2 * window - elapsed}
