-- Fixed window as libraries do it: INCRBY, and PEXPIRE on the window's first hit. The client puts the window's number
-- into the key and passes its own clock, so that the script has none to read. A denied hit is counted, too.
-- KEYS: the counter of this window. ARGV: limit, window_ms, cost, now_ms.
local limit, window, cost, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local used = redis.call('INCRBY', KEYS[1], cost)
if used == cost then
    redis.call('PEXPIRE', KEYS[1], window)
end
local reset = window - now % window
if used > limit then
    return {0, limit, 0, reset, reset}
end
return {1, limit, limit - used, 0, reset}
