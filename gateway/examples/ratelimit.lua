-- Asks the gateway whether a request may pass, and leaves what it said in txn.denied, txn.retry_after, txn.ratelimit and
-- txn.ratelimit_policy.
local url = os.getenv("RATELIMIT_URL")
local closed = os.getenv("RATELIMIT_FAIL") == "closed"

core.register_action("ratelimit", { "http-req" }, function(txn)
    local headers = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        local list = {}
        for i = 0, #values do list[#list + 1] = values[i] end
        headers[name] = list
    end
    headers["content-length"] = nil
    headers["transfer-encoding"] = nil
    headers["connection"] = nil
    -- These are ours to say, whatever the client has sent. 429 also where a rule is closed: not 503, as of a gateway that is away.
    headers["x-denied-status"] = { "429" }
    headers["x-original-method"] = { txn.sf:method() }
    headers["x-original-host"] = { txn.sf:req_hdr("host") }
    headers["x-original-uri"] = { txn.sf:pathq() }
    headers["x-real-ip"] = { txn.sf:src() }
    local answer = core.httpclient():get({ url = url, headers = headers, timeout = 500 })
    local status = answer and answer.status or 0
    if status < 200 or status >= 500 or status == 400 then
        if closed or status == 400 then txn:set_var("txn.denied", "503") end
        return
    end
    for field, name in pairs({ ["retry-after"] = "retry_after", ["ratelimit"] = "ratelimit", ["ratelimit-policy"] = "ratelimit_policy" }) do
        local values = answer.headers[field]
        if values then txn:set_var("txn." .. name, values[0]) end
    end
    if status ~= 200 then txn:set_var("txn.denied", tostring(status)) end
end)
