-- Sliding window as a log in a sorted set: exact, one member a hit. By the server's clock.
-- KEYS: the log. ARGV: limit, window_ms, nonce (what makes a member unique within its microsecond).
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local used = redis.call('ZCARD', KEYS[1])
if used >= limit then
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return {0, limit, 0, oldest[2] + window - now, window}
end
redis.call('ZADD', KEYS[1], now, time[1] .. time[2] .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], window)
return {1, limit, limit - used - 1, 0, window}
