-- For who runs redis_exporter already: redis_exporter -script redis_exporter.lua makes these metrics of each server:
--   redis_script_values{key="denied"}                       allowed, denied, deny_listed: all hits
--   redis_script_values{key="sliding:denied"}               the same by algorithm
--   redis_script_values{key="policy:login:denied"}          and by policy name; bytes of a name that are special are %xx
--   redis_script_values{key="list:bad-hosts"}               entries of a deny list; list:bad-hosts:changed_ms: when it changed
--   redis_script_values{key="policies"} names deny_lists deny_entries memory_bytes
-- ratelimit exporter tells more: fingerprints, deny-sync, errors. Its counters are counters, too; these are gauges.
local numbers = {}
local function add(key, value)
    if tonumber(value) and not key:find('fingerprint') then -- its digits are no number
        numbers[#numbers + 1] = key
        numbers[#numbers + 1] = value
    end
end

for line in redis.call('INFO', 'ratelimit'):gmatch('[^\r\n]+') do
    local field, value = line:match('^ratelimit_([^:]+):(.*)$')
    if field then
        local key = field:gsub('^name_', 'policy:'):gsub('^list_', 'list:')
        if value:find('=') then
            for part, number in value:gmatch('([%w_]+)=([^,]*)') do
                add(part == 'entries' and key or key .. ':' .. part, number)
            end
        else
            add(key, value)
        end
    end
end
return numbers
