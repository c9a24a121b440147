# frozen_string_literal: true

# The loop of cluster.py, through redis-rb's cluster client.

require "json"
require "redis"

cluster = Redis.new(cluster: ["redis://127.0.0.1:#{ENV.fetch("RATELIMIT_CLUSTER_PORT")}"])
$stdout.sync = true
while (line = gets)
  begin
    answer = { reply: cluster.call(*JSON.parse(line)["words"]) }
  rescue Redis::BaseError => e
    answer = { error: "#{e.class}: #{e.message}" }
  end
  puts JSON.generate(answer)
end
