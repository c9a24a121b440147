# frozen_string_literal: true

# The scenarios, a pipeline and MULTI through redis-rb, which is Debian's.
#
# To know: `call` sends what it is given, so a namespace of redis-namespace is not put before keys; an error is raised.

require "json"
require "redis"

client = Redis.new(host: "127.0.0.1", port: Integer(ENV.fetch("RATELIMIT_PORT")))

def same(actual, expected, path)
  if expected.is_a?(Array)
    raise "#{path}: #{actual.inspect}" unless actual.is_a?(Array) && actual.size == expected.size

    expected.each_with_index { |item, i| same(actual[i], item, "#{path}[#{i}]") }
  elsif expected.is_a?(String) && (bounds = /\A(\d+)\.\.(\d+)\z/.match(expected))
    range = Integer(bounds[1])..Integer(bounds[2])
    raise "#{path}: #{actual.inspect} is not in #{expected}" unless actual.is_a?(Integer) && range.cover?(actual)
  else
    raise "#{path}: #{actual.inspect} is not #{expected.inspect}" unless actual == expected
  end
end

def run(client, step, prefix)
  args = step["send"].map { |word| word.sub("$") { prefix } }
  said = args.join(" ")
  begin
    reply = client.call(*args)
  rescue Redis::CommandError => e
    raise "#{said}: #{e.message}" unless step["error"] && e.message.start_with?(step["error"])

    return
  end
  raise "#{said}: #{reply.inspect}" if step["error"]

  if step["map"]
    fields = reply.each_slice(2).to_h
    step["map"].each { |name, value| same(fields[name], value, "#{said}: #{name}") }
  else
    same(reply, step["reply"], said)
  end
end

passed = failed = 0
test = lambda do |name, &body|
  body.call
  passed += 1
  puts "ok - #{name}"
rescue StandardError => e
  failed += 1
  puts "not ok - #{name}", "    #{e.message}"
end

JSON.parse(File.read(ENV.fetch("RATELIMIT_SCENARIOS"), encoding: "UTF-8"))["scenarios"].each do |scenario|
  test.call("redis-rb: #{scenario["name"]}") { scenario["steps"].each { |step| run(client, step, "redis-rb:") } }
end

seen = ->(replies) { replies.map { |five| [five[0], five[2]] } }
order = [[1, 4], [1, 3], [1, 2], [1, 1], [1, 0], [0, 0]]
%i[pipelined multi].each do |way|
  test.call("redis-rb: #{way} is answered in order") do
    replies = client.public_send(way) { |queue| 6.times { queue.call("RL.FIXED", "redis-rb:#{way}", "5", "3650d") } }
    same(seen.call(replies), order, "replies")
  end
end

puts "", "# #{passed} passed, #{failed} failed"
exit(failed.zero?)
