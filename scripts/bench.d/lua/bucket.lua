-- Token bucket in a hash: the tokens and when they were counted. The client passes its own clock.
-- KEYS: the bucket. ARGV: capacity, refill, interval_ms, cost, now_ms.
local capacity, refill, interval = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost, now = tonumber(ARGV[4]), tonumber(ARGV[5])
local rate = refill / interval
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = capacity
if bucket[1] then
    tokens = math.min(capacity, bucket[1] + math.max(0, now - bucket[2]) * rate)
end
if tokens < cost then
    return {0, capacity, math.floor(tokens), math.ceil((cost - tokens) / rate), math.ceil((capacity - tokens) / rate)}
end
tokens = tokens - cost
local reset = math.ceil((capacity - tokens) / rate)
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
redis.call('PEXPIRE', KEYS[1], reset)
return {1, capacity, math.floor(tokens), 0, reset}
